// What the user has set: kept in the browser, checked when read, one signal each. Presets of the sampler are here too.
import { effect, signal, type Signal } from '@preact/signals';
import type { Facts, Knobs } from './api';
import { kKnobNames } from './api';
import { readSetting, writeSetting } from './storage';

export type Theme = 'system' | 'light' | 'dark';
export type Preset = 'fast' | 'balanced' | 'best' | 'custom';
export type CanvasLook = 'text' | 'grid';

function kept<T>(name: string, otherwise: T, check: (value: unknown) => value is T): Signal<T> {
  const stored = readSetting(name);
  const one = signal<T>(check(stored) ? stored : otherwise);
  effect(() => writeSetting(name, one.value));
  return one;
}

const isText = (value: unknown): value is string => typeof value === 'string';
const isSwitch = (value: unknown): value is boolean => typeof value === 'boolean';
const isAmong =
  <T extends string>(...names: T[]) =>
  (value: unknown): value is T =>
    names.includes(value as T);
const isKnobs = (value: unknown): value is Partial<Knobs> =>
  typeof value === 'object' && value !== null && Object.values(value).every((knob) => typeof knob === 'number');

export const theme = kept<Theme>('theme', 'system', isAmong<Theme>('system', 'light', 'dark'));
export const look = kept<CanvasLook>('look', 'text', isAmong<CanvasLook>('text', 'grid'));
export const heat = kept('heat', true, isSwitch);
export const everyStep = kept('everyStep', true, isSwitch);
export const singleKeys = kept('singleKeys', true, isSwitch);
export const key = kept('key', '', isText);
export const system = kept('system', '', isText);
export const thinking = kept('thinking', false, isSwitch);
export const model = kept('model', '', isText);
export const seed = kept('seed', '', isText);
export const maxTokens = kept('maxTokens', '', isText);
export const preset = kept<Preset>('preset', 'balanced', isAmong<Preset>('fast', 'balanced', 'best', 'custom'));
export const custom = kept<Partial<Knobs>>('custom', {}, isKnobs);

/** What the checkpoint's authors recommend, used until the server says what its model's are. */
export const kDefaults: Knobs = {
  steps: 48,
  entropy_bound: 0.1,
  t_max: 0.8,
  t_min: 0.4,
  stability: 1,
  confidence: 0.005,
};

const kPresets: Record<Exclude<Preset, 'custom'>, Partial<Knobs>> = {
  fast: { steps: 16, entropy_bound: 0.3 },
  balanced: {},
  best: { steps: 64, entropy_bound: 0.05, t_min: 0.3, stability: 2 },
};

export const kRanges: Record<keyof Knobs, { low: number; high: number; step: number; name: string; about: string }> = {
  steps: { low: 1, high: 4096, step: 1, name: 'Steps', about: 'denoising steps a canvas, at most' },
  entropy_bound: { low: 0.000001, high: 1000, step: 0.01, name: 'Entropy bound', about: 'nats that a step may accept' },
  t_max: { low: 0.000001, high: 100, step: 0.05, name: 'Temperature, first', about: 'of a canvas’s first step' },
  t_min: { low: 0, high: 100, step: 0.05, name: 'Temperature, last', about: 'towards which it falls' },
  stability: { low: 0, high: 4096, step: 1, name: 'Stability', about: 'equal drafts before a canvas may end early' },
  confidence: { low: 0, high: 100, step: 0.001, name: 'Confidence', about: 'mean entropy to end early; 0 never' },
};

/** Knobs that a preset stands for with this server. */
export function knobsOf(which: Preset, facts: Facts | null): Knobs {
  const chosen = which === 'custom' ? custom.value : (facts?.presets[which] ?? kPresets[which]);
  return { ...kDefaults, ...facts?.defaults, ...chosen };
}

/** Knobs to be sent: those that differ from what the server would take anyway. */
export function knobsToSend(facts: Facts | null): Partial<Knobs> {
  const wanted = knobsOf(preset.value, facts);
  const defaults = { ...kDefaults, ...facts?.defaults };
  const sent: Partial<Knobs> = {};
  for (const name of kKnobNames) {
    if (wanted[name] !== defaults[name]) sent[name] = wanted[name];
  }
  return sent;
}

/** A whole number of at least `low` that was typed, or nothing. */
export function wholeNumber(text: string, low: number): number | undefined {
  const value = Number(text);
  return text.trim() !== '' && Number.isSafeInteger(value) && value >= low ? value : undefined;
}

const darkQuery = matchMedia('(prefers-color-scheme: dark)');
const stillQuery = matchMedia('(prefers-reduced-motion: reduce)');

/** The user asked the system for less motion: no drafts are drawn while an answer forms. */
export const still = signal(stillQuery.matches);
stillQuery.addEventListener('change', () => (still.value = stillQuery.matches));

const systemIsDark = signal(darkQuery.matches);
darkQuery.addEventListener('change', () => (systemIsDark.value = darkQuery.matches));

export function isDark(): boolean {
  return theme.value === 'dark' || (theme.value === 'system' && systemIsDark.value);
}

effect(() => {
  if (theme.value === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme.value;
});
