// One answer as one HTML file that opens anywhere without a network: this page's own script and style, with the answer
// as data beside them. The same script finds that data and shows it instead of the chat.
import { Mark } from './icons';
import { Markdown } from './markdown';
import { Calls, FigureLine, Thought } from './message';
import { type Recording, allCorrections, parseRecording, printable, stepsOf } from './frames';
import { Replay } from './replay';
import { type Message, parseFigures } from './tree';

export interface Shared {
  title: string;
  asked: string;
  message: Pick<Message, 'text' | 'thought' | 'calls' | 'model' | 'figures' | 'created'>;
  recording: Recording | null;
}

const kData = 'dgemma-shared';

function escape(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}

export function makeShared({ title, asked, message, recording }: Shared): string {
  const { text, thought, calls, model, figures, created } = message;
  const data = JSON.stringify({ title, asked, message: { text, thought, calls, model, figures, created }, recording });
  const own = (selector: string) => document.querySelector(selector)?.textContent ?? '';
  const policy = document.querySelector('meta[http-equiv=Content-Security-Policy]')?.getAttribute('content') ?? '';
  const alone = escape(policy.replace("connect-src 'self'", "connect-src 'none'"));
  return [
    '<!doctype html><html lang="en"><head><meta charset="utf-8">',
    `<meta http-equiv="Content-Security-Policy" content="${alone}">`,
    '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="referrer" content="no-referrer">',
    '<meta name="color-scheme" content="light dark">',
    `<title>${escape(title)}</title><style>${own('head > style')}</style></head><body><div id="app"></div>`,
    `<script type="application/json" id="${kData}">${data.replaceAll('<', '\\u003c')}</script>`,
    `<script type="module">${own('script[type=module]')}</script></body></html>\n`,
  ].join('');
}

/** The answer that this document was made to show; null in the chat page. */
export function sharedHere(): Shared | null {
  const source = document.getElementById(kData);
  if (!(source instanceof HTMLScriptElement)) return null;
  const value = JSON.parse(source.textContent ?? '{}');
  const message = value.message ?? {};
  return {
    title: String(value.title ?? ''),
    asked: printable(String(value.asked ?? '')),
    message: {
      text: printable(String(message.text ?? '')),
      thought: printable(String(message.thought ?? '')),
      calls: Array.isArray(message.calls)
        ? message.calls.map((call: { name?: unknown; arguments?: unknown }) => ({
            name: printable(String(call?.name ?? '')),
            arguments: printable(String(call?.arguments ?? '')),
          }))
        : [],
      model: String(message.model ?? ''),
      figures: parseFigures(message.figures),
      created: Number(message.created) || 0,
    },
    recording: parseRecording(value.recording),
  };
}

export function SharedPage({ shared }: { shared: Shared }) {
  const { message, recording } = shared;
  const when = message.created ? new Date(message.created).toISOString().slice(0, 10) : '';
  return (
    <main class="shared">
      <header>
        <Mark />
        <h1>{shared.title}</h1>
      </header>
      <article class="message user" aria-label="Question">
        <h2 class="sr">Question</h2>
        <div class="bubble">{shared.asked}</div>
      </article>
      <article class="message answer" aria-label="Answer">
        <h2 class="sr">Answer</h2>
        <Thought text={message.thought} open={false} />
        <Markdown text={message.text} />
        <Calls calls={message.calls} />
        {recording && (
          <Replay
            steps={stepsOf(recording).length}
            corrections={allCorrections(recording).length}
            load={() => Promise.resolve(recording)}
            open
          />
        )}
        <div class="actions">
          <FigureLine figures={message.figures} />
        </div>
      </article>
      <footer class="dim small">
        Written by {message.model || 'a text diffusion model'} in dgemma{when && `, ${when}`}. This file is complete: it
        loads nothing.
      </footer>
    </main>
  );
}
