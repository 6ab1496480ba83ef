// What every test of the page stands on: a mock server, and a watch that fails the test when the page leaves its
// origin, opens a dialog, runs text of a model, or writes an error to the console.
import { test as base, expect } from '@playwright/test';
import { startMock } from '../mock.mjs';

export { expect };

export const test = base.extend({
  /** Options of the mock; a test sets them with test.use. */
  mockOptions: [{}, { option: true }],
  mock: async ({ mockOptions }, use) => {
    const mock = await startMock({ pace: 8, ...mockOptions });
    await use(mock);
    await mock.close();
  },
  /** Console errors that a test expects, as regular expressions. */
  allowed: async ({}, use) => use([]),
  chat: async ({ page, mock, allowed }, use) => {
    const wrong = watch(page, new URL(mock.url).origin, allowed);
    const chat = new ChatPage(page, mock);
    await chat.open();
    await use(chat);
    expect(wrong, 'what the page must not do').toEqual([]);
    expect(await page.evaluate(() => window.hacked)).toBeUndefined();
  },
});

/** Collects what must not happen. */
export function watch(page, origin, allowed = []) {
  const wrong = [];
  page.on('request', (request) => {
    const url = request.url();
    if (!url.startsWith(`${origin}/`) && !/^(data|blob):/.test(url)) wrong.push(`request to ${url}`);
  });
  page.on('dialog', (dialog) => {
    wrong.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on('popup', () => wrong.push('a window was opened'));
  page.on('pageerror', (error) => wrong.push(`error: ${error.message}`));
  page.on('console', (message) => {
    if (message.type() !== 'error' && !/Content Security Policy/i.test(message.text())) return;
    if (!allowed.some((pattern) => pattern.test(message.text()))) wrong.push(`console: ${message.text()}`);
  });
  return wrong;
}

/** The page as a user handles it. */
export class ChatPage {
  constructor(page, mock) {
    this.page = page;
    this.mock = mock;
    this.field = page.getByRole('textbox', { name: 'Your message', exact: true });
    this.answers = page.getByRole('article', { name: 'Answer' });
    this.questions = page.getByRole('article', { name: 'You' });
  }

  async open() {
    await this.page.goto(this.mock.url);
    await expect(this.page.getByTitle('Model', { exact: true })).toBeVisible();
  }

  async ask(text) {
    await this.field.fill(text);
    await this.field.press('Enter');
  }

  /** Until no answer is forming. */
  async settled() {
    await expect(this.page.getByRole('button', { name: 'Stop' })).toHaveCount(0);
    await expect(this.page.locator('[aria-busy=true]')).toHaveCount(0);
  }

  async askAndWait(text) {
    const before = this.mock.log.length;
    await this.ask(text);
    await expect.poll(() => this.mock.log.length).toBe(before + 1);
    await this.settled();
  }

  /** The last request that the server got. */
  get request() {
    return this.mock.log.at(-1).body;
  }
}
