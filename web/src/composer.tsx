// Where the user writes: the field, the preset, the thinking switch, send and stop.
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { SendIcon, StopIcon } from './icons';
import { type Preset, preset, thinking } from './settings';
import * as state from './state';

const kPresets: [Preset, string, string][] = [
  ['fast', 'Fast', 'few steps, bold'],
  ['balanced', 'Balanced', 'as the model’s authors set it'],
  ['best', 'Best', 'more steps, careful'],
];

export function PresetChoice({ id }: { id: string }) {
  const names = preset.value === 'custom' ? [...kPresets, ['custom', 'Custom', 'your own knobs'] as const] : kPresets;
  return (
    <fieldset class="segments" aria-label="Preset of the sampler">
      {names.map(([name, label, about]) => (
        <label key={name} title={about}>
          <input
            type="radio"
            name={`preset-${id}`}
            value={name}
            checked={preset.value === name}
            onChange={() => (preset.value = name)}
          />
          <span>{label}</span>
        </label>
      ))}
    </fieldset>
  );
}

/** A question that was clicked on the empty page goes here. */
let fill: (text: string) => void = () => undefined;
export const fillComposer = (text: string) => fill(text);

export function Composer() {
  const [text, setText] = useState('');
  const field = useRef<HTMLTextAreaElement>(null);
  const runs = state.running.value !== null;
  const canThink = state.facts.value?.canThink !== false;

  useEffect(() => {
    fill = (given) => {
      setText(given);
      field.current!.focus();
    };
    // Typing goes into the field from the start, not to the shortcuts; on a phone it would open the keyboard.
    if (matchMedia('(pointer: fine)').matches) field.current!.focus();
  }, []);
  useLayoutEffect(() => {
    const area = field.current!;
    area.style.height = 'auto';
    area.style.height = `${area.scrollHeight}px`;
  }, [text]);

  const send = () => {
    if (runs || text.trim() === '') return;
    state.send(text);
    setText('');
  };
  const press = (event: KeyboardEvent) => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send();
    }
    // To the shortcuts of a single key.
    if (event.key === 'Escape' && !runs && !event.isComposing) field.current!.blur();
  };

  return (
    <form class="composer" onSubmit={(event) => (event.preventDefault(), send())} aria-label="Your message">
      <textarea
        id="question"
        ref={field}
        rows={1}
        value={text}
        placeholder="Ask something"
        aria-label="Your message"
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={press}
      />
      <div class="bar">
        <PresetChoice id="composer" />
        <label
          class={`switch${canThink ? '' : ' off'}`}
          title={canThink ? 'Let the model think before it answers' : 'This model cannot think'}
        >
          <input
            type="checkbox"
            role="switch"
            checked={thinking.value && canThink}
            disabled={!canThink}
            onChange={() => (thinking.value = !thinking.value)}
          />
          <span>Thinking</span>
        </label>
        <span class="grow" />
        {runs ? (
          <button type="button" class="send" onClick={state.stop} aria-label="Stop" title="Stop (Esc)">
            <StopIcon />
          </button>
        ) : (
          <button type="submit" class="send" disabled={text.trim() === ''} aria-label="Send" title="Send (Enter)">
            <SendIcon />
          </button>
        )}
      </div>
    </form>
  );
}
