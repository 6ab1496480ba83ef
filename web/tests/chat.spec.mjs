// The conversation: asking, stopping, branches, history, settings, and what is said when something goes wrong.
import { readFileSync } from 'node:fs';
import { kAnswers } from '../mock.mjs';
import { ChatPage, expect, test } from './fixtures.mjs';

test('an answer is asked for, forms, and is shown as Markdown with its figures', async ({ chat, page }) => {
  await chat.ask('How does a text diffusion model write?');
  await expect(page.locator('.forming .map .cell')).toHaveCount(256);
  await expect(page.getByText(/step \d+ of 48, \d+ of 256 accepted/i)).toBeVisible();
  await chat.settled();
  const answer = chat.answers.first();
  await expect(answer.locator('ol > li')).toHaveCount(3);
  await expect(answer.locator('strong')).toHaveText('canvas');
  await expect(answer.locator('pre code')).toContainText('def denoise(canvas, model, steps=48):');
  await expect(answer.locator('.figures summary')).toHaveText(/^TTFT .* · \d+ passes · .* tok\/s$/);
  await answer.locator('.figures summary').click();
  await expect(answer.getByText('Answer tokens', { exact: true })).toBeVisible();
  expect(chat.request.diffusion).toEqual({
    frames: true,
    max_fps: 0,
    fields: ['text', 'entropy', 'changed', 'tokens'],
  });
  expect(chat.request.messages).toEqual([{ role: 'user', content: 'How does a text diffusion model write?' }]);
  expect(chat.request.chat_template_kwargs).toEqual({ enable_thinking: false });
  await expect(page.locator('#spoken')).toContainText('A diffusion model does not write from left to right');
});

test('a second message carries the conversation', async ({ chat }) => {
  await chat.askAndWait('haiku');
  await chat.askAndWait('list');
  expect(chat.request.messages.map((message) => message.role)).toEqual(['user', 'assistant', 'user']);
  expect(chat.request.messages[1].content).toBe(kAnswers.haiku);
  await expect(chat.answers).toHaveCount(2);
  const table = chat.answers.nth(1).locator('table');
  await expect(table.locator('tbody tr')).toHaveCount(3);
  await expect(chat.answers.nth(1).getByRole('link')).toHaveAttribute('rel', /noopener/);
});

test('an answer whose bytes come in pieces is whole', async ({ chat }) => {
  await chat.askAndWait('split');
  await expect(chat.answers.first().locator('p')).toHaveText(Array(3).fill('Grüße 日本語 🙂 – ä'));
});

test('stop ends the request and keeps what was asked', async ({ chat, page }) => {
  await chat.ask('slow');
  await expect(page.locator('.forming')).toBeVisible();
  await page.getByRole('button', { name: 'Stop' }).click();
  await expect(chat.answers.first().getByText('Stopped.')).toBeVisible();
  await expect.poll(() => chat.mock.log[0].closed).toBe(true);
  await expect(page.locator('#status')).toHaveText('Stopped.');
  await chat.askAndWait('haiku');
  await expect(chat.answers).toHaveCount(2);
});

test('regenerate adds a branch, and arrows go between branches', async ({ chat, page }) => {
  await chat.askAndWait('haiku');
  await chat.answers.first().getByRole('button', { name: 'Regenerate' }).click();
  await expect.poll(() => chat.mock.log.length).toBe(2);
  await chat.settled();
  await expect(chat.answers).toHaveCount(1);
  expect(chat.request.messages).toEqual([{ role: 'user', content: 'haiku' }]);
  const arrows = chat.answers.first().getByRole('group', { name: 'Branches' });
  await expect(arrows).toContainText('2/2');
  const second = await chat.answers.first().getAttribute('data-id');
  await arrows.getByRole('button', { name: 'Branch before' }).click();
  await expect(arrows).toContainText('1/2');
  expect(await chat.answers.first().getAttribute('data-id')).not.toBe(second);
  await page.reload();
  await page.getByRole('button', { name: 'haiku', exact: true }).click();
  await expect(arrows).toContainText('1/2');
});

test('an edited message is a branch with an answer of its own', async ({ chat }) => {
  await chat.askAndWait('haiku');
  await chat.askAndWait('list');
  await chat.questions.first().getByRole('button', { name: 'Edit' }).click();
  const editor = chat.page.getByRole('textbox', { name: 'Edit your message' });
  await expect(editor).toBeFocused();
  await editor.fill('haiku, but colder');
  await editor.press('Enter');
  await expect.poll(() => chat.mock.log.length).toBe(3);
  await chat.settled();
  expect(chat.request.messages).toEqual([{ role: 'user', content: 'haiku, but colder' }]);
  await expect(chat.questions).toHaveCount(1);
  await chat.questions.first().getByRole('button', { name: 'Branch before' }).click();
  await expect(chat.questions).toHaveCount(2);
  await expect(chat.questions.nth(1)).toContainText('list');
  await chat.askAndWait('list again');
  expect(chat.request.messages.map((message) => message.content)).toEqual([
    'haiku',
    kAnswers.haiku,
    'list',
    kAnswers.list,
    'list again',
  ]);
});

test('history outlives a reload: search, rename, delete, undo', async ({ chat, page }) => {
  await chat.askAndWait('haiku about snow');
  await page.getByRole('button', { name: 'New chat' }).click();
  await chat.askAndWait('list of formats');
  await page.reload();
  const history = page.getByRole('navigation', { name: 'History' });
  await expect(history.getByRole('listitem')).toHaveCount(2);
  await page.getByRole('searchbox').fill('becoming');
  await expect(history.getByRole('listitem')).toHaveCount(1);
  await history.getByRole('button', { name: 'haiku about snow', exact: true }).click();
  await expect(chat.answers.first()).toContainText('Snow, becoming still.');
  await page.getByRole('button', { name: 'Rename haiku about snow' }).click();
  await page.getByRole('textbox', { name: 'Name of the chat' }).fill('Winter');
  await page.keyboard.press('Enter');
  await expect(history.getByRole('button', { name: 'Winter', exact: true })).toBeFocused();
  await page.getByRole('searchbox').fill('');
  await page.getByRole('button', { name: 'Delete Winter' }).click();
  await expect(history.getByRole('listitem')).toHaveCount(1);
  await page.getByRole('button', { name: 'Undo' }).click();
  await expect(history.getByRole('button', { name: 'Winter', exact: true })).toBeVisible();
  await page.reload();
  await history.getByRole('button', { name: 'Winter', exact: true }).click();
  await expect(page.getByRole('slider')).toHaveCount(1);
  await page.getByRole('slider').press('Home');
  await expect(page.locator('.replay .map .cell')).toHaveCount(256);
});

test('chats go to a file and come back with their replays', async ({ chat, page }, info) => {
  await chat.askAndWait('haiku');
  await page.getByRole('button', { name: 'Settings' }).first().click();
  const waiting = page.waitForEvent('download');
  await page.getByRole('button', { name: 'Export all' }).click();
  const path = info.outputPath('chats.json');
  await (await waiting).saveAs(path);
  const file = JSON.parse(readFileSync(path, 'utf8'));
  expect(file.format).toBe('dgemma-chats');
  expect(file.chats[0].messages[1].recording.blocks[0].steps.length).toBe(chat.mock.log[0].frames.length);
  const [choosing] = await Promise.all([
    page.waitForEvent('filechooser'),
    page.getByRole('button', { name: 'Import' }).click(),
  ]);
  await choosing.setFiles(path);
  await expect(page.getByText('One chat was read.')).toBeVisible();
  await page.keyboard.press('Escape');
  const history = page.getByRole('navigation', { name: 'History' });
  await expect(history.getByRole('listitem')).toHaveCount(2);
  for (const bad of ['no json', '{"format":"other"}', '{"format":"dgemma-chats","version":9,"chats":[]}']) {
    await page.getByRole('button', { name: 'Settings' }).first().click();
    await page
      .locator('input[type=file]')
      .setInputFiles({ name: 'x.json', mimeType: 'application/json', buffer: Buffer.from(bad) });
    await expect(page.locator('.notice')).toHaveText(/This file/);
    await page.keyboard.press('Escape');
  }
});

test('presets, knobs, seed, system prompt and thinking reach the server', async ({ chat, page }) => {
  await page.getByRole('radio', { name: 'Best' }).check();
  await page.getByRole('switch', { name: 'Thinking' }).check();
  await page.getByRole('button', { name: 'Settings' }).first().click();
  await page.getByRole('textbox', { name: 'System prompt' }).fill('Be brief.');
  await page.getByRole('textbox', { name: /^Seed/ }).fill('41');
  await page.getByRole('textbox', { name: /^Tokens/ }).fill('300');
  await page.keyboard.press('Escape');
  await chat.askAndWait('haiku');
  expect(chat.request.diffusion).toMatchObject({ steps: 64, entropy_bound: 0.05, t_min: 0.3, stability: 2 });
  expect(chat.request).toMatchObject({ seed: 41, max_tokens: 300, chat_template_kwargs: { enable_thinking: true } });
  expect(chat.request.messages[0]).toEqual({ role: 'system', content: 'Be brief.' });
  await expect(chat.answers.first().locator('.thought')).toContainText('The user wants an explanation.');
  await page.getByRole('button', { name: 'Settings' }).first().click();
  const steps = page.getByRole('spinbutton', { name: /^Steps/ });
  await steps.fill('12');
  await steps.press('Tab');
  await page.getByRole('spinbutton', { name: /^Stability/ }).fill('-4');
  await page.keyboard.press('Tab');
  await expect(page.getByRole('spinbutton', { name: /^Stability/ })).toHaveValue('2');
  await page.keyboard.press('Escape');
  await chat.askAndWait('list');
  expect(chat.request.diffusion.steps).toBe(12);
  // A thought is not part of the conversation that is sent back.
  expect(JSON.stringify(chat.request.messages)).not.toContain('The user wants');
  await page.reload();
  await expect(page.locator('.composer').getByText('Custom')).toBeVisible();
});

test('problems are said in words, and can be tried again', async ({ browser, mock }) => {
  const page = await browser.newPage();
  const chat = new ChatPage(page, mock);
  await chat.open();
  const alert = page.getByRole('alert').last();
  await chat.askAndWait('error');
  await expect(alert).toContainText('steps: 9999 is too many');
  await chat.askAndWait('busy');
  await expect(alert).toContainText('busy with other requests');
  await chat.askAndWait('drop');
  await expect(alert).toContainText(/connection (broke|ended)/);
  await expect(chat.answers.last().locator('strong')).toHaveText('canvas'); // what had come is kept
  await chat.askAndWait('broken');
  await expect(alert).toContainText('logits became not a number');
  await chat.answers.last().getByRole('button', { name: 'Try again' }).click();
  await expect.poll(() => mock.log.length).toBe(5);
  await chat.settled();
  await expect(chat.answers.last()).toContainText('2/2');
  await chat.askAndWait('empty');
  await expect(chat.answers.last()).toContainText('empty answer');
  await mock.close();
  await chat.ask('haiku');
  await expect(alert).toContainText('cannot be reached');
  await expect(page.locator('.banner')).toContainText('The page keeps trying');
  await page.close();
});

test('a page whose origin is refused says so and asks for no key', async ({ browser, mock }) => {
  const page = await browser.newPage();
  const json = { error: { message: 'web pages of this origin may not use the server' } };
  await page.route('**/v1/models', (route) => route.fulfill({ status: 403, json }));
  await page.goto(mock.url);
  await expect(page.locator('.banner')).toContainText(json.error.message);
  await page.close();
});

test.describe('with a key', () => {
  test.use({ mockOptions: { key: 'se-cret' } });
  test('the page asks for it and sends it', async ({ browser, mock }) => {
    const page = await browser.newPage();
    await page.goto(mock.url);
    await expect(page.locator('.banner')).toContainText('wants a key');
    await page.getByRole('button', { name: 'Open settings' }).click();
    await page.getByRole('textbox', { name: /^Key/ }).fill('se-cret');
    await page.keyboard.press('Tab');
    await expect(page.locator('.banner')).toHaveCount(0);
    await page.keyboard.press('Escape');
    const chat = new ChatPage(page, mock);
    await chat.askAndWait('haiku');
    await expect(chat.answers.first()).toContainText('Snow');
    await page.close();
  });
});

test.describe('with a model of single prompts', () => {
  test.use({ mockOptions: { single: true } });
  test('only the last message is sent, and thinking is off', async ({ chat, page }) => {
    await chat.askAndWait('haiku');
    await chat.askAndWait('list');
    expect(chat.request.messages).toEqual([{ role: 'user', content: 'list' }]);
    await expect(page.getByRole('switch', { name: 'Thinking' })).toBeHidden();
  });
});

test('a server without tokens in its frames still shows drafts', async ({ chat, page }) => {
  await chat.askAndWait('textonly');
  await expect(chat.answers.first().locator('strong')).toHaveText('canvas');
  await page.getByRole('slider').press('ArrowLeft');
  await expect(page.locator('.replay .tokens')).not.toBeEmpty();
});

test('two windows show one history', async ({ chat, page, context }) => {
  const other = await context.newPage();
  await other.goto(chat.mock.url);
  await chat.askAndWait('haiku');
  await expect(other.getByRole('navigation', { name: 'History' }).getByRole('listitem')).toHaveCount(1);
  await other.close();
});
