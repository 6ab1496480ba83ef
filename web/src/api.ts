// The server as the page sees it: facts, models and one streamed answer. Every failure becomes a sentence for people.
import { type Figures, parseFigures } from './tree';

export interface Knobs {
  steps: number;
  entropy_bound: number;
  t_max: number;
  t_min: number;
  stability: number;
  confidence: number;
}

export const kKnobNames = ['steps', 'entropy_bound', 't_max', 't_min', 'stability', 'confidence'] as const;

export interface Facts {
  models: string[];
  contextTokens: number;
  canvasTokens: number;
  defaults: Partial<Knobs>;
  presets: Record<string, Partial<Knobs>>;
  canThink: boolean;
  singlePrompts: boolean;
  examples: string[];
}

export type ProblemKind = 'offline' | 'loading' | 'key' | 'busy' | 'other';

export class Problem extends Error {
  constructor(
    readonly kind: ProblemKind,
    message: string,
  ) {
    super(message);
  }
}

export interface AskBody {
  model: string;
  messages: { role: string; content: string }[];
  stream: true;
  stream_options: { include_usage: true };
  chat_template_kwargs: { enable_thinking: boolean };
  diffusion: Record<string, unknown>;
  seed?: number;
  max_tokens?: number;
}

export type AnswerEvent =
  | { kind: 'frame'; chunk: Record<string, unknown> }
  | { kind: 'text'; text: string }
  | { kind: 'thought'; text: string }
  | { kind: 'call'; index: number; name: string; arguments: string }
  | { kind: 'finish'; reason: string }
  | { kind: 'figures'; figures: Figures };

type Loose = Record<string, unknown>;

function object(value: unknown): Loose {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Loose) : {};
}

function strings(value: unknown, most: number): string[] {
  if (!Array.isArray(value)) return [];
  return value.filter((one): one is string => typeof one === 'string').slice(0, most);
}

function knobs(value: unknown): Partial<Knobs> {
  const found: Partial<Knobs> = {};
  for (const name of kKnobNames) {
    const knob = object(value)[name];
    if (typeof knob === 'number' && Number.isFinite(knob)) found[name] = knob;
  }
  return found;
}

function headers(key: string): Record<string, string> {
  const clean = key.replace(/[^\x21-\x7e]/g, '');
  return clean === '' ? {} : { Authorization: `Bearer ${clean}` };
}

async function reach(where: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(where, init);
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw new Problem('offline', 'The server cannot be reached. Is it still running?');
  }
  if (response.ok) return response;
  const said = messageOf(await response.json().catch(() => null));
  switch (response.status) {
    case 401:
      throw new Problem('key', 'The server wants a key, or another one. It goes into the settings.');
    case 429:
      throw new Problem('busy', said || 'The server is busy with other requests. Try again in a moment.');
    case 503:
      throw new Problem('loading', said || 'The server is not ready yet.');
    case 413:
      throw new Problem('other', said || 'This conversation is too long for the server.');
    default:
      throw new Problem('other', said || `The server answered with the status ${response.status}.`);
  }
}

function messageOf(value: unknown): string {
  const error = object(value).error;
  const message = typeof error === 'string' ? error : object(error).message;
  return typeof message === 'string' ? message.slice(0, 1000) : '';
}

export async function getFacts(key: string): Promise<Facts> {
  const [models, props] = await Promise.all([
    reach('/v1/models', { headers: headers(key) }).then((response) => response.json()),
    reach('/props', { headers: headers(key) })
      .then((response) => response.json())
      .catch((problem) => {
        // Servers may hide /props; the page then knows less.
        if (problem instanceof Problem && problem.kind === 'other') return {};
        throw problem;
      }),
  ]);
  const diffusion = object(object(props).diffusion);
  const list = object(models).data;
  const context = object(object(props).default_generation_settings).n_ctx;
  const presets: Record<string, Partial<Knobs>> = {};
  for (const name of ['fast', 'balanced', 'best']) {
    if (name in object(diffusion.presets)) presets[name] = knobs(object(diffusion.presets)[name]);
  }
  return {
    models: strings(Array.isArray(list) ? list.map((model) => object(model).id) : [], 100),
    contextTokens: typeof context === 'number' ? context : 0,
    canvasTokens: typeof diffusion.canvas_tokens === 'number' ? diffusion.canvas_tokens : 0,
    defaults: knobs(diffusion.defaults),
    presets,
    canThink: diffusion.thinking !== false,
    singlePrompts: diffusion.single_prompts === true,
    examples: strings(diffusion.examples, 6),
  };
}

/** Asks for an answer and yields what comes, in order. Ends normally only when the server said that it is complete. */
export async function* ask(body: AskBody, key: string, signal: AbortSignal): AsyncGenerator<AnswerEvent> {
  const response = await reach('/v1/chat/completions', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...headers(key) },
    body: JSON.stringify(body),
    signal,
  });
  if (!response.body) throw new Problem('other', 'The server sent an answer without a body.');
  for await (const data of serverEvents(response.body, signal)) {
    if (data === '[DONE]') return;
    let chunk: Loose;
    try {
      chunk = object(JSON.parse(data));
    } catch {
      continue;
    }
    if (chunk.error !== undefined) throw new Problem('other', messageOf(chunk) || 'The server reported an error.');
    yield* eventsOf(chunk);
  }
  throw new Problem('offline', 'The connection ended before the answer was complete.');
}

function* eventsOf(chunk: Loose): Generator<AnswerEvent> {
  if (chunk.type === 'diffusion_frame') {
    yield { kind: 'frame', chunk };
    return;
  }
  const choice = object(Array.isArray(chunk.choices) ? chunk.choices[0] : undefined);
  const delta = object(choice.delta);
  if (typeof delta.reasoning_content === 'string' && delta.reasoning_content !== '') {
    yield { kind: 'thought', text: delta.reasoning_content };
  }
  if (typeof delta.content === 'string' && delta.content !== '') yield { kind: 'text', text: delta.content };
  for (const value of Array.isArray(delta.tool_calls) ? delta.tool_calls.slice(0, 64) : []) {
    const call = object(value);
    const named = object(call.function);
    yield {
      kind: 'call',
      index: typeof call.index === 'number' ? call.index : 0,
      name: typeof named.name === 'string' ? named.name : '',
      arguments: typeof named.arguments === 'string' ? named.arguments : '',
    };
  }
  if (typeof choice.finish_reason === 'string') yield { kind: 'finish', reason: choice.finish_reason };
  if (chunk.usage || chunk.timings) {
    yield { kind: 'figures', figures: { ...parseFigures(chunk.usage), ...parseFigures(chunk.timings) } };
  }
}

const kLongestEvent = 32 * 1024 * 1024;

/** The data of server-sent events; comments and other fields are dropped. */
export async function* serverEvents(body: ReadableStream<Uint8Array>, signal: AbortSignal): AsyncGenerator<string> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  let data: string[] = [];
  try {
    for (;;) {
      let part: ReadableStreamReadResult<Uint8Array>;
      try {
        part = await reader.read();
      } catch (error) {
        if (signal.aborted) throw error;
        throw new Problem('offline', 'The connection broke while the answer was forming.');
      }
      rest += part.done ? decoder.decode() + '\n\n' : decoder.decode(part.value, { stream: true });
      const lines = rest.split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop()!;
      if (rest.length > kLongestEvent) throw new Problem('other', 'The server sent a line that is too long.');
      for (const line of lines) {
        if (line.startsWith('data:')) data.push(line.slice(line[5] === ' ' ? 6 : 5));
        if (line === '' && data.length > 0) {
          yield data.join('\n');
          data = [];
        }
      }
      if (part.done) return;
    }
  } finally {
    reader.cancel().catch(() => undefined);
  }
}
