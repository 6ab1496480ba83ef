// The page as `dgemma serve` gives it out, with answers of the embedded model. Runs when DGEMMA_PROGRAM names the
// program (script/web-test --program PATH).
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { expect, test as base } from '@playwright/test';
import { ChatPage, watch } from './fixtures.mjs';

const program = process.env.DGEMMA_PROGRAM;

const test = base.extend({
  served: async ({ page }, use) => {
    const server = spawn(program, ['serve', '--port', '0'], { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = new Promise((resolve) => server.on('exit', resolve));
    const lines = createInterface({ input: server.stdout });
    const url = await new Promise((resolve, reject) => {
      lines.on('line', (line) => {
        const found = /listening on (\S+)/.exec(line);
        if (found) resolve(`${found[1]}/`);
      });
      ended.then((code) => reject(new Error(`the server ended with ${code}`)));
    });
    const wrong = watch(page, url.slice(0, -1), [/status of 400/]);
    const chat = new ChatPage(page, { url, log: [] });
    await chat.open();
    await use({ chat, url });
    server.kill('SIGTERM');
    await ended;
    expect(wrong).toEqual([]);
  },
});

test.skip(!program, 'DGEMMA_PROGRAM is not set');

test('the program gives out the built page', async ({ served, request }) => {
  const response = await request.get(served.url);
  expect(response.headers()['content-type']).toContain('text/html');
  expect(await response.text()).toBe(readFileSync(new URL('../dist/index.html', import.meta.url), 'utf8'));
  expect(response.headers()['content-security-policy']).toContain("frame-ancestors 'none'");
});

test('the embedded model answers, with steps, figures and another branch', async ({ served, page }) => {
  const { chat } = served;
  await expect(page.getByRole('list', { name: 'Examples' }).getByRole('button').first()).toHaveText('upper cat');
  await chat.ask('json name=ada age=36 city=rome');
  await expect(chat.answers.first()).toContainText('{"name":"ada","age":36,"city":"rome"}', { timeout: 20_000 });
  await chat.settled();
  const slider = page.getByRole('slider');
  await slider.press('Home');
  await expect(page.locator('.replay .map .cell')).toHaveCount(64);
  await expect(slider).toHaveAttribute('aria-valuetext', /^canvas 1, step 1 of \d+, \d+ of 64 accepted$/);
  await slider.press('End');
  const shown = await page.locator('.replay .tokens .tok').allTextContents();
  expect(shown.join('')).toBe('{"name":"ada","age":36,"city":"rome"}');
  await expect(chat.answers.first().locator('.figures summary')).toHaveText(/^TTFT .* · \d+ passes · .* tok\/s$/);
  await chat.answers.first().getByRole('button', { name: 'Regenerate' }).click();
  await expect(chat.answers.first()).toContainText('2/2');
  await chat.settled();
});

test('a sudoku keeps its lines', async ({ served }) => {
  await served.chat.ask('sudoku 3241 4132 ..14 1.2.');
  await served.chat.settled();
  await expect(served.chat.answers.first().locator('.markdown p')).toHaveText('3241413223141423');
  await expect(served.chat.answers.first().locator('.markdown br')).toHaveCount(3);
});

test('knobs reach the model, and bad ones come back as words', async ({ served, page }) => {
  await page.getByRole('button', { name: 'Settings' }).first().click();
  await page.getByRole('spinbutton', { name: /^Steps/ }).fill('2');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Escape');
  await served.chat.ask('upper cat');
  await served.chat.settled();
  await page.getByRole('slider').press('Home');
  await expect(page.getByRole('slider')).toHaveAttribute('aria-valuetext', /step 1 of 2/);
  await page.getByRole('button', { name: 'Settings' }).first().click();
  await page.getByRole('spinbutton', { name: /^Temperature, last/ }).fill('99');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Escape');
  await served.chat.ask('upper cat');
  await expect(page.getByRole('alert')).toContainText('t_m');
});
