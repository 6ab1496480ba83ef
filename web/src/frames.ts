// Frames of a forming answer: read from the wire (FRAMES.md), kept as a recording, rebuilt step by step for the views.
// Everything from the wire is checked here; what leaves is bounded in size and free of control characters.

export type Channel = 'answer' | 'thought' | 'tool' | 'end';

export interface Span {
  channel: Channel;
  from: number;
  to: number;
}

/** One step as it is stored: the tokens as differences from the step before it in the recording. */
export interface Step {
  step: number;
  t: number;
  temperature: number;
  accepted: number;
  changes: [number, string][];
  entropy: string; // base64, a byte a position: 32 times nats
  mask: string; // base64, a bit a position, lowest first
  spans: Span[];
}

export interface Block {
  canvas: number;
  total: number;
  steps: Step[];
}

export interface Recording {
  version: 1;
  blocks: Block[];
  shortened: boolean; // true: steps were left out because there were too many
}

/** A step as the views draw it; index spaces are positions of the canvas. */
export interface View {
  block: number;
  blocks: number;
  step: number;
  total: number;
  canvas: number;
  t: number;
  temperature: number;
  accepted: number;
  tokens: string[];
  entropy: Uint8Array;
  mask: Uint8Array; // 0 or 1 a position
  channels: Channel[];
  corrections: Map<number, Correction[]>;
}

/** A position that was accepted with one token and later with another. */
export interface Correction {
  block: number;
  position: number;
  before: string;
  after: string;
  beforeStep: number;
  afterStep: number;
}

const kMostPositions = 8192;
const kMostSteps = 3000; // of a recording
const kLongestToken = 256;
const kChannels: readonly Channel[] = ['answer', 'thought', 'tool', 'end'];

// C0 and C1 controls but tab and line feed, and marks that change the direction of the text around them.
const kUnprintable = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

export function printable(text: string): string {
  return text.replace(kUnprintable, (c) => (c === '\r' ? '' : '\ufffd'));
}

export function bytesOf(base64: unknown, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  if (typeof base64 !== 'string') return bytes;
  try {
    const raw = atob(base64);
    for (let i = 0; i < Math.min(size, raw.length); ++i) bytes[i] = raw.charCodeAt(i);
  } catch {
    // Not base64: as if the member were missing.
  }
  return bytes;
}

export function base64Of(bytes: Uint8Array): string {
  let raw = '';
  for (const byte of bytes) raw += String.fromCharCode(byte);
  return btoa(raw);
}

function number(value: unknown, low: number, high: number, otherwise: number): number {
  return typeof value === 'number' && value >= low && value <= high ? value : otherwise;
}

function spansOf(value: unknown, canvas: number): Span[] {
  const spans: Span[] = [];
  if (!Array.isArray(value)) return [{ channel: 'answer', from: 0, to: canvas }];
  for (const span of value.slice(0, canvas)) {
    if (typeof span !== 'object' || span === null) continue;
    const from = Math.floor(number(span.from, 0, canvas, 0));
    const to = Math.floor(number(span.to, from, canvas, from));
    const channel = kChannels.includes(span.channel) ? (span.channel as Channel) : 'answer';
    if (to > from) spans.push({ channel, from, to });
  }
  return spans;
}

function channelsOf(spans: Span[], canvas: number): Channel[] {
  const channels = new Array<Channel>(canvas).fill('answer');
  for (const span of spans) channels.fill(span.channel, span.from, span.to);
  return channels;
}

function maskOf(bits: Uint8Array, canvas: number): Uint8Array {
  const mask = new Uint8Array(canvas);
  for (let p = 0; p < canvas; ++p) mask[p] = (bits[p >> 3]! >> (p & 7)) & 1;
  return mask;
}

/** Shade of an entropy byte, 0 (certain) to 4; bounds at 0.01, 0.1, 0.5 and 1.5 nats, those of the terminal. */
export function heatLevel(byte: number): number {
  const nats = byte / 32;
  return nats <= 0.01 ? 0 : nats <= 0.1 ? 1 : nats <= 0.5 ? 2 : nats <= 1.5 ? 3 : 4;
}

/** A token by itself, in one line: its blanks at the ends are left out unless there is nothing else. */
export function shown(token: string): string {
  if (token === '') return '∅'; // a control token
  if (token.trim() !== '') return token.trim();
  return token.replaceAll(' ', '␣').replaceAll('\n', '⏎').replaceAll('\t', '⇥');
}

/** Takes frames from the wire in order, one answer each, and keeps them. */
export class Recorder {
  readonly recording: Recording = { version: 1, blocks: [], shortened: false };
  private steps = 0;
  private block = -1;
  private tokens: string[] = [];

  /** Keeps a frame; false when it is none that can be drawn. */
  add(chunk: Record<string, unknown>): boolean {
    const details = (typeof chunk.diffusion === 'object' && chunk.diffusion !== null ? chunk.diffusion : {}) as Record<
      string,
      unknown
    >;
    const tokens = this.tokensOf(chunk, details);
    const canvas = tokens.length;
    if (canvas === 0) return false;
    const blockNumber = Math.floor(number(chunk.block, 0, 1e6, 0));
    if (blockNumber !== this.block || canvas !== this.tokens.length) {
      this.block = blockNumber;
      this.tokens = new Array<string>(canvas).fill('');
      const total = Math.floor(number(chunk.total, 1, 1e6, 1));
      this.recording.blocks.push({ canvas, total, steps: [] });
    }
    const block = this.recording.blocks.at(-1)!;
    const changes: [number, string][] = [];
    tokens.forEach((token, position) => {
      if (token !== this.tokens[position]) changes.push([position, token]);
    });
    this.tokens = tokens;
    const bits = typeof details.accepted_mask === 'string' ? bytesOf(details.accepted_mask, (canvas + 7) >> 3) : null;
    const mask = bits ?? new Uint8Array((canvas + 7) >> 3).fill(255);
    const step: Step = {
      step: Math.floor(number(chunk.step, 0, 1e6, block.steps.length + 1)),
      t: number(details.t, 0, 1, 0),
      temperature: number(details.temperature, 0, 1e3, 0),
      accepted: Math.floor(number(details.accepted, 0, canvas, canvas)),
      changes,
      entropy: base64Of(bytesOf(details.entropy_q8, canvas)),
      mask: base64Of(mask),
      spans: spansOf(details.spans, canvas),
    };
    this.keep(block, step);
    return true;
  }

  /** The frame that was kept last. */
  latest(): View {
    const block = this.recording.blocks.length - 1;
    return viewAt(this.recording, block, this.recording.blocks[block]!.steps.length - 1);
  }

  private keep(block: Block, step: Step): void {
    if (this.steps >= kMostSteps && block.steps.length > 0) {
      // The newest step replaces the one before it and takes over its changes.
      const last = block.steps.pop()!;
      const merged = new Map(last.changes);
      for (const [position, token] of step.changes) merged.set(position, token);
      step.changes = [...merged];
      this.recording.shortened = true;
      --this.steps;
    }
    block.steps.push(step);
    ++this.steps;
  }

  private tokensOf(chunk: Record<string, unknown>, details: Record<string, unknown>): string[] {
    if (Array.isArray(details.tokens)) {
      return details.tokens
        .slice(0, kMostPositions)
        .map((token) => (typeof token === 'string' ? printable(token.slice(0, kLongestToken)) : ''));
    }
    // A server without tokens: its draft, word by word.
    if (typeof chunk.text !== 'string') return [];
    return (printable(chunk.text.slice(0, 65536)).match(/\s*\S+|\s+$/g) ?? []).slice(0, kMostPositions);
  }
}

/** Steps of all blocks in order. */
export function stepsOf(recording: Recording): { block: number; index: number }[] {
  return recording.blocks.flatMap((block, b) => block.steps.map((_, index) => ({ block: b, index })));
}

/** A step of a recording as the views draw it. */
export function viewAt(recording: Recording, block: number, index: number): View {
  const { canvas, total, steps } = recording.blocks[block]!;
  const tokens = new Array<string>(canvas).fill('');
  for (const step of steps.slice(0, index + 1)) {
    for (const [position, token] of step.changes) tokens[position] = token;
  }
  const step = steps[index]!;
  const corrections = new Map<number, Correction[]>();
  for (const correction of correctionsIn(recording, block, index)) {
    const list = corrections.get(correction.position);
    if (list) list.push(correction);
    else corrections.set(correction.position, [correction]);
  }
  return {
    block,
    blocks: recording.blocks.length,
    step: step.step,
    total,
    canvas,
    t: step.t,
    temperature: step.temperature,
    accepted: step.accepted,
    tokens,
    entropy: bytesOf(step.entropy, canvas),
    mask: maskOf(bytesOf(step.mask, (canvas + 7) >> 3), canvas),
    channels: channelsOf(step.spans, canvas),
    corrections,
  };
}

/** Corrections of a block up to a step, in the order in which they happened; none behind the end of the answer. */
export function correctionsIn(recording: Recording, block: number, last: number): Correction[] {
  const { canvas, steps } = recording.blocks[block]!;
  const found: Correction[] = [];
  const tokens = new Array<string>(canvas).fill('');
  const before = new Array<string | undefined>(canvas).fill(undefined);
  const when = new Int32Array(canvas);
  for (const step of steps.slice(0, last + 1)) {
    for (const [position, token] of step.changes) tokens[position] = token;
    const mask = maskOf(bytesOf(step.mask, (canvas + 7) >> 3), canvas);
    for (let position = 0; position < canvas; ++position) {
      if (mask[position] === 0) continue;
      const token = tokens[position]!;
      const old = before[position];
      if (old !== undefined && old !== token) {
        const correction = { block, position, before: old, after: token };
        found.push({ ...correction, beforeStep: when[position]!, afterStep: step.step });
      }
      if (old !== token) {
        before[position] = token;
        when[position] = step.step;
      }
    }
  }
  const channels = channelsOf(steps[last]?.spans ?? [], canvas);
  return found.filter((correction) => channels[correction.position] !== 'end');
}

export function allCorrections(recording: Recording): Correction[] {
  return recording.blocks.flatMap((block, b) => correctionsIn(recording, b, block.steps.length - 1));
}

/** A recording from a file or a shared page, checked; null when it is none. */
export function parseRecording(value: unknown): Recording | null {
  const outer = value as { version?: unknown; blocks?: unknown; shortened?: unknown } | null;
  if (typeof outer !== 'object' || outer === null || outer.version !== 1 || !Array.isArray(outer.blocks)) return null;
  const recording: Recording = { version: 1, blocks: [], shortened: outer.shortened === true };
  let steps = 0;
  for (const block of outer.blocks) {
    if (typeof block !== 'object' || block === null || !Array.isArray(block.steps)) return null;
    const canvas = Math.floor(number(block.canvas, 1, kMostPositions, 0));
    if (canvas === 0 || (steps += block.steps.length) > kMostSteps * 2) return null;
    const total = Math.floor(number(block.total, 1, 1e6, 1));
    recording.blocks.push({ canvas, total, steps: block.steps.map((step: unknown) => parseStep(step, canvas)) });
  }
  recording.blocks = recording.blocks.filter((block) => block.steps.length > 0);
  return recording.blocks.length > 0 ? recording : null;
}

function parseStep(value: unknown, canvas: number): Step {
  const step = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>;
  const changes: [number, string][] = [];
  for (const change of Array.isArray(step.changes) ? step.changes.slice(0, canvas) : []) {
    if (!Array.isArray(change) || typeof change[1] !== 'string') continue;
    const position = number(change[0], 0, canvas - 1, -1);
    if (Number.isInteger(position) && position >= 0)
      changes.push([position, printable(change[1].slice(0, kLongestToken))]);
  }
  return {
    step: Math.floor(number(step.step, 0, 1e6, 0)),
    t: number(step.t, 0, 1, 0),
    temperature: number(step.temperature, 0, 1e3, 0),
    accepted: Math.floor(number(step.accepted, 0, canvas, 0)),
    changes,
    entropy: base64Of(bytesOf(step.entropy, canvas)),
    mask: base64Of(bytesOf(step.mask, (canvas + 7) >> 3)),
    spans: spansOf(step.spans, canvas),
  };
}
