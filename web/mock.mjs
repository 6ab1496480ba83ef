// A server as FRAMES.md describes it, without a model: answers are canned, their canvases are drawn up by chance from a
// seed. For working on the page (`node mock.mjs [--port 8765] [--pace MS]`) and for its tests, which start it in their
// own process. A message that begins with a word below asks for what may go wrong: see kWishes.
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const kPage = fileURLToPath(new URL('dist/index.html', import.meta.url));

export const kAnswers = {
  diffusion: `A diffusion model does not write from left to right. It begins with a **canvas** of 256 positions, \
all of them noise, and looks at every position at once:

1. It predicts a token for each position, and how sure it is of it.
2. The surest predictions are *accepted*; all others become noise again.
3. It looks at the canvas once more, now with what was accepted.

After a dozen passes nothing changes any more, and the canvas is committed.

\`\`\`python
def denoise(canvas, model, steps=48):
    for step in range(steps):
        logits = model(canvas)
        entropy = uncertainty(logits)
        accepted = entropy.cumsum() < 0.1  # nats
        canvas = where(accepted, logits.argmax(), noise())
    return canvas
\`\`\`

Accepted is not final: a later pass may see that a word does not fit its neighbours, and put another in its place.`,
  haiku: `Noise on every line.
Then one word, and then its kin.
Snow, becoming still.`,
  list: `| format | bits | size |
|:--|--:|--:|
| bfloat16 | 16 | 47 GB |
| int8 | 8.5 | 25 GB |
| int4 | 4.5 | 16 GB |

- [x] measured
- [ ] believed

> Quotes, ~~old~~ words, [a link](https://example.org/page) and \`code\`.`,
};

const kThought = 'The user wants an explanation. I should begin with the canvas, then the loop, then show it as code.';

/** Strings that try to become more than text. */
export const kAttacks = [
  '<script>window.hacked=1;alert(1)</script>',
  '<img src=x onerror="window.hacked=2;alert(2)">',
  '<svg onload=window.hacked=3><animate onbegin=alert(3) attributeName=x dur=1s>',
  '[click](javascript:window.hacked=4)',
  '[click](JaVaScRiPt&#58;window.hacked=5)',
  '[click](data:text/html,<script>window.hacked=6</script>)',
  '![image](http://evil.invalid/pixel.png)',
  '![image](javascript:alert(7))',
  '<iframe srcdoc="<script>parent.hacked=8</script>"></iframe>',
  '<a href="javascript:window.hacked=9">a</a>',
  '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=window.hacked=10&gt;">',
  '"><body onload=window.hacked=11>',
  '<style>@import "http://evil.invalid/style.css"; body{display:none}</style>',
  '<link rel=stylesheet href=http://evil.invalid/a.css><meta http-equiv=refresh content="0;url=http://evil.invalid/">',
  '<form action=http://evil.invalid><button>go</button></form><base href=http://evil.invalid/>',
  '```html"><img src=x onerror=window.hacked=12>\n<script>window.hacked=13</script>\n```',
  '<http://evil.invalid/auto> [x]: http://evil.invalid/ref "<script>window.hacked=14</script>"',
  '</script><script>window.hacked=15</script>',
  '{{constructor.constructor("window.hacked=16")()}} ${window.hacked=17}',
  '\u202egnp.exe \u0000\u0007\u001b[31m red',
];

const kDefaults = { steps: 48, entropy_bound: 0.1, t_max: 0.8, t_min: 0.4, stability: 1, confidence: 0.005 };

/** First words of a message that ask for something special. */
const kWishes = [
  'error',
  'busy',
  'drop',
  'slow',
  'empty',
  'attack',
  'tool',
  'deep',
  'long',
  'broken',
  'textonly',
  'split',
];

function random(seed) {
  let state = seed >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 4294967296;
  };
}

const tokensOf = (text) => text.match(/ ?[\p{L}\p{N}]{1,11}|\n+| +|[^\p{L}\p{N}\s]|\s/gu) ?? [];

const kNoise = ['ing', ' the', '##', 'ß', ' quark', '}', ' über', '鬼', '\u0007', '<b>', ' 42', ';', '.', ' zebra'];
const kSlips = [' the', ' a', ' is', ' word', ' of', ' one', '.', ' it', ' very', ','];

function base64(bytes) {
  return Buffer.from(bytes).toString('base64');
}

/** The steps of one canvas that ends as `tokens` in `channels`; the rest of it is the end. */
function* canvasSteps(tokens, channels, size, total, chance) {
  const settles = tokens.map((_, p) => 1 + Math.floor(13 * Math.sqrt(chance()) + (4 * p) / size));
  const slips = tokens.map((token, p) =>
    settles[p] > 4 && /\w/.test(token) && chance() < 0.045 ? 2 + Math.floor(chance() * (settles[p] - 3)) : 0,
  );
  const words = tokens.map(() => kSlips[Math.floor(chance() * kSlips.length)]);
  const steps = Math.min(total, Math.max(2, ...settles) + 1);
  const ended = 3 + Math.floor(chance() * 3);
  let before = [];
  for (let step = 1; step <= steps; ++step) {
    const drawn = [];
    const entropy = new Uint8Array(size);
    const mask = new Uint8Array((size + 7) >> 3);
    let accepted = 0;
    for (let p = 0; p < size; ++p) {
      const inside = p < tokens.length;
      const settle = inside ? settles[p] : ended;
      const slip = inside && slips[p] > 0 && step >= slips[p] && step < settle - 1;
      const done = step >= settle || step === steps;
      const token = inside
        ? done
          ? tokens[p]
          : slip
            ? words[p]
            : kNoise[Math.floor(chance() * kNoise.length)]
        : done
          ? ''
          : ' the';
      const nats = done
        ? Math.max(0, 0.12 - 0.05 * (step - settle)) * chance()
        : slip
          ? 0.1 + 0.2 * chance()
          : Math.min(7.9, 0.35 * (settle - step) + chance() * 1.2);
      drawn.push(token);
      entropy[p] = Math.min(255, Math.round(32 * nats));
      if (done || slip) {
        mask[p >> 3] |= 1 << (p & 7);
        ++accepted;
      }
    }
    const spans = [];
    for (let p = 0; p < size; ++p) {
      const channel = p < tokens.length ? channels[p] : step >= ended || step === steps ? 'end' : 'answer';
      if (spans.at(-1)?.channel === channel) spans.at(-1).to = p + 1;
      else spans.push({ channel, from: p, to: p + 1 });
    }
    const changed = drawn.flatMap((token, p) => (token === before[p] ? [] : [[p, token]]));
    before = drawn;
    const t = 1 - (step - 1) / total;
    const diffusion = {
      t,
      temperature: 0.4 + 0.4 * t,
      accepted,
      canvas: size,
      changed,
      entropy_q8: base64(entropy),
      tokens: drawn,
      accepted_mask: base64(mask),
      spans,
    };
    yield { type: 'diffusion_frame', step, total, text: drawn.join(''), diffusion };
  }
}

function answerTo(text, wish) {
  if (wish === 'attack') return kAttacks.join('\n\n');
  if (wish === 'empty') return '';
  if (wish === 'deep') return '>'.repeat(3000) + ' x\n\n' + '- '.repeat(500) + 'y\n\n' + '**a'.repeat(2000);
  if (wish === 'long') return Array.from({ length: 12 }, () => kAnswers.diffusion).join('\n\n');
  if (wish === 'split') return 'Grüße 日本語 🙂 – ä\n\n'.repeat(3);
  if (/haiku/i.test(text)) return kAnswers.haiku;
  if (/list|table/i.test(text)) return kAnswers.list;
  return kAnswers.diffusion;
}

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Starts it; `log` gets every request and every frame that was sent. */
export function startMock({
  port = 0,
  pace = 12,
  key = '',
  models = ['example'],
  single = false,
  canvas = 256,
  log = [],
} = {}) {
  const server = createServer((request, response) => {
    serve(request, response).catch((error) => {
      console.error(error);
      response.destroy();
    });
  });
  const json = (response, status, value) => {
    response.writeHead(status, { 'Content-Type': 'application/json' });
    response.end(JSON.stringify(value));
  };

  async function serve(request, response) {
    const path = new URL(request.url, 'http://mock').pathname;
    if (path === '/') {
      response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8', 'X-Content-Type-Options': 'nosniff' });
      response.end(readFileSync(kPage));
      return;
    }
    if (key && request.headers.authorization !== `Bearer ${key}`) {
      json(response, 401, { error: { message: 'no valid key', type: 'authentication_error' } });
      return;
    }
    if (path === '/v1/models')
      return json(response, 200, { object: 'list', data: models.map((id) => ({ id, object: 'model' })) });
    if (path === '/props') {
      const diffusion = {
        canvas_tokens: canvas,
        defaults: kDefaults,
        thinking: !single,
        single_prompts: single,
        examples: ['How does a text diffusion model write?', 'Write a haiku about noise.', 'Show a table of formats.'],
      };
      return json(response, 200, { model_path: models[0], default_generation_settings: { n_ctx: 8192 }, diffusion });
    }
    if (path === '/v1/chat/completions' && request.method === 'POST') return chat(request, response);
    json(response, 404, { error: { message: `no ${path} here` } });
  }

  async function chat(request, response) {
    let text = '';
    for await (const part of request) text += part;
    const body = JSON.parse(text);
    const entry = { body, frames: [], closed: false };
    log.push(entry);
    const asked = body.messages.at(-1).content;
    const wish = kWishes.find((word) => asked.startsWith(word));
    if (wish === 'error')
      return json(response, 400, {
        error: { message: 'steps: 9999 is too many (1 to 4096)', type: 'invalid_request_error' },
      });
    if (wish === 'busy') return json(response, 429, { error: { message: '' } });
    response.on('close', () => (entry.closed = true));
    await stream(response, body, asked, wish, entry);
  }

  async function stream(response, body, asked, wish, entry) {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    const started = performance.now();
    const base = { id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: body.model };
    const write = async (text) => {
      if (wish !== 'split') return response.write(text);
      // As a network may do it: cut anywhere, with the other ends of lines, comments in between.
      const bytes = Buffer.from(': ping\r\n' + text.replaceAll('\n', '\r\n'));
      const cuts = [0, 1, Math.floor(bytes.length / 2), bytes.length - 3, bytes.length - 1, bytes.length];
      for (let i = 1; i < cuts.length; ++i) {
        response.write(bytes.subarray(cuts[i - 1], cuts[i]));
        await wait(2);
      }
    };
    const send = async (delta, more = {}, finish = null) => {
      const chunk = { ...base, choices: [{ index: 0, delta, finish_reason: finish }], ...more };
      if (!entry.closed) await write(`data: ${JSON.stringify(chunk)}\n\n`);
    };
    await send({ role: 'assistant', content: '' });
    response.write(': ping\n\n');
    const seed = body.seed ?? log.length * 7919;
    const chance = random(seed + 12345);
    const total = body.diffusion?.steps ?? kDefaults.steps;
    const size = wish === 'long' ? 512 : canvas;
    const thought = body.chat_template_kwargs?.enable_thinking
      ? wish === 'attack'
        ? kAttacks.join('\n\n')
        : kThought
      : '';
    const parts = [
      ...tokensOf(thought).map((token) => [token, 'thought']),
      ...tokensOf(answerTo(asked, wish)).map((token) => [token, 'answer']),
    ];
    let blocks = 0;
    let steps = 0;
    let ttft = 0;
    for (let at = 0; at === 0 || at < parts.length; at += size) {
      const part = parts.slice(at, at + size);
      const drafts = canvasSteps(
        part.map(([token]) => token),
        part.map(([, channel]) => channel),
        size,
        total,
        chance,
      );
      for (const frame of drafts) {
        ++steps;
        if (body.diffusion?.frames) {
          if (wish === 'textonly') delete frame.diffusion;
          await send({}, { ...frame, block: blocks });
          entry.frames.push({ block: blocks, ...frame });
        }
        await wait(wish === 'slow' ? 150 : pace);
        if (entry.closed) return;
      }
      ++blocks;
      ttft ||= performance.now() - started;
      for (const [channel, member] of [
        ['thought', 'reasoning_content'],
        ['answer', 'content'],
      ]) {
        const text = part
          .filter(([, of]) => of === channel)
          .map(([token]) => token)
          .join('');
        if (text) await send({ [member]: text });
      }
      if (wish === 'drop') {
        await wait(60); // what was written is on its way
        return response.destroy();
      }
      if (wish === 'broken') {
        response.write('data: {"error":{"message":"logits became not a number"}}\n\n');
        return response.end();
      }
    }
    if (wish === 'tool') {
      const call = { name: '<img src=x onerror=alert(1)>weather', arguments: '{"city":"<script>alert(1)</script>"}' };
      await send({
        tool_calls: [
          {
            index: 0,
            id: 'call_1',
            type: 'function',
            function: { name: call.name, arguments: call.arguments.slice(0, 9) },
          },
        ],
      });
      await send({ tool_calls: [{ index: 0, function: { arguments: call.arguments.slice(9) } }] });
    }
    await send({}, {}, wish === 'tool' ? 'tool_calls' : 'stop');
    const ms = performance.now() - started;
    const answered = parts.filter(([, channel]) => channel === 'answer').length;
    const timings = {
      prompt_ms: 38.2,
      ttft_ms: ttft,
      predicted_ms: ms,
      diffusion_blocks: blocks,
      diffusion_steps: steps,
      passes_per_block: steps / blocks,
      accepted_per_pass: parts.length / steps,
      canvas_tokens: blocks * size,
      answer_tokens: answered,
      effective_tok_s: (1000 * answered) / ms,
      turn_closed: true,
      converged: true,
      seed,
    };
    const usage = { prompt_tokens: 24, completion_tokens: answered, total_tokens: 24 + answered };
    await write(`data: ${JSON.stringify({ ...base, choices: [], usage, timings })}\n\ndata: [DONE]\n\n`);
    response.end();
  }

  return new Promise((resolve) => {
    server.listen(port, '127.0.0.1', () => {
      const close = () => {
        server.closeAllConnections();
        return new Promise((done) => server.close(done));
      };
      resolve({ url: `http://127.0.0.1:${server.address().port}/`, log, close });
    });
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const option = (name, otherwise) => {
    const at = process.argv.indexOf(name);
    return at < 0 ? otherwise : Number(process.argv[at + 1]);
  };
  const { url } = await startMock({ port: option('--port', 8765), pace: option('--pace', 120) });
  console.log(`the page with canned answers: ${url}`);
}
