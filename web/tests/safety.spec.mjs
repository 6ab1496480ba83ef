// Text that tries to be more than text, in every place where the page shows text from outside. The watch of
// fixtures.mjs fails a test on any script, dialog, error or request to another host.
import { readFileSync } from 'node:fs';
import { kAttacks } from '../mock.mjs';
import { ChatPage, expect, test, watch } from './fixtures.mjs';

/** Elements and attributes that must not come out of text. */
const kForbidden = [
  'script:not([type=module])',
  'iframe, object, embed',
  'form:not(.composer)',
  'link:not([rel=icon])',
  'base, img, body svg image',
  'style:not(head > style)',
  'meta[http-equiv=refresh]',
].join(', ');

async function expectOnlyText(page) {
  await page.waitForTimeout(300);
  expect(await page.evaluate(() => window.hacked)).toBeUndefined();
  expect(
    await page.evaluate((selector) => [...document.querySelectorAll(selector)].map((one) => one.outerHTML), kForbidden),
  ).toEqual([]);
  const attributes = await page.evaluate(() =>
    [...document.querySelectorAll('*')].flatMap((one) =>
      [...one.attributes]
        .filter(({ name, value }) => /^on/.test(name) || /^\s*(javascript|vbscript):/i.test(value))
        .map(({ name }) => name),
    ),
  );
  expect(attributes).toEqual([]);
  const links = await page
    .locator('.message a')
    .evaluateAll((all) => all.map((link) => [link.protocol, link.rel, link.target]));
  for (const [protocol, rel, target] of links) {
    expect(['http:', 'https:', 'mailto:']).toContain(protocol);
    expect(rel).toContain('noopener');
    expect(target).toBe('_blank');
  }
}

test('attacks in answer, thought and frames stay text', async ({ chat, page }) => {
  await page.getByRole('switch', { name: 'Thinking' }).check();
  await chat.askAndWait('attack');
  await page.locator('.thought summary').click();
  await expect(chat.answers.first()).toContainText('<script>window.hacked=1;alert(1)</script>');
  await expect(chat.answers.first()).toContainText('<img src=x onerror="window.hacked=2;alert(2)">');
  await expectOnlyText(page);
  await page.getByRole('slider').press('End');
  for (const look of ['text', 'grid']) {
    await expect(page.locator(`.replay .tokens.${look}`)).toBeVisible();
    await expectOnlyText(page);
    await page.locator('.replay').getByRole('button', { name: 'Grid' }).click();
  }
  await page.reload();
  await page.getByRole('navigation', { name: 'History' }).getByRole('button', { name: 'attack', exact: true }).click();
  await expectOnlyText(page);
});

test('control characters and reversed text are not passed on', async ({ chat, page }) => {
  await chat.askAndWait('attack');
  const text = await page.locator('.thread').evaluate((thread) => thread.textContent);
  expect(text).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u202a-\u202e\u2066-\u2069]/);
});

test('attacks in questions, titles and the system prompt stay text', async ({ chat, page }) => {
  for (const attack of kAttacks.slice(0, 6)) {
    await chat.askAndWait(attack);
    await page.getByRole('button', { name: 'New chat' }).click();
  }
  const titles = await page.locator('aside .title').allTextContents();
  expect(titles.some((title) => title.startsWith('<script>'))).toBe(true);
  await expectOnlyText(page);
});

test('attacks in tool calls stay text', async ({ chat, page }) => {
  await chat.askAndWait('tool');
  const call = chat.answers.first().locator('.call');
  await expect(call).toContainText('<img src=x onerror=alert(1)>weather');
  await expect(call.locator('pre')).toContainText('"<script>alert(1)</script>"');
  await expectOnlyText(page);
});

test.describe('with a hostile model name', () => {
  test.use({ mockOptions: { models: ['<img src=x onerror=window.hacked=1>', 'b"><script>window.hacked=2</script>'] } });
  test('it stays text', async ({ chat, page }) => {
    await expect(page.getByTitle('Model', { exact: true })).toHaveText('<img src=x onerror=window.hacked=1>');
    await page.getByRole('button', { name: 'Settings' }).first().click();
    await page.getByRole('combobox', { name: 'Model' }).selectOption({ index: 1 });
    await page.keyboard.press('Escape');
    await chat.askAndWait('haiku');
    expect(chat.request.model).toBe('b"><script>window.hacked=2</script>');
    await expectOnlyText(page);
  });
});

test('text made to be slow or deep is shown all the same', async ({ chat, page }) => {
  await chat.askAndWait('deep');
  await expect(chat.answers.first()).toContainText('**a**a');
  await expectOnlyText(page);
});

test('a hostile file of chats stays text', async ({ chat, page }) => {
  const id = 'a'.repeat(24);
  const attack = kAttacks.join('\n\n');
  const message = (more) => ({
    id,
    parent: '',
    role: 'user',
    text: attack,
    thought: attack,
    calls: [{ name: attack, arguments: attack }],
    figures: { seed: '<b>', __proto__: 1 },
    error: attack,
    ...more,
  });
  const file = {
    format: 'dgemma-chats',
    version: 1,
    chats: [
      null,
      5,
      {
        title: attack,
        system: attack,
        messages: [
          null,
          message({}),
          message({
            id: 'b'.repeat(24),
            parent: id,
            role: 'assistant',
            recording: {
              version: 1,
              blocks: [
                {
                  canvas: 4,
                  total: 2,
                  steps: [
                    {
                      changes: [
                        [0, attack],
                        [9, 'x'],
                        ['__proto__', 'y'],
                      ],
                      mask: '////',
                      entropy: '%%%',
                      spans: [{ channel: '<b>', from: -3, to: 99 }],
                    },
                  ],
                },
              ],
            },
          }),
        ],
      },
      { title: '', messages: [message({ parent: id })], chosen: [[id, id], '__proto__'] },
      { title: 'proto', messages: [message({ id: '__proto__', parent: 'constructor' })] },
    ],
  };
  await page.getByRole('button', { name: 'Settings' }).first().click();
  await page
    .locator('input[type=file]')
    .setInputFiles({ name: 'x.json', mimeType: 'application/json', buffer: Buffer.from(JSON.stringify(file)) });
  await expect(page.getByText('3 chats were read.')).toBeVisible();
  await page.keyboard.press('Escape');
  for (const title of await page.locator('aside .title').all()) {
    await title.click();
    await expectOnlyText(page);
    const text = await page.locator('body').textContent();
    expect(text).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u202a-\u202e\u2066-\u2069]/);
  }
  expect(await page.evaluate(() => Object.keys(Object.prototype))).toEqual([]);
});

test('the policy of the page forbids what text could try', async ({ page, mock }) => {
  await page.goto(mock.url);
  const policy = await page.locator('meta[http-equiv=Content-Security-Policy]').getAttribute('content');
  expect(policy).toContain("default-src 'none'");
  expect(policy).not.toMatch(/unsafe|\*|https?:/);
  // In a timer, for what the test itself evaluates is not under the policy.
  await page.evaluate(() => {
    window.tried = {};
    const attempt = async (name, action) => {
      window.tried[name] = await Promise.resolve()
        .then(action)
        .then(
          () => 'done',
          (error) => error.constructor.name,
        );
    };
    setTimeout(() => {
      attempt('eval', () => (0, eval)('window.hacked = 1'));
      attempt('innerHTML', () => (document.createElement('div').innerHTML = '<b>x</b>'));
      attempt('fetch', () => fetch('http://127.0.0.1:9/elsewhere'));
      attempt('policy', () => trustedTypes.createPolicy('dompurify', {}));
      attempt('script', () =>
        document.head.append(Object.assign(document.createElement('script'), { textContent: 'window.hacked = 2' })),
      );
    });
  });
  const refused = {
    eval: 'EvalError',
    innerHTML: 'TypeError',
    fetch: 'TypeError',
    policy: 'TypeError',
    script: 'TypeError',
  };
  await expect.poll(() => page.evaluate(() => window.tried)).toEqual(refused);
  expect(await page.evaluate(() => window.hacked)).toBeUndefined();
  expect(readFileSync(new URL('../dist/index.html', import.meta.url), 'utf8')).not.toMatch(
    /(src|href)="(https?:)?\/\//,
  );
});

test('the key is sent to this server only, and not written into files', async ({ browser, mock }, info) => {
  const page = await browser.newPage();
  const wrong = watch(page, new URL(mock.url).origin);
  const chat = new ChatPage(page, mock);
  await page.goto(mock.url);
  await page.evaluate(() => localStorage.setItem('dgemma.key', '"top-secret"'));
  await page.reload();
  await chat.askAndWait('haiku');
  for (const name of ['Share']) {
    const waiting = page.waitForEvent('download');
    await chat.answers.first().getByRole('button', { name }).click();
    const path = info.outputPath(name);
    await (await waiting).saveAs(path);
    expect(readFileSync(path, 'utf8')).not.toContain('top-secret');
  }
  expect(wrong).toEqual([]);
  await page.close();
});
