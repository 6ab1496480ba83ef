// Records docs/pictures/page-*.png: the page with the canned answers of mock.mjs, in real Chromium ($CHROMIUM, or
// Playwright's). Run after script/web: CHROMIUM=$(command -v chromium) node web/pictures.mjs
import { fileURLToPath } from 'node:url';
import { chromium } from '@playwright/test';
import { startMock } from './mock.mjs';

const folder = fileURLToPath(new URL('../docs/pictures/', import.meta.url));
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || undefined, args: ['--no-sandbox'] });
const kQuestion = 'How does a text diffusion model write?';

async function ask(page, text) {
  await page.getByRole('textbox', { name: 'Your message', exact: true }).fill(text);
  await page.keyboard.press('Enter');
}

/** Opens the page, lets `act` bring it into the state, and takes the picture. */
async function picture(name, { pace, ...look }, act) {
  const mock = await startMock({ pace });
  const context = await browser.newContext({ viewport: { width: 1180, height: 820 }, ...look });
  const page = await context.newPage();
  await page.goto(mock.url);
  await act(page);
  await page.waitForTimeout(500);
  await page.screenshot({ path: `${folder}page-${name}.png` });
  await context.close();
  await mock.close();
}

const answered = (page) => page.locator('.answer .figures').waitFor({ timeout: 90_000 });

async function withHistory(page) {
  for (const text of ['Write a haiku about noise.', 'Show a table of formats.']) {
    await ask(page, text);
    await answered(page);
    await page.keyboard.press('Control+Shift+O');
  }
  await ask(page, kQuestion);
  await answered(page);
}

async function forming(page, step) {
  await ask(page, kQuestion);
  const reached = (least) =>
    Number(/step (\d+)/i.exec(document.querySelector('.forming .step')?.textContent)?.[1]) >= least;
  await page.waitForFunction(reached, step, { timeout: 90_000 });
}

await picture('light', { pace: 8, colorScheme: 'light' }, async (page) => {
  await withHistory(page);
  await page.locator('.thread').evaluate((thread) => (thread.scrollTop = thread.scrollHeight));
});
await picture('dark', { pace: 8, colorScheme: 'dark' }, async (page) => {
  await withHistory(page);
  for (let i = 0; i < 8; ++i) await page.getByRole('slider').press('ArrowLeft');
  await page.getByText(/self-correction/).click();
  await page.locator('.replay').evaluate((replay) => replay.scrollIntoView({ block: 'start' }));
});
await picture('forming', { pace: 600, colorScheme: 'light' }, (page) => forming(page, 10));
const phone = { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };
await picture('phone', { pace: 500, colorScheme: 'dark', ...phone }, (page) => forming(page, 12));
await browser.close();
