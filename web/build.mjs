// Builds the page into one file, dist/index.html (or the path given): script and style inside, a policy that allows
// these two by their hashes and nothing else, and the digest of the sources, which check_dist.cmake compares. Run by
// script/web.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';

const here = dirname(fileURLToPath(import.meta.url));
const out = resolve(process.argv[2] ?? join(here, 'dist/index.html'));

/** All that the built page depends on, as check_dist.cmake lists it. */
function sources() {
  const files = ['build.mjs', 'index.html', 'package-lock.json', 'package.json', 'tsconfig.json'];
  for (const entry of readdirSync(join(here, 'src'), { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) files.push(relative(here, join(entry.parentPath, entry.name)).replaceAll('\\', '/'));
  }
  return files.sort();
}

const sha256 = (bytes, form) => createHash('sha256').update(bytes).digest(form);

function digest() {
  const lines = sources().map((file) => `${sha256(readFileSync(join(here, file)), 'hex')} ${file}\n`);
  return sha256(lines.join(''), 'hex');
}

/** Licences of what is bundled, which ask to be kept with every copy; shared files carry them too. */
function licences() {
  const texts = ['preact', '@preact/signals', '@preact/signals-core', 'marked'].map((name) => {
    const folder = join(here, 'node_modules', name);
    const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
    return `${name} ${version}\n\n${readFileSync(join(folder, file), 'utf8').trim()}`;
  });
  const text = texts.join('\n\n----\n\n');
  if (text.includes('*/')) throw new Error('a licence would end its comment');
  return `/*! This script holds:\n\n${text}\n*/\n`;
}

const result = await build({
  root: here,
  configFile: false,
  logLevel: 'warn',
  build: {
    write: false,
    target: 'es2022',
    cssTarget: ['chrome123', 'firefox120', 'safari17.5'],
    modulePreload: false,
    assetsInlineLimit: 0,
    cssCodeSplit: false,
  },
});
const { output } = result;
// Inside strings and regular expressions the only places where these appear: written so that they do not end the
// element.
const code = output.find((part) => part.type === 'chunk').code.trim();
const script = (licences() + code).replace(/\r\n?/g, '\n').replace(/<(?=!--|\/script)/gi, '\\x3c');
const style = String(output.find((part) => part.fileName.endsWith('.css')).source).trim();
if (output.filter((part) => part.type === 'chunk').length !== 1) throw new Error('more than one script');
if (/<\/style/i.test(style)) throw new Error('the style would end its element');

const policy = [
  "default-src 'none'",
  `script-src 'sha256-${sha256(script, 'base64')}'`,
  `style-src 'sha256-${sha256(style, 'base64')}'`,
  "connect-src 'self'",
  'img-src data:',
  "base-uri 'none'",
  "form-action 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ');

let html = readFileSync(join(here, 'index.html'), 'utf8');
const put = (mark, text) => {
  if (html.split(mark).length !== 2) throw new Error(`index.html must have once: ${mark}`);
  html = html.replace(mark, () => text);
};
put(
  '<meta charset="utf-8">',
  `<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="${policy}">`,
);
put('</head>', `<meta name="dgemma-sources" content="${digest()}">\n<style>${style}</style>\n</head>`);
put('<script type="module" src="/src/main.tsx"></script>', `<script type="module">${script}</script>`);
mkdirSync(dirname(out), { recursive: true });
writeFileSync(out, html);
console.log(`${out}: ${(html.length / 1024).toFixed(1)} KiB`);
