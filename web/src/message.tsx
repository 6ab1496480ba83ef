// Messages of a conversation: what the user wrote (and may edit into a branch), what was answered, its thought, tool
// calls, figures, replay and the arrows between branches.
import type { VNode } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { Canvas, stepText } from './canvas';
import { CopyButton, download, fileName } from './copy';
import { BackIcon, NextIcon } from './icons';
import { CodeBlock, Markdown } from './markdown';
import { Replay } from './replay';
import { heat, look, still } from './settings';
import { makeShared } from './share';
import * as state from './state';
import { type Figures, type Message, type ToolCall, branches } from './tree';

function pretty(json: string): string {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json;
  }
}

export function Calls({ calls }: { calls: ToolCall[] }) {
  return (
    <>
      {calls.map((call, index) => (
        <div class="call" key={index} role="group" aria-label="Tool call">
          <p>
            Calls the tool <code>{call.name || 'without a name'}</code>
          </p>
          <CodeBlock text={pretty(call.arguments)} language="json" />
        </div>
      ))}
    </>
  );
}

export function Thought({ text, open }: { text: string; open: boolean }) {
  if (text === '') return null;
  return (
    <details class="thought" open={open}>
      <summary>{open ? 'Thinking' : 'Thoughts'}</summary>
      <Markdown text={text} />
    </details>
  );
}

function amount(value: number, digits: number): string {
  return value.toLocaleString('en', { maximumFractionDigits: digits, minimumFractionDigits: 0 });
}

const kFigureNames: [string, string, (value: number) => string][] = [
  ['ttft_ms', 'Time to the first text', (ms) => duration(ms)],
  ['prompt_ms', 'Reading the prompt', (ms) => duration(ms)],
  ['predicted_ms', 'Writing', (ms) => duration(ms)],
  ['effective_tok_s', 'Answer tokens a second', (n) => amount(n, 1)],
  ['diffusion_blocks', 'Canvases', (n) => amount(n, 0)],
  ['diffusion_steps', 'Passes', (n) => amount(n, 0)],
  ['passes_per_block', 'Passes a canvas', (n) => amount(n, 1)],
  ['accepted_per_pass', 'Tokens accepted a pass', (n) => amount(n, 1)],
  ['answer_tokens', 'Answer tokens', (n) => amount(n, 0)],
  ['canvas_tokens', 'Canvas tokens', (n) => amount(n, 0)],
  ['prompt_tokens', 'Prompt tokens', (n) => amount(n, 0)],
  ['seed', 'Seed', (n) => String(n)],
];

function duration(ms: number): string {
  return ms < 1000 ? `${amount(ms, ms < 10 ? 1 : 0)} ms` : `${amount(ms / 1000, 2)} s`;
}

export function FigureLine({ figures }: { figures: Figures }) {
  const of = (name: string) => (typeof figures[name] === 'number' ? (figures[name] as number) : null);
  const parts: string[] = [];
  if (of('ttft_ms') !== null) parts.push(`TTFT ${duration(of('ttft_ms')!)}`);
  if (of('diffusion_steps') !== null) parts.push(`${amount(of('diffusion_steps')!, 0)} passes`);
  if (of('effective_tok_s') !== null)
    parts.push(`${amount(of('effective_tok_s')!, of('effective_tok_s')! < 10 ? 1 : 0)} tok/s`);
  if (parts.length === 0) return null;
  return (
    <details class="figures">
      <summary>{parts.join(' · ')}</summary>
      <dl>
        {kFigureNames.map(([name, label, show]) => {
          const value = of(name);
          return value === null ? null : (
            <div key={name}>
              <dt>{label}</dt>
              <dd>{show(value)}</dd>
            </div>
          );
        })}
      </dl>
    </details>
  );
}

function Branches({ message }: { message: Message }) {
  const all = branches(state.current.value, message);
  if (all.length < 2) return null;
  const at = all.indexOf(message);
  return (
    <span class="branches" role="group" aria-label="Branches">
      <button
        type="button"
        class="icon"
        disabled={at === 0}
        onClick={() => state.turnBranch(message, -1)}
        aria-label="Branch before"
      >
        <BackIcon />
      </button>
      <span aria-label={`Branch ${at + 1} of ${all.length}`} role="img">
        {at + 1}/{all.length}
      </span>
      <button
        type="button"
        class="icon"
        disabled={at === all.length - 1}
        onClick={() => state.turnBranch(message, 1)}
        aria-label="Branch after"
      >
        <NextIcon />
      </button>
    </span>
  );
}

function Editor({ message, close }: { message: Message; close: () => void }) {
  const [text, setText] = useState(message.text);
  const field = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    field.current!.focus();
    field.current!.setSelectionRange(text.length, text.length);
  }, []);
  const send = () => {
    if (state.running.value || text.trim() === '') return;
    close();
    state.send(text, message.parent);
  };
  const press = (event: KeyboardEvent) => {
    if (event.key === 'Escape') {
      event.stopPropagation();
      close();
    }
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send();
    }
  };
  return (
    <div class="editor">
      <textarea
        ref={field}
        rows={3}
        value={text}
        aria-label="Edit your message"
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={press}
      />
      <div class="row-end">
        <button type="button" class="quiet" onClick={close}>
          Cancel
        </button>
        <button
          type="button"
          class="primary"
          onClick={send}
          disabled={state.running.value !== null || text.trim() === ''}
        >
          Send as a branch
        </button>
      </div>
    </div>
  );
}

export function UserMessage({ message }: { message: Message }) {
  const [edits, setEdits] = useState(false);
  return (
    <article class="message user" aria-label="You" data-id={message.id}>
      <h2 class="sr">You</h2>
      {edits ? <Editor message={message} close={() => setEdits(false)} /> : <div class="bubble">{message.text}</div>}
      {!edits && (
        <div class="actions">
          <Branches message={message} />
          <button type="button" class="quiet edit" onClick={() => setEdits(true)}>
            Edit
          </button>
          <CopyButton text={message.text} what="your message" />
        </div>
      )}
    </article>
  );
}

/** The canvas of the answer that forms, or with less motion a line that says how far it is. */
function Forming() {
  const view = state.draft.value;
  if (still.value || !view) {
    return (
      <p class="forming-line" aria-hidden="true">
        <span class="dots">
          <i />
          <i />
          <i />
        </span>{' '}
        {still.value ? 'The answer is forming' : 'Reading the prompt'}
      </p>
    );
  }
  return (
    <div class="sheet forming" aria-hidden="true">
      <div class="step">
        <span>{stepText(view)}</span>
      </div>
      <Canvas view={view} look={look.value} heat={heat.value} />
    </div>
  );
}

function Ending({ message }: { message: Message }): VNode | null {
  const retry = (
    <button type="button" class="quiet" onClick={() => state.regenerate(message)}>
      Try again
    </button>
  );
  if (message.error) {
    return (
      <div class="ending bad" role="alert">
        <span>{message.error}</span> {retry}
      </div>
    );
  }
  if (message.finish === 'stopped') return <div class="ending">Stopped. What was not committed is lost.</div>;
  if (message.finish === 'length') return <div class="ending">The answer reached its limit of tokens.</div>;
  if (message.text === '' && message.calls.length === 0) {
    return (
      <div class="ending">The model gave an empty answer. Asking in more words, or with another seed, often helps.</div>
    );
  }
  return null;
}

async function share(message: Message): Promise<void> {
  const chat = state.current.value;
  const asked = chat.messages.get(message.parent)?.text ?? '';
  const html = makeShared({ title: chat.title, asked, message, recording: await state.recordingOf(message) });
  download(fileName(chat.title, 'html'), 'text/html', html);
}

export function Answer({ message }: { message: Message }) {
  const forms = state.running.value?.message === message;
  const waits = forms && state.holdsText.value;
  return (
    <article
      class={`message answer${state.latest.value === message.id ? ' latest' : ''}`}
      aria-label="Answer"
      aria-busy={forms}
      data-id={message.id}
    >
      <h2 class="sr">Answer{message.model ? ` of ${message.model}` : ''}</h2>
      {!waits && <Thought text={message.thought} open={forms} />}
      {!waits && message.text !== '' && <Markdown text={message.text} />}
      {!waits && <Calls calls={message.calls} />}
      {forms ? (
        <Forming />
      ) : (
        <>
          <Ending message={message} />
          {message.steps > 0 && (
            <Replay
              key={message.id}
              steps={message.steps}
              corrections={message.corrections}
              load={() => state.recordingOf(message)}
            />
          )}
          <div class="actions">
            <Branches message={message} />
            <CopyButton text={message.text} what="the answer" />
            <button
              type="button"
              class="quiet"
              disabled={state.running.value !== null}
              onClick={() => state.regenerate(message)}
            >
              Regenerate
            </button>
            <button
              type="button"
              class="quiet"
              onClick={() => share(message)}
              title="One HTML file with question, answer and replay"
            >
              Share
            </button>
            <FigureLine figures={message.figures} />
          </div>
        </>
      )}
    </article>
  );
}
