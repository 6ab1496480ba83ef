"""Runs Transformers' `generate` with random numbers of our own and writes down every draw and every result.

Called by make_golden.py. The sampling rule of the recordings: u is uniform in [0, 1) per canvas position; the sampled
id is the first whose cumulative probability, in float64, exceeds u times the total.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from golden_model import Inputs
from golden_record import Record
from transformers.models.diffusion_gemma import generation_diffusion_gemma as library

_torch_randint = torch.randint


class InjectedRandomness:
    """Replaces torch.randint and torch.multinomial inside `generate`, and knows the canvas and step it is at."""

    def __init__(self, seed: int, record: Record) -> None:
        self._source = torch.Generator().manual_seed(seed)
        self._record = record
        self._canvas, self._steps = -1, 0

    def key(self, name: str) -> str:
        """Full name of a tensor of the step that runs now."""
        return f"canvas.{self._canvas}.step.{self._steps - 1}.{name}"

    def begin_canvas(self) -> None:
        """The next integers drawn are the start of a canvas."""
        self._canvas += 1
        self._steps = 0

    def randint(self, low: int, high: int, size: Any, **_: Any) -> torch.Tensor:
        """Stands in for torch.randint: the start canvas, or new noise at the end of a step."""
        ids = _torch_randint(low, high, size, generator=self._source)
        self._record.put(self.key("renoise") if self._steps else f"canvas.{self._canvas}.init", ids)
        return ids

    def multinomial(self, probabilities: torch.Tensor, num_samples: int) -> torch.Tensor:
        """Stands in for torch.multinomial with one sample per row."""
        assert num_samples == 1
        self._steps += 1
        u = torch.rand(probabilities.shape[0], generator=self._source, dtype=torch.float64)
        cumulative = probabilities.double().cumsum(-1)
        ids = (cumulative > u[:, None] * cumulative[:, -1:]).float().argmax(-1, keepdim=True)
        self._record.put(self.key("uniform"), u)
        self._record.put(self.key("sampled"), ids[:, 0])
        return ids


@contextlib.contextmanager
def _watched(model: Any, record: Record, draws: InjectedRandomness) -> Iterator[None]:
    """Patches Transformers so that the block inside it uses `draws` and leaves its intermediate results in `record`."""
    kind, decoder = type(model), model.model.decoder
    prepare, step = kind._prepare_denoiser_inputs, kind._denoising_step
    accept, make_mask = library.EntropyBoundSampler.accept_canvas, decoder.create_diffusion_decoder_attention_mask

    def watched_prepare(self: Any, *args: Any, **keywords: Any) -> Any:
        draws.begin_canvas()
        return prepare(self, *args, **keywords)

    def watched_step(self: Any, *args: Any, **keywords: Any) -> Any:
        result = step(self, *args, **keywords)
        for name, value in zip(("current", "argmax", "self_conditioning_logits", "frozen"), result, strict=True):
            record.put(draws.key(name), value)
        return result

    def watched_accept(self: Any, current: Any, denoiser: Any, logits: torch.Tensor, cur_step: Any) -> Any:
        result = accept(self, current, denoiser, logits, cur_step)
        record.put(draws.key("logits"), logits)
        record.put(draws.key("entropy"), torch.distributions.Categorical(logits=logits).entropy())
        record.put(draws.key("accepted"), self.accepted_token_mask)
        return result

    def mask_of_right_type(inputs_embeds: torch.Tensor, **keywords: Any) -> Any:
        # For a padded batch Transformers 5.23 hands token ids in here and its eager path then wants a float dtype.
        shape = inputs_embeds.shape[:2]
        return make_mask(inputs_embeds=torch.empty(*shape, 0, dtype=model.dtype), **keywords)

    with contextlib.ExitStack() as patches:
        for owner, name, replacement in (
            (torch, "randint", draws.randint),
            (torch, "multinomial", draws.multinomial),
            (kind, "_prepare_denoiser_inputs", watched_prepare),
            (kind, "_denoising_step", watched_step),
            (library.EntropyBoundSampler, "accept_canvas", watched_accept),
            (decoder, "create_diffusion_decoder_attention_mask", mask_of_right_type),
        ):
            patches.enter_context(mock.patch.object(owner, name, replacement))
        yield


def _run(model: Any, record: Record, prompt: torch.Tensor, seed: int, **options: Any) -> Any:
    """One recorded call of `generate`."""
    with _watched(model, record, InjectedRandomness(seed, record)):
        result = model.generate(prompt, **options)
    record.put_all(prompt=prompt, sequences=result.sequences, tokens_per_forward=result.tokens_per_forward)
    if "attention_mask" in options:
        record.put("attention_mask", options["attention_mask"])
    return result


def _options(settings: dict[str, Any], canvas: int) -> dict[str, Any]:
    """What the JSON file beside a recording says, as arguments of `generate`."""
    named = ("max_denoising_steps", "t_min", "t_max", "stability_threshold", "confidence_threshold", "pad_token_id")
    return {
        **{name: settings[name] for name in named if name in settings},
        "max_new_tokens": settings["canvases"] * canvas,
        "eos_token_id": settings["eos_token_id"] or None,
        "sampler_config": library.EntropyBoundSamplerConfig(entropy_bound=settings["entropy_bound"]),
    }


def _write(folder: pathlib.Path, case: str, record: Record, settings: dict[str, Any]) -> None:
    (folder / f"{case}.json").write_text(json.dumps(settings, indent=1) + "\n")
    record.save(folder / f"{case}.safetensors")


_SINGLE = {
    "max_denoising_steps": 5,
    "t_min": 0.4,
    "t_max": 0.8,
    "canvases": 3,
    "stability_threshold": 1,
    "confidence_threshold": 0.005,
    "entropy_bound": 2.0,
    "eos_token_id": [],
}


_DECISIONS = re.compile(r"canvas\.\d+\.(init|step\.\d+\.(argmax|accepted|current|frozen))|sequences")


def _steady_seed(model: Any, seed: int, run: Callable[[Record, int], Any]) -> int:
    """The first seed from `seed` on, in steps of 1000, whose float32 run does not hang on rounding.

    These random models are chaotic: an error grows about fourfold with each step. A run in which Transformers' own
    implementations of attention and experts decide differently cannot test exactness, so such draws are passed over. bfloat16 runs are compared
    step by step instead and take `seed` as it is.
    """
    if model.dtype != torch.float32:
        return seed
    chosen = (model.config._attn_implementation, model.config._experts_implementation)

    def decisions(candidate: int, attention: str, experts: str) -> dict[str, torch.Tensor]:
        model.set_attn_implementation(attention)
        model.set_experts_implementation(experts)
        record = Record()
        run(record, candidate)
        return {name: value for name, value in record.items() if _DECISIONS.fullmatch(name)}

    try:
        for candidate in range(seed, seed + 400_000, 1000):
            first = decisions(candidate, "eager", "eager")
            for attention, experts in (("sdpa", "grouped_mm"), ("eager", "grouped_mm"), ("sdpa", "eager")):
                other = decisions(candidate, attention, experts)
                if first.keys() != other.keys() or not all(torch.equal(first[name], other[name]) for name in first):
                    break
            else:
                return candidate
    finally:
        model.set_attn_implementation(chosen[0])
        model.set_experts_implementation(chosen[1])
    raise RuntimeError("no steady draws found")


def record_generate(model: Any, inputs: Inputs, folder: pathlib.Path, seed: int) -> None:
    """One row, three canvases of five steps, no stop: the cache grows past two windows while it runs."""
    options = _options(_SINGLE, model.config.canvas_length)

    def run(record: Record, draws: int) -> Any:
        return _run(model, record, inputs.generate_prompt, draws, **options)

    record = Record()
    run(record, _steady_seed(model, seed + 2, run))
    _write(folder, "generate", record, _SINGLE)


def record_generate_batch(model: Any, inputs: Inputs, folder: pathlib.Path, seed: int) -> None:
    """Two rows, row 0 padded; each may stop at a step of its own; row 0 meets the stop token in its second canvas."""
    canvas, pair = model.config.canvas_length, inputs.generate_pair
    mask = torch.ones_like(pair, dtype=torch.bool)
    mask[0, :4] = False
    settings = {**_SINGLE, "max_denoising_steps": 5, "stability_threshold": 0}

    def attempt(record: Record, draws: int, changes: dict[str, Any]) -> Any:
        settings.update(changes)
        return _run(model, record, pair, draws, attention_mask=mask, **_options(settings, canvas))

    def whole(record: Record, draws: int) -> Any:
        # No stop at first; then a threshold just above the second-lowest of the first canvas' mean entropies lets rows stop,
        # but not all at once; then a stop token from the middle of row 0's second canvas.
        trial = Record()
        attempt(trial, draws, {"confidence_threshold": 0.005, "eos_token_id": []})
        means = sorted(float(trial[f"canvas.0.step.{step}.entropy"].mean(-1).min()) for step in range(1, 5))
        stopped = attempt(Record(), draws, {"confidence_threshold": means[1] + 1e-3})
        stop_id = int(stopped.sequences[0, pair.shape[1] + canvas + canvas // 2])
        return attempt(record, draws, {"eos_token_id": [stop_id], "pad_token_id": 0})

    record = Record()
    whole(record, _steady_seed(model, seed + 3, whole))
    _write(folder, "generate_batch", record, settings)


def record_generate_start(model: Any, inputs: Inputs, folder: pathlib.Path, seed: int) -> None:
    """One row, two canvases; the first starts from a given canvas, although its random start is drawn all the same."""
    settings = {**_SINGLE, "canvases": 2, "max_denoising_steps": 4}
    options = _options(settings, model.config.canvas_length)

    def run(record: Record, draws: int) -> Any:
        return _run(model, record, inputs.start_prompt, draws, decoder_input_ids=inputs.start_canvas, **options)

    record = Record()
    run(record, _steady_seed(model, seed + 4, run))
    record.put("start_canvas", inputs.start_canvas)
    _write(folder, "generate_start", record, settings)


RUNS = (record_generate, record_generate_batch, record_generate_start)
