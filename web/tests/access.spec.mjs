// For everyone: keyboard alone, screen readers, less motion, both themes, narrow screens, no network beyond the server.
import { AxeBuilder } from '@axe-core/playwright';
import { expect, test } from './fixtures.mjs';

async function expectAccessible(page) {
  const { violations } = await new AxeBuilder({ page })
    .withTags(['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'])
    .analyze();
  expect(
    violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 120)).join(' | ')}`),
  ).toEqual([]);
}

for (const scheme of ['light', 'dark']) {
  test.describe(scheme, () => {
    test.use({ colorScheme: scheme });
    test(`axe finds nothing in any state of the ${scheme} page`, async ({ chat, page }) => {
      await page.waitForTimeout(2500); // the first letters have settled
      await expectAccessible(page);
      await page.getByRole('switch', { name: 'Thinking' }).check();
      await chat.askAndWait('How does a text diffusion model write?');
      await chat.answers.first().getByRole('button', { name: 'Regenerate' }).click();
      await expect(page.locator('.forming')).toBeVisible();
      await chat.settled();
      await chat.askAndWait('list');
      await chat.askAndWait('tool');
      await expectAccessible(page);
      await page.getByRole('slider').first().press('Home');
      for (let i = 0; i < 9; ++i) await page.getByRole('slider').first().press('ArrowRight');
      await page
        .getByText(/self-corrections/)
        .first()
        .click();
      await page.waitForTimeout(400);
      await expectAccessible(page);
      await page.locator('.replay').first().getByRole('button', { name: 'Grid' }).click();
      await page.waitForTimeout(400);
      await expectAccessible(page);
      await page.getByRole('button', { name: 'Settings' }).first().click();
      await expectAccessible(page);
      await page.keyboard.press('Escape');
      await page.getByRole('button', { name: 'Keyboard shortcuts' }).click();
      await expectAccessible(page);
    });
  });
}

test('the theme follows the system until the user chooses', async ({ chat, page }) => {
  const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.emulateMedia({ colorScheme: 'light' });
  const light = await paper();
  await page.emulateMedia({ colorScheme: 'dark' });
  const dark = await paper();
  expect(dark).not.toBe(light);
  await page.getByRole('button', { name: 'Light theme' }).click();
  expect(await paper()).toBe(light);
  await page.reload();
  expect(await paper()).toBe(light);
  await chat.field.press('Escape');
  await page.getByRole('button', { name: 'Dark theme' }).click();
  expect(await paper()).toBe(dark);
});

test('everything is done with the keyboard alone', async ({ chat, page }) => {
  const { keyboard } = page;
  await expect(chat.field).toBeFocused();
  await page.getByRole('link', { name: 'To the message field' }).focus();
  await keyboard.press('Enter');
  await expect(chat.field).toBeFocused();
  await keyboard.type('haiku');
  await keyboard.press('Shift+Enter');
  await keyboard.type('of two lines');
  await keyboard.press('Enter');
  await expect.poll(() => chat.mock.log.length).toBe(1);
  expect(chat.request.messages[0].content).toBe('haiku\nof two lines');
  await chat.settled();
  await expect(chat.field).toBeFocused();
  await keyboard.press('Escape');
  await keyboard.press('r');
  await expect.poll(() => chat.mock.log.length).toBe(2);
  await chat.settled();
  await keyboard.press('[');
  await expect(chat.answers.first()).toContainText('1/2');
  await keyboard.press(']');
  await expect(chat.answers.first()).toContainText('2/2');
  await keyboard.press('p');
  await expect(page.getByRole('slider')).toBeFocused();
  await keyboard.press('ArrowLeft');
  await expect(page.locator('.replay .map')).toBeVisible();
  await keyboard.press('g');
  await expect(page.locator('.tokens.grid')).toBeVisible();
  await keyboard.press('h');
  await expect(page.locator('.tokens .tok:not(.h0)')).toHaveCount(0);
  await keyboard.press('e');
  await expect(page.getByRole('textbox', { name: 'Edit your message' })).toBeFocused();
  await keyboard.press('Escape');
  await keyboard.press('?');
  await expect(page.getByRole('dialog', { name: 'Keyboard shortcuts' })).toBeVisible();
  await keyboard.press('Escape');
  await expect(page.getByRole('dialog')).toHaveCount(0);
  await keyboard.press('s');
  await expect(page.getByRole('dialog', { name: 'Settings' })).toBeVisible();
  await keyboard.press('Escape');
  await keyboard.press('/');
  await expect(chat.field).toBeFocused();
  await keyboard.type('slow?');
  await keyboard.press('Enter');
  await expect(page.locator('.forming')).toBeVisible();
  await keyboard.press('Escape');
  await expect(chat.answers.last()).toContainText('Stopped.');
  await keyboard.press('Control+k');
  await expect(page.getByRole('searchbox')).toBeFocused();
  await keyboard.press('Control+Shift+O');
  await expect(chat.field).toBeFocused();
  await expect(chat.answers).toHaveCount(0);
});

test('what is typed at once is a message, not shortcuts', async ({ chat, page }) => {
  const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
  const before = await theme();
  await page.keyboard.type('test');
  await expect(chat.field).toHaveValue('test');
  expect(await theme()).toBe(before);
});

test('single keys can be switched off', async ({ chat, page }) => {
  await page.getByRole('button', { name: 'Settings' }).first().click();
  await page.getByRole('switch', { name: 'Shortcuts of a single key' }).click();
  await page.keyboard.press('Escape');
  await chat.field.evaluate((field) => field.blur());
  await page.keyboard.press('?');
  await expect(page.getByRole('dialog')).toHaveCount(0);
});

test.describe('with less motion', () => {
  test.use({ contextOptions: { reducedMotion: 'reduce' }, mockOptions: { pace: 60 } });
  test('no draft is drawn while an answer forms, and nothing moves', async ({ chat, page }) => {
    await page.evaluate(() => {
      window.drafts = 0;
      new MutationObserver(() => (window.drafts += document.querySelectorAll('.answer .map').length)).observe(
        document.body,
        { subtree: true, childList: true },
      );
    });
    await chat.ask('How does a text diffusion model write?');
    await expect(page.getByText('The answer is forming')).toBeVisible();
    const moving = () => page.evaluate(() => document.getAnimations().length);
    expect(await moving()).toBe(0);
    await chat.settled();
    expect(await page.evaluate(() => window.drafts)).toBe(0);
    await expect(page.getByRole('button', { name: 'Replay how this answer formed' })).toHaveCount(0);
    await page.getByRole('slider').press('Home'); // steps are there, one at a time
    await expect(page.locator('.replay .map')).toBeVisible();
    expect(await moving()).toBe(0);
  });
});

test('screen readers hear committed text and nothing of drafts', async ({ chat, page }) => {
  await page.evaluate(() => {
    window.heard = [];
    const live = [...document.querySelectorAll('[aria-live], [role=status], [role=alert]')];
    for (const region of live) {
      new MutationObserver(() => window.heard.push(region.textContent)).observe(region, {
        subtree: true,
        childList: true,
        characterData: true,
      });
    }
  });
  await page.getByRole('switch', { name: 'Thinking' }).check();
  await chat.askAndWait('How does a text diffusion model write?');
  const heard = (await page.evaluate(() => window.heard)).filter(Boolean);
  expect(heard[0]).toBe('An answer is forming.');
  expect(heard.at(-1)).toBe('The answer is complete.');
  const text = heard.slice(1, -1).join('');
  expect(text).toContain('A diffusion model does not write from left to right.');
  expect(text).not.toMatch(/zebra|quark|The user wants/);
  const hidden = await page
    .locator('.replay')
    .evaluate((replay) =>
      [...replay.querySelectorAll('.map, .tokens')].every((one) => one.closest('[aria-hidden=true]')),
    );
  expect(hidden).toBe(true);
});

test.describe('on a phone', () => {
  test.use({ viewport: { width: 360, height: 640 }, hasTouch: true, isMobile: true });
  test('nothing is wider than the screen, and the list of chats is a drawer', async ({ chat, page }) => {
    const narrow = async (what) => {
      const wide = await page.evaluate(() =>
        Math.max(
          document.documentElement.scrollWidth,
          document.body.scrollWidth,
          document.querySelector('.thread').scrollWidth,
        ),
      );
      expect(wide, what).toBeLessThanOrEqual(360);
    };
    await narrow('empty');
    await chat.ask('How does a text diffusion model write?');
    await expect(page.locator('.forming')).toBeVisible();
    await narrow('forming');
    await chat.settled();
    await narrow('answered');
    await chat.askAndWait(`list ${'averyverylongword'.repeat(20)}`);
    await narrow('with long words');
    await page.getByRole('slider').first().press('Home');
    await narrow('replay');
    await page.locator('.replay').first().getByRole('button', { name: 'Grid' }).click();
    await narrow('grid');
    await expect(page.getByRole('searchbox')).toBeHidden();
    await page.getByRole('button', { name: 'List of chats' }).click();
    await expect(page.getByRole('searchbox')).toBeVisible();
    await narrow('drawer');
    await expectAccessible(page);
    await page.keyboard.press('Escape');
    await expect(page.getByRole('searchbox')).toBeHidden();
    await page.getByRole('button', { name: 'Settings' }).click();
    await narrow('settings');
    for (const button of await page.getByRole('main').getByRole('button').all()) {
      const box = await button.boundingBox();
      if (box) expect(Math.min(box.width, box.height), await button.textContent()).toBeGreaterThanOrEqual(24);
    }
  });
});
