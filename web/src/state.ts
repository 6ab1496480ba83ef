// The state of the page and everything that changes it: chats, the answer that forms, facts of the server, notices.
// Views read the signals; a chat is changed in place and `version` says so.
import { batch, computed, signal } from '@preact/signals';
import { type AnswerEvent, type AskBody, type Facts, Problem, ask, getFacts } from './api';
import { type View, Recorder, allCorrections, printable, stepsOf, viewAt } from './frames';
import * as settings from './settings';
import { Storage } from './storage';
import * as tree from './tree';
import type { Chat, Message } from './tree';

export const chats = signal<Chat[]>([]);
export const current = signal<Chat>(tree.freshChat(settings.system.value));
export const version = signal(0);
export const facts = signal<Facts | null>(null);
export const problem = signal<Problem | null>(null); // why the server's facts are not there
export const notice = signal<{ text: string; undo?: () => void } | null>(null);
export const spoken = signal(''); // committed text, for screen readers
export const status = signal(''); // what happens, for screen readers

/** The answer that forms; the server writes one at a time. */
export interface Running {
  chat: Chat;
  message: Message;
  abort: AbortController;
  started: number;
}
export const running = signal<Running | null>(null);
export const latest = signal(''); // id of the answer that was asked for last
export const draft = signal<View | null>(null); // the canvas of that answer as it is drawn
export const holdsText = signal(false); // an answer that came faster than eyes: its drafts are drawn before its text

export const shownPath = computed(() => {
  version.value;
  return tree.path(current.value);
});

let storage: Storage;
const others = 'BroadcastChannel' in window ? new BroadcastChannel('dgemma') : null;

function changed(chat: Chat): void {
  ++version.value;
  if (chat.messages.size === 0) return;
  if (!chats.value.includes(chat)) chats.value = [chat, ...chats.value];
  chats.value = [...chats.value].sort((a, b) => b.updated - a.updated);
}

async function save(chat: Chat): Promise<void> {
  changed(chat);
  if (chat.messages.size === 0) return;
  try {
    await storage.putChat(chat);
    others?.postMessage('changed');
  } catch {
    notice.value = { text: 'The browser could not keep this chat: its storage is full or locked.' };
  }
}

// ---- start and facts ----

export async function start(): Promise<void> {
  storage = await Storage.open();
  await load();
  if (!storage.lasting)
    notice.value = { text: 'This browser window keeps no history: chats are gone when it is closed.' };
  others?.addEventListener('message', () => {
    if (!running.value) void load();
  });
  void refreshFacts();
}

async function load(): Promise<void> {
  const stored = await storage.chats();
  for (const chat of stored) {
    // An answer that was forming when the page was closed.
    for (const message of chat.messages.values()) {
      if (message.role === 'assistant' && message.finish === '') message.finish = 'stopped';
    }
  }
  batch(() => {
    chats.value = stored.sort((a, b) => b.updated - a.updated);
    current.value = stored.find((chat) => chat.id === current.value.id) ?? current.value;
    ++version.value;
  });
}

let again: ReturnType<typeof setTimeout> | undefined;

/** Reads the server's facts; while it is loading or away, tries again by itself. */
export async function refreshFacts(wait_ms = 1500): Promise<void> {
  clearTimeout(again);
  try {
    const read = await getFacts(settings.key.value);
    batch(() => {
      facts.value = read;
      problem.value = null;
      if (!read.models.includes(settings.model.value)) settings.model.value = read.models[0] ?? '';
    });
  } catch (error) {
    problem.value = error instanceof Problem ? error : new Problem('other', 'The server’s facts cannot be read.');
    if (problem.value.kind === 'key') return;
    again = setTimeout(() => void refreshFacts(Math.min(wait_ms * 2, 15_000)), wait_ms);
  }
}

// ---- chats ----

export function newChat(): void {
  current.value = tree.freshChat(settings.system.value);
}

export function openChat(chat: Chat): void {
  current.value = chat;
}

export function renameChat(chat: Chat, title: string): void {
  const clean = title.trim().replace(/\s+/g, ' ').slice(0, 200);
  if (clean === '') return;
  chat.title = clean;
  chat.renamed = true;
  void save(chat);
}

export async function deleteChat(chat: Chat): Promise<void> {
  if (running.value?.chat === chat) stop();
  const recordings = new Map();
  for (const message of chat.messages.values()) {
    const recording = message.steps > 0 ? await storage.recording(message.id) : null;
    if (recording) recordings.set(message.id, recording);
  }
  await storage.removeChat(chat);
  others?.postMessage('changed');
  batch(() => {
    chats.value = chats.value.filter((other) => other !== chat);
    if (current.value === chat) newChat();
    const undo = async () => {
      for (const [id, recording] of recordings) await storage.putRecording(id, recording);
      await save(chat);
      openChat(chat);
    };
    notice.value = { text: `Deleted “${chat.title}”.`, undo: () => void undo() };
  });
}

export function setSystem(text: string): void {
  settings.system.value = text;
  current.value.system = text;
  void save(current.value);
}

export async function exportChats(which: Chat[]): Promise<string> {
  const recordings = new Map();
  for (const chat of which) {
    for (const message of chat.messages.values()) {
      const recording = message.steps > 0 ? await storage.recording(message.id) : null;
      if (recording) recordings.set(message.id, recording);
    }
  }
  return JSON.stringify(tree.toFile(which, recordings));
}

export async function importChats(source: string): Promise<void> {
  try {
    const imported = tree.fromFile(source);
    for (const [id, recording] of imported.recordings) await storage.putRecording(id, recording);
    for (const chat of imported.chats) await save(chat);
    const count = imported.chats.length;
    notice.value = { text: count === 1 ? 'One chat was read.' : `${count} chats were read.` };
  } catch (error) {
    notice.value = { text: error instanceof Error ? error.message : 'The file cannot be read.' };
  }
}

export const recordingOf = (message: Message) => storage.recording(message.id);

export function turnBranch(message: Message, by: number): void {
  if (tree.turn(current.value, message, by)) void save(current.value);
}

// ---- asking ----

/** Sends a message below another one ('' for the first); where there is a message already, this is a branch. */
export function send(text: string, parent = shownPath.value.at(-1)?.id ?? ''): void {
  if (running.value || text.trim() === '') return;
  const chat = current.value;
  const message = tree.freshMessage(parent, 'user', text);
  tree.add(chat, message);
  void answer(chat, message.id);
}

/** Another answer beside this one. */
export function regenerate(message: Message): void {
  if (!running.value) void answer(current.value, message.parent);
}

export function stop(): void {
  running.value?.abort.abort();
}

function bodyFor(chat: Chat, leaf: string): AskBody {
  const shown = tree.path(chat);
  const context = shown.slice(0, shown.findIndex((message) => message.id === leaf) + 1);
  const messages: AskBody['messages'] = facts.value?.singlePrompts
    ? context.slice(-1).map((message) => ({ role: 'user', content: message.text }))
    : context
        .filter((message) => message.role === 'user' || message.text !== '')
        .map((message) => ({ role: message.role, content: message.text }));
  if (chat.system.trim() !== '' && !facts.value?.singlePrompts)
    messages.unshift({ role: 'system', content: chat.system });
  const body: AskBody = {
    model: settings.model.value,
    messages,
    stream: true,
    stream_options: { include_usage: true },
    chat_template_kwargs: { enable_thinking: settings.thinking.value && facts.value?.canThink !== false },
    diffusion: {
      frames: true,
      max_fps: settings.everyStep.value ? 0 : 12,
      fields: ['text', 'entropy', 'changed', 'tokens'],
      ...settings.knobsToSend(facts.value),
    },
  };
  const seed = settings.wholeNumber(settings.seed.value, 0);
  const most = settings.wholeNumber(settings.maxTokens.value, 1);
  if (seed !== undefined) body.seed = seed;
  if (most !== undefined) body.max_tokens = most;
  return body;
}

async function answer(chat: Chat, parent: string): Promise<void> {
  const message = tree.freshMessage(parent, 'assistant', '');
  message.model = settings.model.value;
  tree.add(chat, message);
  const body = bodyFor(chat, parent);
  const run: Running = { chat, message, abort: new AbortController(), started: performance.now() };
  const recorder = new Recorder();
  const drawing = new Drawing(recorder);
  batch(() => {
    running.value = run;
    latest.value = message.id;
    draft.value = null;
    holdsText.value = !settings.still.value;
    spoken.value = '';
    status.value = 'An answer is forming.';
  });
  void save(chat);
  try {
    for await (const event of ask(body, settings.key.value, run.abort.signal)) take(event, message, drawing);
    if (message.finish === '') message.finish = 'stop';
    await drawing.finish(run);
  } catch (error) {
    fail(error, message, run.abort.signal);
  }
  await conclude(run, recorder);
}

function take(event: AnswerEvent, message: Message, drawing: Drawing): void {
  switch (event.kind) {
    case 'frame':
      drawing.frame(event.chunk);
      return;
    case 'text':
      message.text += printable(event.text);
      spoken.value = event.text;
      break;
    case 'thought':
      message.thought += printable(event.text);
      break;
    case 'call':
      message.calls[event.index] ??= { name: '', arguments: '' };
      message.calls[event.index]!.name += printable(event.name);
      message.calls[event.index]!.arguments += printable(event.arguments);
      break;
    case 'finish':
      message.finish = event.reason;
      return;
    case 'figures':
      message.figures = { ...message.figures, ...event.figures };
      return;
  }
  drawing.committed();
}

function fail(error: unknown, message: Message, signal: AbortSignal): void {
  if (signal.aborted) {
    message.finish = 'stopped';
    return;
  }
  message.finish = 'error';
  message.error = error instanceof Problem ? error.message : 'Something went wrong while the answer was read.';
  if (error instanceof Problem && (error.kind === 'offline' || error.kind === 'key')) {
    problem.value = error;
    if (error.kind !== 'key') void refreshFacts();
  }
}

async function conclude(run: Running, recorder: Recorder): Promise<void> {
  const { chat, message } = run;
  message.calls = message.calls.filter((call) => call !== undefined);
  const steps = stepsOf(recorder.recording).length;
  if (steps > 0) {
    message.steps = steps;
    message.corrections = allCorrections(recorder.recording).length;
    await storage.putRecording(message.id, recorder.recording).catch(() => undefined);
  }
  chat.updated = Date.now();
  batch(() => {
    running.value = null;
    draft.value = null;
    holdsText.value = false;
    const how = { error: message.error, stopped: 'Stopped.', length: 'The answer reached its length limit.' }[
      message.finish
    ];
    status.value = how ?? 'The answer is complete.';
  });
  await save(chat);
}

const kHoldMs = 300; // an answer that takes longer shows its text when it comes
const kFrameMs = 66; // between two drawn drafts
const kAfterglow = 12; // drafts shown afterwards when the answer came faster than anyone can see

/** Draws drafts at a pace for eyes; all of them are in the recording, drawn or not. */
class Drawing {
  private last = -Infinity;
  private waiting: ReturnType<typeof setTimeout> | undefined;
  private readonly holding: ReturnType<typeof setTimeout>;

  constructor(private readonly recorder: Recorder) {
    this.holding = setTimeout(() => (holdsText.value = false), kHoldMs);
  }

  frame(chunk: Record<string, unknown>): void {
    if (!this.recorder.add(chunk) || settings.still.value) return;
    clearTimeout(this.waiting);
    const wait = this.last + kFrameMs - performance.now();
    if (wait <= 0) this.draw(this.recorder.latest());
    else this.waiting = setTimeout(() => this.draw(this.recorder.latest()), wait);
  }

  /** Text was committed: the canvas that it came from is done. */
  committed(): void {
    ++version.value;
  }

  /** Waits until the last draft was seen; replays in short what went by too quickly. */
  async finish(run: Running): Promise<void> {
    clearTimeout(this.waiting);
    clearTimeout(this.holding);
    const steps = stepsOf(this.recorder.recording);
    if (!holdsText.value || steps.length < 2 || document.hidden) return;
    const shown = Math.min(kAfterglow, steps.length);
    for (let i = 0; i < shown && !run.abort.signal.aborted; ++i) {
      const at = steps[Math.round((i * (steps.length - 1)) / Math.max(1, shown - 1))]!;
      this.draw(viewAt(this.recorder.recording, at.block, at.index));
      await new Promise((resolve) => setTimeout(resolve, kFrameMs));
    }
  }

  private draw(view: View): void {
    this.last = performance.now();
    draft.value = view;
  }
}
