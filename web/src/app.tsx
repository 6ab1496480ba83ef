// The chat page as a whole: list of chats, conversation, composer, dialogs, notices, what screen readers hear, and
// keys.
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { Composer, fillComposer } from './composer';
import { MenuIcon, SlidersIcon } from './icons';
import { Answer, UserMessage } from './message';
import { HelpPanel, SettingsPanel } from './panels';
import { heat, look, model, singleKeys } from './settings';
import { Sidebar, toggleTheme } from './sidebar';
import * as state from './state';

type Panel = 'none' | 'settings' | 'help';

const kExamples = [
  'Explain in five sentences how a text diffusion model writes.',
  'Write a haiku about order that comes out of noise.',
  'Show a Python function that merges two sorted lists.',
];

function Empty() {
  const examples = state.facts.value?.examples.length ? state.facts.value.examples : kExamples;
  return (
    <div class="empty">
      <p class="settling" aria-hidden="true">
        {[...'text settles'].map((letter, index) => (
          <span key={index} class={`l${index % 5}`}>
            {letter}
          </span>
        ))}
      </p>
      <p class="lead">Ask, and watch the answer settle out of noise: all of it at once, step by step.</p>
      <ul class="examples" aria-label="Examples">
        {examples.map((text) => (
          <li key={text}>
            <button type="button" onClick={() => fillComposer(text)}>
              {text}
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}

/** Where the conversation is scrolled to: a new question goes to the top and stays, later canvases are followed. */
function useScrolling(box: { current: HTMLDivElement | null }): () => void {
  const chat = state.current.value;
  const running = state.running.value?.chat === chat ? state.running.value.message.id : '';
  const block = running ? (state.draft.value?.block ?? 0) : 0;
  const touched = useRef(false);
  useLayoutEffect(() => {
    box.current!.scrollTop = box.current!.scrollHeight;
  }, [chat]);
  useLayoutEffect(() => {
    touched.current = false;
    if (!running) return;
    const question = box.current!.querySelector<HTMLElement>('.message.user:has(+ .message.latest)');
    if (question) box.current!.scrollTop = question.offsetTop - box.current!.offsetTop - 12;
  }, [running]);
  useLayoutEffect(() => {
    const sheet = box.current!.querySelector<HTMLElement>('.forming');
    if (block > 0 && sheet && !touched.current) box.current!.scrollTop = sheet.offsetTop - box.current!.offsetTop - 96;
  }, [block]);
  return () => (touched.current = true);
}

function Conversation() {
  const messages = state.shownPath.value;
  const box = useRef<HTMLDivElement>(null);
  const touch = useScrolling(box);
  return (
    <div
      class="thread"
      ref={box}
      onWheel={touch}
      onTouchMove={touch}
      onKeyDown={touch}
      tabIndex={0}
      role="region"
      aria-label="Conversation"
    >
      <div class="column">
        {messages.length === 0 && <Empty />}
        {messages.map((message) =>
          message.role === 'user' ? (
            <UserMessage key={message.id} message={message} />
          ) : (
            <Answer key={message.id} message={message} />
          ),
        )}
      </div>
    </div>
  );
}

function Banner({ openSettings }: { openSettings: () => void }) {
  const problem = state.problem.value;
  if (!problem) return null;
  const texts = {
    offline: 'The server cannot be reached. Is it still running? The page keeps trying.',
    loading: 'The server is loading its model. It will be ready soon.',
    key: 'The server wants a key.',
    busy: 'The server is busy.',
    other: problem.message,
  };
  return (
    <div class={`banner ${problem.kind}`} role="status">
      {texts[problem.kind]}
      {problem.kind === 'key' && (
        <button type="button" class="quiet" onClick={openSettings}>
          Open settings
        </button>
      )}
    </div>
  );
}

function Notice() {
  const notice = state.notice.value;
  useEffect(() => {
    if (!notice) return;
    const timer = setTimeout(() => (state.notice.value = null), notice.undo ? 10_000 : 6000);
    return () => clearTimeout(timer);
  }, [notice]);
  return (
    <div class="notices" role="status">
      {notice && (
        <div class="notice">
          {notice.text}
          {notice.undo && (
            <button type="button" class="quiet" onClick={() => (notice.undo!(), (state.notice.value = null))}>
              Undo
            </button>
          )}
        </div>
      )}
    </div>
  );
}

/** Whether the keys that are typed go into text, or a control that uses them itself. */
function types(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement) return !['range', 'checkbox', 'button'].includes(target.type);
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement || target.isContentEditable;
}

function last<T extends HTMLElement>(selector: string): T | undefined {
  return [...document.querySelectorAll<T>(selector)].at(-1);
}

function turnLast(by: number): void {
  const shown = [...state.shownPath.value].reverse();
  for (const message of shown) {
    const before = state.shownPath.value;
    state.turnBranch(message, by);
    if (state.shownPath.value !== before) return;
  }
}

function pressed(event: KeyboardEvent, open: (panel: Panel) => void): boolean {
  if ((event.ctrlKey || event.metaKey) && event.shiftKey && event.key.toLowerCase() === 'o') {
    state.newChat();
    document.getElementById('question')?.focus();
    return true;
  }
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'k') {
    document.getElementById('search')?.focus();
    return true;
  }
  if (event.key === 'Escape' && state.running.value) {
    state.stop();
    return true;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || types(event.target) || !singleKeys.value) return false;
  const actions: Record<string, () => void> = {
    '/': () => document.getElementById('question')?.focus(),
    '?': () => open('help'),
    s: () => open('settings'),
    t: toggleTheme,
    h: () => (heat.value = !heat.value),
    g: () => (look.value = look.value === 'grid' ? 'text' : 'grid'),
    e: () => last<HTMLButtonElement>('.message.user .edit')?.click(),
    r: () => {
      const message = state.shownPath.value.at(-1);
      if (message?.role === 'assistant') state.regenerate(message);
    },
    p: () => last<HTMLInputElement>('.replay input[type=range]')?.focus(),
    '[': () => turnLast(-1),
    ']': () => turnLast(1),
  };
  const action = Object.hasOwn(actions, event.key) ? actions[event.key] : undefined;
  action?.();
  return action !== undefined;
}

export function App() {
  const [panel, setPanel] = useState<Panel>('none');
  const [listOpen, setListOpen] = useState(false);
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (event.defaultPrevented || document.querySelector('dialog[open]')) return;
      if (event.key === 'Escape' && listOpen) setListOpen(false);
      else if (pressed(event, setPanel)) event.preventDefault();
    };
    document.addEventListener('keydown', press);
    return () => document.removeEventListener('keydown', press);
  }, [listOpen]);
  state.version.value;
  const title = state.current.value.title;
  useEffect(() => {
    document.title = state.current.value.messages.size > 0 ? `${title} – dgemma` : 'dgemma';
  }, [title, state.version.value]);
  const openSettings = () => setPanel('settings');
  // A dialog says that it was closed a little later; another may be open by then.
  const leave = (left: Panel) => setPanel((now) => (now === left ? 'none' : now));
  return (
    <div class="page">
      <a
        class="skip"
        href="#question"
        onClick={(event) => (event.preventDefault(), document.getElementById('question')?.focus())}
      >
        To the message field
      </a>
      <Sidebar
        open={listOpen}
        actions={{ close: () => setListOpen(false), openSettings, openHelp: () => setPanel('help') }}
      />
      {listOpen && <div class="scrim" onClick={() => setListOpen(false)} />}
      <main inert={listOpen}>
        <header class="top">
          <button
            type="button"
            class="icon only-phone"
            aria-label="List of chats"
            aria-expanded={listOpen}
            aria-controls="chats"
            onClick={() => setListOpen(true)}
          >
            <MenuIcon />
          </button>
          <span class="name">{state.current.value.messages.size > 0 ? title : ''}</span>
          <span class="grow" />
          {model.value && (
            <span class="model" title="Model">
              {model.value}
            </span>
          )}
          <button type="button" class="icon" onClick={openSettings} aria-label="Settings" title="Settings (S)">
            <SlidersIcon />
          </button>
        </header>
        <Banner openSettings={openSettings} />
        <Conversation />
        <Composer />
      </main>
      <Notice />
      <div class="sr" aria-live="polite" id="spoken">
        {state.spoken.value}
      </div>
      <div class="sr" role="status" id="status">
        {state.status.value}
      </div>
      {panel === 'settings' && <SettingsPanel close={() => leave('settings')} />}
      {panel === 'help' && <HelpPanel close={() => leave('help')} />}
    </div>
  );
}
