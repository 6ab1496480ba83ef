// One step of a canvas: a map of all its positions and its tokens, as running text or as a grid. What is not accepted
// is a neutral glyph, never the noise that stands there. Used by the forming answer, the replay and shared pages.
import { Fragment } from 'preact';
import { useState } from 'preact/hooks';
import { type Channel, type Correction, type View, heatLevel, shown } from './frames';
import type { CanvasLook } from './settings';

interface Props {
  view: View;
  look: CanvasLook;
  heat: boolean;
}

const kChannelNames: Record<Channel, string> = { thought: 'Thinking', answer: 'Answer', tool: 'Tool call', end: 'End' };

function trail(corrections: Correction[]): string {
  return corrections
    .map(
      ({ before, after, beforeStep, afterStep }) =>
        `${shown(before)} (step ${beforeStep}) → ${shown(after)} (step ${afterStep})`,
    )
    .join(', ');
}

/** What is known of a position, as a line of text. */
function facts(view: View, position: number): string {
  if (view.channels[position] === 'end' && view.mask[position])
    return `Position ${position}: behind the end of the answer`;
  const nats = (view.entropy[position]! / 32).toFixed(2);
  const sure = view.mask[position] ? `“${shown(view.tokens[position]!)}”, accepted` : 'not accepted yet';
  const corrections = view.corrections.get(position);
  return `Position ${position}: ${sure}, ${nats} nats${corrections ? `; corrected: ${trail(corrections)}` : ''}`;
}

/** Heat of a position, 0 to 4; none behind the end. */
function heatOf({ view, heat }: Props, position: number): number {
  return heat && view.channels[position] !== 'end' ? heatLevel(view.entropy[position]!) : 0;
}

function tokenClass(props: Props, position: number): string {
  const { view } = props;
  const corrected = view.mask[position] && view.corrections.has(position) ? ' fixed' : '';
  return `tok h${heatOf(props, position)} ${view.mask[position] ? 'set' : 'open'}${corrected}`;
}

function Token(props: Props & { position: number }) {
  const { view, position } = props;
  const corrections = view.mask[position] ? view.corrections.get(position) : undefined;
  const text = view.mask[position] ? view.tokens[position]! : '';
  if (view.mask[position] && text === '' && !corrections) return null; // a control token or the rest of a character
  return (
    <span class={tokenClass(props, position)} data-p={position} title={corrections && trail(corrections)}>
      {props.look === 'grid' ? shown(text).replace('∅', '') : text}
    </span>
  );
}

function Map_(props: Props) {
  const { view } = props;
  const cells = Array.from({ length: view.canvas }, (_, position) => {
    const end = view.channels[position] === 'end' ? ' end' : '';
    return <i key={position} class={`cell ${tokenClass(props, position)}${end}`} data-p={position} />;
  });
  return (
    <div class="map" aria-hidden="true">
      {cells}
    </div>
  );
}

/** Runs of positions of one channel, without what is behind the end. */
function runs(view: View): { channel: Channel; positions: number[] }[] {
  const found: { channel: Channel; positions: number[] }[] = [];
  view.channels.forEach((channel, position) => {
    if (channel === 'end') return;
    const last = found.at(-1);
    if (last?.channel === channel) last.positions.push(position);
    else found.push({ channel, positions: [position] });
  });
  return found;
}

function Tokens(props: Props) {
  return (
    <div class={`tokens ${props.look}`}>
      {runs(props.view).map(({ channel, positions }, index) => (
        <Fragment key={index}>
          {channel !== 'answer' && <div class="channel">{kChannelNames[channel]}</div>}
          <div class={`run ${channel}`}>
            {positions.map((position) => (
              <Token key={position} {...props} position={position} />
            ))}
          </div>
        </Fragment>
      ))}
    </div>
  );
}

/** The words under a canvas: which canvas, which step, how far. */
export function stepText(view: View): string {
  return `canvas ${view.block + 1}, step ${view.step} of ${view.total}, ${view.accepted} of ${view.canvas} accepted`;
}

export function Canvas(props: Props) {
  const [pointed, setPointed] = useState<number | null>(null);
  const { view } = props;
  const point = (event: PointerEvent) => {
    const at = (event.target as HTMLElement).dataset.p;
    setPointed(at === undefined ? null : Number(at));
  };
  const mean = view.entropy.reduce((sum, byte) => sum + byte, 0) / 32 / view.canvas;
  return (
    <div class="canvas" onPointerOver={point} onPointerDown={point} onPointerLeave={() => setPointed(null)}>
      <Map_ {...props} />
      <div class="facts" aria-hidden="true">
        {pointed !== null && pointed < view.canvas
          ? facts(view, pointed)
          : `Temperature ${view.temperature.toFixed(2)}, mean entropy ${mean.toFixed(2)} nats`}
      </div>
      <div aria-hidden="true">
        <Tokens {...props} />
      </div>
    </div>
  );
}

/** What the colours mean. */
export function Legend() {
  return (
    <div class="legend">
      <span>
        <i class="swatch tok open" /> undecided
      </span>
      <span>
        <i class="swatch tok h4" />
        <i class="swatch tok h3" />
        <i class="swatch tok h2" />
        <i class="swatch tok h1" /> uncertain to sure
      </span>
      <span>
        <i class="swatch tok set" /> accepted
      </span>
      <span>
        <u class="fixed">corrected</u>
      </span>
    </div>
  );
}
