// The canvas and its replay: what is drawn is what the server sent, step by step; shared files hold it without a
// network.
import { pathToFileURL } from 'node:url';
import { expect, test, watch } from './fixtures.mjs';

const shown = (token) => (token === '' ? '∅' : token.trim() || token.replaceAll(' ', '␣').replaceAll('\n', '⏎'));

const printable = (token) => token.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, '\ufffd');

const acceptedIn = (frame) => {
  const bits = Buffer.from(frame.diffusion.accepted_mask, 'base64');
  return frame.diffusion.tokens.map((_, p) => ((bits[p >> 3] >> (p & 7)) & 1) === 1);
};

const channelIn = (frame, p) => frame.diffusion.spans.find(({ from, to }) => from <= p && p < to).channel;

/** Positions and texts that a step must show, from the frame alone. */
function expected(frame) {
  const accepted = acceptedIn(frame);
  return frame.diffusion.tokens.flatMap((token, p) => {
    if (channelIn(frame, p) === 'end') return [];
    if (!accepted[p]) return [`${p}:`];
    return token === '' ? [] : [`${p}:${printable(token)}`];
  });
}

/** Corrections of the frames of one canvas, found by looking at each position by itself. */
function correctionsOf(frames) {
  const found = [];
  for (let p = 0; p < frames[0].diffusion.canvas; ++p) {
    if (channelIn(frames.at(-1), p) === 'end') continue;
    const history = frames
      .filter((frame) => acceptedIn(frame)[p])
      .map((frame) => ({ step: frame.step, token: printable(frame.diffusion.tokens[p]) }));
    const runs = history.filter((one, i) => i === 0 || one.token !== history[i - 1].token);
    for (let i = 1; i < runs.length; ++i)
      found.push(`${p} ${shown(runs[i - 1].token)}>${shown(runs[i].token)} ${runs[i - 1].step}>${runs[i].step}`);
  }
  return found.sort();
}

const drawn = (page) =>
  page
    .locator('.replay .tokens .tok')
    .evaluateAll((tokens) => tokens.map((token) => `${token.dataset.p}:${token.textContent}`));

test.describe('an answer on several canvases', () => {
  test.use({ mockOptions: { canvas: 128 } });
  test('the slider shows exactly the recorded frames', async ({ chat, page }) => {
    await page.getByRole('switch', { name: 'Thinking' }).check();
    await chat.askAndWait('How does a text diffusion model write?');
    const frames = chat.mock.log[0].frames;
    expect(new Set(frames.map((frame) => frame.block)).size).toBeGreaterThan(1);
    const slider = page.getByRole('slider');
    await expect(slider).toHaveAttribute('max', String(frames.length - 1));
    await slider.press('Home');
    for (const [index, frame] of frames.entries()) {
      const words = `canvas ${frame.block + 1}, step ${frame.step} of 48, ${frame.diffusion.accepted} of 128 accepted`;
      await expect(slider).toHaveAttribute('aria-valuetext', words);
      expect(await drawn(page), words).toEqual(expected(frame));
      const set = await page
        .locator('.replay .map .cell.set')
        .evaluateAll((cells) => cells.map((cell) => Number(cell.dataset.p)));
      expect(set).toEqual(acceptedIn(frame).flatMap((accepted, p) => (accepted ? [p] : [])));
      if (index + 1 < frames.length) await slider.press('ArrowRight');
    }
    await slider.press('End');
    await expect(page.locator('.replay .run.thought')).toHaveCount(0); // the last canvas has none
    await slider.press('Home');
    await expect(page.locator('.replay .channel')).toHaveText(['Thinking']);
  });
});

test('heat is the entropy of the frame', async ({ chat, page }) => {
  await chat.askAndWait('haiku');
  const frame = chat.mock.log[0].frames[2];
  await page.getByRole('slider').press('Home');
  await page.getByRole('slider').press('ArrowRight');
  await page.getByRole('slider').press('ArrowRight');
  const nats = [...Buffer.from(frame.diffusion.entropy_q8, 'base64')].map((byte) => byte / 32);
  const level = (n) => [0.01, 0.1, 0.5, 1.5].filter((bound) => n > bound).length;
  const classes = await page
    .locator('.replay .tokens .tok')
    .evaluateAll((tokens) => tokens.map((token) => [Number(token.dataset.p), token.className]));
  expect(classes.length).toBeGreaterThan(10);
  for (const [p, name] of classes) expect(name, `position ${p}`).toContain(`h${level(nats[p])}`);
  await page.locator('.replay').getByRole('button', { name: 'Heat' }).click();
  await expect(page.locator('.replay .tokens .tok:not(.h0)')).toHaveCount(0);
});

test('self-corrections are marked, listed and lead to their step', async ({ chat, page }) => {
  await chat.askAndWait('How does a text diffusion model write?');
  const corrections = correctionsOf(chat.mock.log[0].frames.filter((frame) => frame.block === 0));
  expect(corrections.length).toBeGreaterThan(2);
  await expect(chat.answers.first().locator('.badge')).toHaveText(`${corrections.length} corrected`);
  await page.getByRole('slider').press('End');
  await page.getByText(`${corrections.length} self-corrections`).click();
  const rows = page.locator('.corrections li');
  const listed = await rows.evaluateAll((items) =>
    items.map((item) => {
      const [, p, from, to] = item.querySelector('.dim').textContent.match(/position (\d+), step (\d+) → (\d+)/);
      return `${p} ${item.querySelector('del').textContent}>${item.querySelector('ins').textContent} ${from}>${to}`;
    }),
  );
  expect(listed.sort()).toEqual(corrections);
  const text = await rows.first().locator('.dim').textContent();
  await rows.first().getByRole('button').click();
  const [, position, , step] = text.match(/position (\d+), step (\d+) → (\d+)/);
  await expect(page.getByRole('slider')).toHaveAttribute('aria-valuetext', new RegExp(`step ${step} of`));
  await expect(page.locator(`.replay .tokens .tok.fixed[data-p="${position}"]`)).toHaveAttribute('title', /→/);
});

test('noise is never shown, neither forming nor replayed', async ({ chat, page }) => {
  await page.evaluate(() => {
    window.seen = new Set();
    new MutationObserver(() => {
      for (const token of document.querySelectorAll('.tokens .tok.open')) window.seen.add(token.textContent);
    }).observe(document.body, { subtree: true, childList: true, characterData: true });
  });
  await chat.askAndWait('How does a text diffusion model write?');
  await page.getByRole('slider').press('Home');
  await page.getByRole('slider').press('ArrowRight');
  await page.keyboard.press('g');
  await expect(page.locator('.tokens.grid')).toBeVisible();
  expect(await page.evaluate(() => [...window.seen])).toEqual(['']);
});

test('play goes through the steps and stops at the last', async ({ chat, page }) => {
  await chat.askAndWait('haiku');
  const last = chat.mock.log[0].frames.length - 1;
  await page.getByRole('button', { name: 'Replay how this answer formed' }).click();
  await expect(page.getByRole('button', { name: 'Pause the replay' })).toBeVisible();
  await expect(page.getByRole('slider')).toHaveValue(String(last), { timeout: 15_000 });
  await expect(page.getByRole('button', { name: 'Replay how this answer formed' })).toBeVisible();
});

test.describe('an answer in a blink', () => {
  test.use({ mockOptions: { pace: 0 } });
  test('is still seen forming, and then shown', async ({ chat, page }) => {
    const seen = [];
    await page.exposeFunction('noteStep', (text) => seen.push(text));
    await page.evaluate(() => {
      new MutationObserver(() => {
        const step = document.querySelector('.forming .step');
        if (step) window.noteStep(step.textContent);
      }).observe(document.body, { subtree: true, childList: true, characterData: true });
    });
    await chat.askAndWait('haiku');
    expect(new Set(seen).size).toBeGreaterThan(4);
    await expect(chat.answers.first()).toContainText('Snow');
  });
});

test('a shared answer is one file that needs no network', async ({ chat, page, browser }, info) => {
  await chat.askAndWait('How does a text diffusion model write? </script><script>window.hacked=99</script>');
  const waiting = page.waitForEvent('download');
  await chat.answers.first().getByRole('button', { name: 'Share' }).click();
  const download = await waiting;
  expect(download.suggestedFilename()).toMatch(/^how-does-a-text-diffusion-model-write[a-z0-9-]*\.html$/);
  const path = info.outputPath('shared.html');
  await download.saveAs(path);
  await chat.mock.close();

  const context = await browser.newContext({ offline: true });
  const file = await context.newPage();
  const address = pathToFileURL(path).href;
  const wrong = watch(file, address.slice(0, address.lastIndexOf('/')));
  await file.goto(address);
  await expect(file.getByRole('heading', { level: 1 })).toContainText('How does a text diffusion model write?');
  await expect(file.locator('.bubble')).toContainText('</script>');
  await expect(file.locator('pre code')).toContainText('def denoise');
  const frames = chat.mock.log[0].frames;
  await file.getByRole('slider').press('Home');
  for (const frame of frames.slice(0, 3)) {
    await expect(file.getByRole('slider')).toHaveAttribute('aria-valuetext', new RegExp(`step ${frame.step} of`));
    expect(await drawn(file)).toEqual(expected(frame));
    await file.getByRole('slider').press('ArrowRight');
  }
  expect(await file.evaluate(() => window.hacked)).toBeUndefined();
  expect(wrong).toEqual([]);
  await context.close();
});

test('a long answer of many canvases keeps its order', async ({ chat, page }) => {
  await chat.askAndWait('long');
  const frames = chat.mock.log[0].frames;
  await expect(chat.answers.first().locator('pre')).toHaveCount(12);
  await expect(page.getByRole('slider')).toHaveAttribute('max', String(frames.length - 1));
  await page.getByRole('slider').press('Home');
  await expect(page.locator('.replay .count')).toContainText('canvas 1, step 1');
  await page.getByRole('slider').press('End');
  await expect(page.locator('.replay .count')).toContainText(
    `canvas ${frames.at(-1).block + 1}, step ${frames.at(-1).step}`,
  );
});
