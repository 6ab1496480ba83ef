// The dialogs: settings (system prompt, sampler, look, key, chats as files) and keyboard shortcuts.
import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { type Knobs, kKnobNames } from './api';
import { PresetChoice } from './composer';
import { download, fileName } from './copy';
import { CloseIcon } from './icons';
import * as settings from './settings';
import * as state from './state';

export function Dialog(props: { title: string; side?: boolean; close: () => void; children: ComponentChildren }) {
  const box = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const before = document.activeElement;
    box.current!.showModal();
    return () => {
      if (before instanceof HTMLElement) before.focus();
    };
  }, []);
  const outside = (event: MouseEvent) => {
    if (event.target === box.current) props.close();
  };
  return (
    <dialog ref={box} class={props.side ? 'side' : ''} aria-label={props.title} onClose={props.close} onClick={outside}>
      <div class="inner">
        <header>
          <h2>{props.title}</h2>
          <button type="button" class="icon" aria-label="Close" onClick={props.close}>
            <CloseIcon />
          </button>
        </header>
        {props.children}
      </div>
    </dialog>
  );
}

function Knob({ name }: { name: keyof Knobs }) {
  const range = settings.kRanges[name];
  const now = settings.knobsOf(settings.preset.value, state.facts.value);
  const set = (text: string) => {
    const value = Number(text);
    if (text.trim() === '' || !(value >= range.low && value <= range.high)) return;
    if (range.step === 1 && !Number.isInteger(value)) return;
    settings.custom.value = { ...now, [name]: value };
    settings.preset.value = 'custom';
  };
  return (
    <label class="knob">
      <span>
        {range.name} <small>{range.about}</small>
      </span>
      <input
        type="number"
        inputMode="decimal"
        min={range.low}
        max={range.high}
        step="any"
        value={now[name]}
        onChange={(event) => {
          set(event.currentTarget.value);
          event.currentTarget.value = String(settings.knobsOf(settings.preset.value, state.facts.value)[name]);
        }}
      />
    </label>
  );
}

function Switch({ of, children }: { of: typeof settings.heat; children: ComponentChildren }) {
  return (
    <label class="check">
      <input type="checkbox" role="switch" checked={of.value} onChange={() => (of.value = !of.value)} />{' '}
      <span>{children}</span>
    </label>
  );
}

function Files() {
  const pick = useRef<HTMLInputElement>(null);
  const read = async (event: Event) => {
    const input = event.currentTarget as HTMLInputElement;
    const file = input.files?.[0];
    if (file) await state.importChats(await file.text());
    input.value = '';
  };
  const save = async (all: boolean) => {
    const chats = all ? state.chats.value : [state.current.value];
    const name = all ? `dgemma-chats-${new Date().toISOString().slice(0, 10)}.json` : fileName(chats[0]!.title, 'json');
    download(name, 'application/json', await state.exportChats(chats));
  };
  return (
    <section>
      <h3>Chats as files</h3>
      <p class="buttons">
        <button
          type="button"
          class="plain"
          disabled={state.current.value.messages.size === 0}
          onClick={() => save(false)}
        >
          Export this chat
        </button>
        <button type="button" class="plain" disabled={state.chats.value.length === 0} onClick={() => save(true)}>
          Export all
        </button>
        <button type="button" class="plain" onClick={() => pick.current!.click()}>
          Import
        </button>
        <input
          ref={pick}
          type="file"
          accept="application/json,.json"
          hidden
          aria-label="File with chats"
          onChange={read}
        />
      </p>
    </section>
  );
}

export function SettingsPanel({ close }: { close: () => void }) {
  const facts = state.facts.value;
  return (
    <Dialog title="Settings" side close={close}>
      <section>
        <h3>This chat</h3>
        {facts && facts.models.length > 1 && (
          <label class="field">
            Model
            <select
              value={settings.model.value}
              onChange={(event) => (settings.model.value = event.currentTarget.value)}
            >
              {facts.models.map((name) => (
                <option key={name}>{name}</option>
              ))}
            </select>
          </label>
        )}
        <label class="field">
          System prompt
          <textarea
            rows={4}
            value={state.current.value.system}
            placeholder="What the model should always keep in mind"
            onChange={(event) => state.setSystem(event.currentTarget.value)}
          />
        </label>
        {facts?.singlePrompts && (
          <p class="dim small">
            This model knows single prompts only: it is sent your last message alone, without a system prompt.
          </p>
        )}
      </section>
      <section>
        <h3>Sampler</h3>
        <PresetChoice id="panel" />
        {kKnobNames.map((name) => (
          <Knob key={name} name={name} />
        ))}
        <label class="knob">
          <span>
            Tokens <small>of an answer, at most; empty: the server decides</small>
          </span>
          <input
            type="text"
            inputMode="numeric"
            value={settings.maxTokens.value}
            onChange={(event) => (settings.maxTokens.value = event.currentTarget.value)}
          />
        </label>
        <label class="knob">
          <span>
            Seed <small>same seed, same answer; empty: the server decides</small>
          </span>
          <input
            type="text"
            inputMode="numeric"
            value={settings.seed.value}
            onChange={(event) => (settings.seed.value = event.currentTarget.value)}
          />
        </label>
      </section>
      <section>
        <h3>Look</h3>
        <label class="field">
          Theme
          <select
            value={settings.theme.value}
            onChange={(event) => (settings.theme.value = event.currentTarget.value as settings.Theme)}
          >
            <option value="system">As the system</option>
            <option value="light">Light</option>
            <option value="dark">Dark</option>
          </select>
        </label>
        <Switch of={settings.heat}>Colour tokens by their entropy</Switch>
        <Switch of={settings.everyStep}>Record every step (off: 12 a second)</Switch>
        <Switch of={settings.singleKeys}>Shortcuts of a single key</Switch>
      </section>
      <section>
        <h3>Server</h3>
        <form onSubmit={(event) => event.preventDefault()}>
          <label class="field">
            Key <small>kept in this browser, sent to this server only</small>
            <input
              type="password"
              autocomplete="off"
              value={settings.key.value}
              onChange={(event) => {
                settings.key.value = event.currentTarget.value.trim();
                void state.refreshFacts();
              }}
            />
          </label>
        </form>
      </section>
      <Files />
    </Dialog>
  );
}

export const kShortcuts: [string, string][] = [
  ['Enter', 'Send'],
  ['Shift Enter', 'New line'],
  ['Esc', 'Stop the answer; close a dialog; leave the message'],
  ['/', 'Write a message'],
  ['Ctrl Shift O', 'New chat'],
  ['Ctrl K', 'Search chats'],
  ['E', 'Edit the last message'],
  ['R', 'Regenerate the last answer'],
  ['[ and ]', 'Branch before, branch after'],
  ['P', 'Go to the last answer’s steps; then ← and →'],
  ['H', 'Entropy as colour on and off'],
  ['G', 'Canvas as text or as grid'],
  ['T', 'Light or dark'],
  ['S', 'Settings'],
  ['?', 'This list'],
];

export function HelpPanel({ close }: { close: () => void }) {
  return (
    <Dialog title="Keyboard shortcuts" close={close}>
      <table class="keys">
        <tbody>
          {kShortcuts.map(([keys, what]) => (
            <tr key={keys}>
              <th scope="row">{keys.split(' ').map((key) => (key === 'and' ? ' ' : <kbd key={key}>{key}</kbd>))}</th>
              <td>{what}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Dialog>
  );
}
