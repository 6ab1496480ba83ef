// Model text as Markdown. marked only reads it (its lexer); elements are made here, one kind of token each, so that no
// text ever becomes HTML: the page's policy forbids every way of doing that (require-trusted-types-for).
import { type Token, type Tokens, Lexer } from 'marked';
import { type ComponentChildren, Fragment, type VNode } from 'preact';
import { useMemo } from 'preact/hooks';
import { CopyButton } from './copy';
import { highlight } from './highlight';

const kDeepest = 40; // levels of quotes and lists
const kLongest = 400_000; // characters; longer text is shown as it is

const kEntities: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: '\u00a0' };

function decode(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|([a-z]{2,4}));/gi, (all, decimal, hex, name) => {
    if (name) return kEntities[name.toLowerCase()] ?? all;
    const code = decimal ? Number(decimal) : parseInt(hex, 16);
    return code > 0x9f && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff) ? String.fromCodePoint(code) : all;
  });
}

/** The address when it is one that a link may have. */
export function safeAddress(address: string): string | null {
  try {
    const url = new URL(decode(address));
    return ['http:', 'https:', 'mailto:'].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

function Link({ address, children }: { address: string; children: ComponentChildren }) {
  const safe = safeAddress(address);
  if (safe === null) return <>{children}</>;
  return (
    <a href={safe} target="_blank" rel="noopener noreferrer nofollow" title={safe}>
      {children}
    </a>
  );
}

export function CodeBlock({ text, language }: { text: string; language: string }) {
  const name = language.trim().split(/\s+/)[0]!.slice(0, 24);
  return (
    <figure class="code">
      <figcaption>
        <span>{name || 'code'}</span>
        <CopyButton text={text} what="code" />
      </figcaption>
      <pre tabIndex={0} aria-label={name ? `Code, ${name}` : 'Code'}>
        <code>{highlight(text)}</code>
      </pre>
    </figure>
  );
}

function inside(tokens: Token[] | undefined, depth: number): VNode[] {
  return (tokens ?? []).map((token, index) => <Fragment key={index}>{render(token, depth + 1)}</Fragment>);
}

function Table({ table, depth }: { table: Tokens.Table; depth: number }) {
  const align = (index: number) => table.align[index] ?? undefined;
  return (
    <div class="table" tabIndex={0} role="group" aria-label="Table">
      <table>
        <thead>
          <tr>
            {table.header.map((cell, i) => (
              <th key={i} scope="col" data-align={align(i)}>
                {inside(cell.tokens, depth)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {table.rows.map((row, r) => (
            <tr key={r}>
              {row.map((cell, i) => (
                <td key={i} data-align={align(i)}>
                  {inside(cell.tokens, depth)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function List({ list, depth }: { list: Tokens.List; depth: number }) {
  const items = list.items.map((item, i) => (
    <li key={i} class={item.task ? 'task' : undefined}>
      {item.task && (
        <span aria-label={item.checked ? 'done' : 'not done'} role="img">
          {item.checked ? '☑ ' : '☐ '}
        </span>
      )}
      {inside(
        item.tokens.filter((token) => token.type !== 'checkbox'),
        depth,
      )}
    </li>
  ));
  const start = Number(list.start);
  return list.ordered ? <ol start={Number.isSafeInteger(start) ? start : 1}>{items}</ol> : <ul>{items}</ul>;
}

function Heading({ heading, depth }: { heading: Tokens.Heading; depth: number }) {
  const children = inside(heading.tokens, depth);
  if (heading.depth === 1) return <h3>{children}</h3>;
  if (heading.depth === 2) return <h4>{children}</h4>;
  return heading.depth === 3 ? <h5>{children}</h5> : <h6>{children}</h6>;
}

function render(token: Token, depth: number): ComponentChildren {
  if (depth > kDeepest) return token.raw;
  const children = () => inside((token as Tokens.Generic).tokens, depth);
  switch (token.type) {
    case 'space':
    case 'def':
      return null;
    case 'heading':
      return <Heading heading={token as Tokens.Heading} depth={depth} />;
    case 'paragraph':
      return <p>{children()}</p>;
    case 'text':
      return (token as Tokens.Text).tokens ? children() : decode(token.text);
    case 'strong':
      return <strong>{children()}</strong>;
    case 'em':
      return <em>{children()}</em>;
    case 'del':
      return <del>{children()}</del>;
    case 'codespan':
      return <code>{token.text}</code>;
    case 'br':
      return <br />;
    case 'hr':
      return <hr />;
    case 'escape':
      return decode(token.text);
    case 'link':
      return <Link address={token.href}>{children()}</Link>;
    case 'image':
      // Never loaded: an address in an answer must not make the browser call anyone.
      return <Link address={token.href}>{`[image: ${token.text || 'without a text'}]`}</Link>;
    case 'list':
      return <List list={token as Tokens.List} depth={depth} />;
    case 'code':
      return <CodeBlock text={token.text} language={token.lang ?? ''} />;
    case 'blockquote':
      return <blockquote>{children()}</blockquote>;
    case 'table':
      return <Table table={token as Tokens.Table} depth={depth} />;
    default:
      return token.raw; // HTML too: it is shown, not obeyed
  }
}

function read(text: string): Token[] | null {
  if (text.length > kLongest) return null;
  try {
    return new Lexer({ gfm: true, breaks: true }).lex(text);
  } catch {
    return null; // too deep for the reader
  }
}

export function Markdown({ text }: { text: string }) {
  const tokens = useMemo(() => read(text), [text]);
  const elements = useMemo(() => tokens && inside(tokens, 0), [tokens]);
  if (!elements) return <div class="markdown plain">{text}</div>;
  return <div class="markdown">{elements}</div>;
}
