// A conversation as a tree: editing a message or asking again adds a branch beside it. Pure functions on it, and its
// form as JSON, which is checked when it comes back.
import { type Recording, parseRecording, printable } from './frames';

export interface ToolCall {
  name: string;
  arguments: string;
}

/** What the server said about an answer: `usage` and `timings` of its last chunks, numbers and booleans only. */
export type Figures = Record<string, number | boolean>;

export interface Message {
  id: string;
  parent: string; // '' for the first message
  role: 'user' | 'assistant';
  text: string;
  thought: string;
  calls: ToolCall[];
  created: number; // ms since 1970
  model: string;
  finish: string; // '' while it forms; 'stop', 'length', 'stopped', 'error', ...
  error: string;
  figures: Figures;
  steps: number; // of its recording; 0: none
  corrections: number;
}

export interface Chat {
  id: string;
  title: string;
  renamed: boolean;
  created: number;
  updated: number;
  system: string;
  messages: Map<string, Message>; // in the order of creation
  chosen: Map<string, string>; // parent's id -> the child that is shown
}

export function freshId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

export function freshChat(system: string): Chat {
  const now = Date.now();
  const chat: Chat = {
    id: freshId(),
    title: 'New chat',
    renamed: false,
    created: now,
    updated: now,
    system,
    messages: new Map(),
    chosen: new Map(),
  };
  return chat;
}

export function freshMessage(parent: string, role: Message['role'], text: string): Message {
  return {
    id: freshId(),
    parent,
    role,
    text,
    thought: '',
    calls: [],
    created: Date.now(),
    model: '',
    finish: '',
    error: '',
    figures: {},
    steps: 0,
    corrections: 0,
  };
}

/** Messages beside this one, itself included, oldest first. */
export function branches(chat: Chat, message: Message): Message[] {
  return [...chat.messages.values()].filter((other) => other.parent === message.parent);
}

/** The messages that are shown, first to last. */
export function path(chat: Chat): Message[] {
  const children = new Map<string, Message[]>();
  for (const message of chat.messages.values()) {
    const list = children.get(message.parent);
    if (list) list.push(message);
    else children.set(message.parent, [message]);
  }
  const shown: Message[] = [];
  let at = '';
  for (;;) {
    const list = children.get(at);
    if (!list) return shown;
    const next = list.find((message) => message.id === chat.chosen.get(at)) ?? list.at(-1)!;
    children.delete(at); // a tree from a file may hold a circle
    shown.push(next);
    at = next.id;
  }
}

export function add(chat: Chat, message: Message): void {
  chat.messages.set(message.id, message);
  chat.chosen.set(message.parent, message.id);
  chat.updated = Date.now();
  if (!chat.renamed && message.role === 'user' && message.parent === '') chat.title = titleOf(message.text);
}

/** Shows the branch before (-1) or after (1) this message; false when there is none. */
export function turn(chat: Chat, message: Message, by: number): boolean {
  const list = branches(chat, message);
  const next = list[list.indexOf(message) + by];
  if (!next) return false;
  chat.chosen.set(message.parent, next.id);
  return true;
}

export function titleOf(text: string): string {
  const line = text.trim().replace(/\s+/g, ' ');
  const cut = [...line].slice(0, 60).join('');
  return cut === '' ? 'New chat' : cut.length < line.length ? cut.trimEnd() + '…' : cut;
}

/** Whether title or any message holds all words of a query. */
export function matches(chat: Chat, query: string): boolean {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return true;
  const all = [chat.title, ...[...chat.messages.values()].map((message) => message.text)].join('\n').toLowerCase();
  return words.every((word) => all.includes(word));
}

// ---- files ----

export interface ChatFile {
  format: 'dgemma-chats';
  version: 1;
  chats: unknown[];
}

export function toFile(chats: Chat[], recordings: Map<string, Recording>): ChatFile {
  const plain = chats.map((chat) => ({
    ...chat,
    messages: [...chat.messages.values()].map((message) => ({ ...message, recording: recordings.get(message.id) })),
    chosen: [...chat.chosen],
  }));
  return { format: 'dgemma-chats', version: 1, chats: plain };
}

const kLongestText = 4_000_000;
const kIdRule = /^[0-9a-f]{24}$/;

function text(value: unknown): string {
  return typeof value === 'string' ? printable(value.slice(0, kLongestText)) : '';
}

function when(value: unknown): number {
  return typeof value === 'number' && Number.isFinite(value) && Math.abs(value) < 8.64e15 ? value : Date.now();
}

export function parseFigures(value: unknown): Figures {
  const figures: Figures = {};
  if (typeof value !== 'object' || value === null) return figures;
  for (const [name, figure] of Object.entries(value).slice(0, 64)) {
    if (!/^[a-z][a-z0-9_]{0,40}$/.test(name)) continue;
    if (typeof figure === 'boolean' || (typeof figure === 'number' && Number.isFinite(figure))) figures[name] = figure;
  }
  return figures;
}

function parseMessage(value: Record<string, unknown>, ids: (id: unknown) => string): Message {
  const message = freshMessage(ids(value.parent), value.role === 'assistant' ? 'assistant' : 'user', text(value.text));
  message.id = ids(value.id) || freshId();
  message.thought = text(value.thought);
  for (const call of Array.isArray(value.calls) ? value.calls.slice(0, 64) : []) {
    if (typeof call === 'object' && call !== null)
      message.calls.push({ name: text(call.name), arguments: text(call.arguments) });
  }
  message.created = when(value.created);
  message.model = text(value.model).slice(0, 200);
  message.finish = text(value.finish).slice(0, 40) || (message.role === 'assistant' ? 'stopped' : '');
  message.error = text(value.error).slice(0, 2000);
  message.figures = parseFigures(value.figures);
  return message;
}

export interface Imported {
  chats: Chat[];
  recordings: Map<string, Recording>;
}

/** Chats of a file under ids of their own, so that none is replaced. Throws an Error with the reason. */
export function fromFile(source: string): Imported {
  let file: { format?: unknown; version?: unknown; chats?: unknown };
  try {
    file = JSON.parse(source);
  } catch {
    throw new Error('This file is not JSON.');
  }
  if (typeof file !== 'object' || file === null || file.format !== 'dgemma-chats' || !Array.isArray(file.chats)) {
    throw new Error('This file holds no chats of this page (no "format": "dgemma-chats").');
  }
  if (file.version !== 1) throw new Error('This file is of a newer version of this page.');
  const imported: Imported = { chats: [], recordings: new Map() };
  for (const value of file.chats) {
    if (typeof value !== 'object' || value === null || !Array.isArray(value.messages)) continue;
    imported.chats.push(parseChat(value as Record<string, unknown>, imported.recordings));
  }
  return imported;
}

function parseChat(value: Record<string, unknown>, recordings: Map<string, Recording>): Chat {
  const renamed = new Map<string, string>();
  const ids = (id: unknown): string => {
    if (typeof id !== 'string' || !kIdRule.test(id)) return '';
    const fresh = renamed.get(id) ?? freshId();
    renamed.set(id, fresh);
    return fresh;
  };
  const chat = freshChat(text(value.system));
  chat.title = text(value.title).slice(0, 200) || 'New chat';
  chat.renamed = value.renamed === true;
  chat.created = when(value.created);
  chat.updated = when(value.updated);
  for (const one of value.messages as unknown[]) {
    if (typeof one !== 'object' || one === null) continue;
    const message = parseMessage(one as Record<string, unknown>, ids);
    const recording = parseRecording((one as Record<string, unknown>).recording);
    if (recording) {
      recordings.set(message.id, recording);
      message.steps = recording.blocks.reduce((sum, block) => sum + block.steps.length, 0);
      const corrections = (one as Record<string, unknown>).corrections;
      message.corrections = typeof corrections === 'number' && corrections >= 0 ? Math.floor(corrections) : 0;
    }
    chat.messages.set(message.id, message);
  }
  for (const pair of Array.isArray(value.chosen) ? value.chosen : []) {
    if (Array.isArray(pair)) chat.chosen.set(ids(pair[0]), ids(pair[1]));
  }
  return chat;
}
