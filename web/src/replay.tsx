// The strip under an answer: a slider over its recorded steps, play, and the canvas at the chosen step with the list of
// self-corrections. Shows recorded steps only, nothing between them.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { Canvas, Legend, stepText } from './canvas';
import { type Correction, type Recording, allCorrections, shown, stepsOf, viewAt } from './frames';
import { PauseIcon, PlayIcon } from './icons';
import { heat, look, still } from './settings';

const kPlayMs = 160; // a step, when played

interface Props {
  steps: number;
  corrections: number;
  load: () => Promise<Recording | null>;
  open?: boolean;
}

function Corrections({ list, go }: { list: Correction[]; go: (correction: Correction) => void }) {
  if (list.length === 0) return null;
  return (
    <details class="corrections">
      <summary>{list.length === 1 ? 'One self-correction' : `${list.length} self-corrections`}</summary>
      <ol>
        {list.map((correction, index) => (
          <li key={index}>
            <button type="button" class="row" onClick={() => go(correction)}>
              <del>{shown(correction.before)}</del>
              <span aria-label="became"> → </span>
              <ins>{shown(correction.after)}</ins>
              <span class="dim">
                canvas {correction.block + 1}, position {correction.position}, step {correction.beforeStep} →{' '}
                {correction.afterStep}
              </span>
            </button>
          </li>
        ))}
      </ol>
    </details>
  );
}

export function Replay({ steps, corrections, load, open = false }: Props) {
  const [recording, setRecording] = useState<Recording | null>(null);
  const [missing, setMissing] = useState(false);
  const [at, setAt] = useState(steps - 1);
  const [shows, setShows] = useState(open);
  const [plays, setPlays] = useState(false);
  const loading = useRef(false);

  const need = () => {
    if (recording || loading.current) return;
    loading.current = true;
    void load().then((loaded) => (loaded ? setRecording(loaded) : setMissing(true)));
  };
  useEffect(() => {
    if (open) need();
  }, []);
  useEffect(() => {
    if (!plays || !recording) return;
    if (at >= steps - 1) {
      setPlays(false);
      return;
    }
    const timer = setTimeout(() => setAt(at + 1), kPlayMs);
    return () => clearTimeout(timer);
  }, [plays, at, recording]);

  const places = useMemo(() => (recording ? stepsOf(recording) : []), [recording]);
  const list = useMemo(() => (recording ? allCorrections(recording) : []), [recording]);
  const place = places[Math.min(at, places.length - 1)];
  const view = useMemo(
    () => (recording && place ? viewAt(recording, place.block, place.index) : null),
    [recording, place],
  );

  const go = (step: number) => {
    need();
    setPlays(false);
    setShows(true);
    setAt(step);
  };
  const goTo = ({ block, afterStep }: Correction) => {
    const step = places.findIndex(
      (p) => p.block === block && recording!.blocks[block]!.steps[p.index]!.step >= afterStep,
    );
    if (step >= 0) go(step);
  };
  const play = () => {
    need();
    setShows(true);
    if (at >= steps - 1) setAt(0);
    setPlays(!plays);
  };

  return (
    <div class="replay" role="group" aria-label="How this answer formed">
      {shows && missing && <p class="dim">The browser has not kept the steps of this answer.</p>}
      {shows && view && (
        <div class="sheet">
          <Canvas view={view} look={look.value} heat={heat.value} />
          <div class="tools">
            <Legend />
            <span class="pair">
              <button type="button" class="quiet" aria-pressed={heat.value} onClick={() => (heat.value = !heat.value)}>
                Heat
              </button>
              <button
                type="button"
                class="quiet"
                aria-pressed={look.value === 'grid'}
                onClick={() => (look.value = look.value === 'grid' ? 'text' : 'grid')}
              >
                Grid
              </button>
              {!open && (
                <button type="button" class="quiet" onClick={() => (setShows(false), setPlays(false))}>
                  Close
                </button>
              )}
            </span>
          </div>
          <Corrections list={list} go={goTo} />
          <p class="dim small">
            The steps show when a token settled, not why.
            {recording?.shortened && ' Some steps were not kept: there were too many.'}
          </p>
        </div>
      )}
      <div class="strip">
        {!still.value && (
          <button
            type="button"
            class="icon"
            onClick={play}
            aria-label={plays ? 'Pause the replay' : 'Replay how this answer formed'}
          >
            {plays ? <PauseIcon /> : <PlayIcon />}
          </button>
        )}
        <input
          type="range"
          min={0}
          max={Math.max(steps - 1, 0)}
          step={1}
          value={at}
          aria-label="Step of the answer"
          aria-valuetext={view ? stepText(view) : `step ${at + 1} of ${steps}`}
          onInput={(event) => go(Number(event.currentTarget.value))}
          onPointerDown={() => go(at)}
          onKeyDown={(event) => /^(Arrow|Home|End|Page)/.test(event.key) && go(at)}
        />
        <span class="count" aria-hidden="true">
          {view && shows
            ? `${recording!.blocks.length > 1 ? `canvas ${view.block + 1}, ` : ''}step ${view.step}`
            : `${steps} ${steps === 1 ? 'step' : 'steps'}`}
          {!shows && corrections > 0 && <span class="badge">{corrections} corrected</span>}
        </span>
      </div>
    </div>
  );
}
