#!/usr/bin/env python3
"""Time Hugging Face Transformers on a DiffusionGemma checkpoint, on the CPU.

Two things are timed apart from each other:

* a denoise step: one call of `_denoising_step` (decoder pass and sampling) inside `generate`, with the stop rule kept
  from firing so that every canvas takes exactly --steps steps;
* prefill: one encoder pass over a prompt into an empty cache, with the masks that `generate` builds.

Both implementations of the experts (`eager` and `grouped_mm`) run, each in its own process so that peak memory is
its own; the best of the two is reported for every figure, with its name.

    python3 bench/bench_transformers.py CKPT [--dtype bfloat16] [--steps 16] [--prompt 128] [--threads 2] [--json]

Needs torch and transformers 5.23. Run it on an otherwise idle machine and repeat: the least time is the figure.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

IMPLEMENTATIONS = ("eager", "grouped_mm")
MS = 1000.0


def time_steps(model: Any, steps: int, prompt: int) -> list[float]:
    """Milliseconds of every denoise step of one canvas after `prompt` random tokens (two warm-up steps before)."""
    import torch

    kind = type(model)
    real = kind._denoising_step
    times: list[float] = []

    def timed(self: Any, *args: Any, **keywords: Any) -> Any:
        start = time.perf_counter()
        result = real(self, *args, **keywords)
        times.append((time.perf_counter() - start) * MS)
        return result

    vocabulary = model.config.text_config.vocab_size
    ids = torch.randint(3, vocabulary, (1, prompt), generator=torch.Generator().manual_seed(1))
    # A tiny confidence threshold forces the steps; a large stability threshold would be slow in Transformers itself.
    options = {"confidence_threshold": 1e-30, "eos_token_id": None, "pad_token_id": 0}
    options["max_new_tokens"] = model.config.canvas_length
    kind._denoising_step = timed
    try:
        model.generate(ids, max_denoising_steps=2, **options)
        times.clear()
        model.generate(ids, max_denoising_steps=steps, **options)
    finally:
        kind._denoising_step = real
    return times


def time_prefill(model: Any, tokens: int, repeats: int) -> list[float]:
    """Milliseconds of encoder passes over `tokens` random tokens, each into an empty cache (after a warm-up pass)."""
    import torch
    from transformers.cache_utils import DynamicCache

    vocabulary = model.config.text_config.vocab_size
    ids = torch.randint(3, vocabulary, (1, tokens), generator=torch.Generator().manual_seed(2))
    positions = torch.arange(tokens, dtype=torch.int32)[None]
    times: list[float] = []
    for _ in range(repeats + 1):
        cache = DynamicCache(config=model.config.get_text_config(decoder=True))
        start = time.perf_counter()
        masks = model.model.encoder.create_masks_for_generate(
            config=model.config,
            inputs_embeds=torch.empty(1, tokens, 0, dtype=model.dtype),
            attention_mask=torch.ones(1, tokens, dtype=torch.bool),
            past_key_values=cache,
            position_ids=positions,
        )
        model.model.encoder(input_ids=ids, attention_mask=masks, past_key_values=cache, position_ids=positions)
        times.append((time.perf_counter() - start) * MS)
    return times[1:]


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Load the checkpoint with one experts implementation and time it in this process."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    import transformers

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    model = transformers.DiffusionGemmaForBlockDiffusion.from_pretrained(
        arguments.checkpoint, dtype=getattr(torch, arguments.dtype), experts_implementation=arguments.experts
    ).eval()
    with torch.no_grad():
        steps: list[float] = []
        for _ in range(arguments.repeats):
            steps += time_steps(model, arguments.steps, arguments.prompt)
        prefill = [(tokens, time_prefill(model, tokens, arguments.repeats)) for tokens in arguments.prefill]
    return {
        "experts": arguments.experts,
        "dtype": arguments.dtype,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "ms_per_step": min(steps),
        "ms_per_step_median": statistics.median(steps),
        "prefill": [{"tokens": tokens, "ms": min(times)} for tokens, times in prefill],
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def best_of(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Take the least figure over the implementations for the step and for every prefill length."""
    step = min(runs, key=lambda run: run["ms_per_step"])
    kept = ("dtype", "threads", "torch", "transformers", "ms_per_step", "ms_per_step_median")
    best = {key: step[key] for key in kept}
    best["ms_per_step_experts"] = step["experts"]
    best["peak_rss_bytes"] = step["peak_rss_bytes"]
    best["prefill"] = []
    for index, entry in enumerate(step["prefill"]):
        run = min(runs, key=lambda candidate: candidate["prefill"][index]["ms"])
        milliseconds = run["prefill"][index]["ms"]
        best["prefill"].append(
            {
                "tokens": entry["tokens"],
                "ms": milliseconds,
                "tokens_per_second": entry["tokens"] / milliseconds * MS,
                "experts": run["experts"],
            }
        )
    best["runs"] = runs
    return best


def run_apart(arguments: argparse.Namespace, experts: str) -> dict[str, Any]:
    """Time one implementation in a process of its own."""
    command = [sys.executable, str(pathlib.Path(__file__).resolve()), str(arguments.checkpoint)]
    command += ["--experts", experts, "--dtype", arguments.dtype, "--steps", str(arguments.steps)]
    command += ["--prompt", str(arguments.prompt), "--threads", str(arguments.threads)]
    command += ["--repeats", str(arguments.repeats), "--prefill", *map(str, arguments.prefill), "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def describe(result: dict[str, Any]) -> str:
    """The result as a few readable lines."""
    lines = ["transformers {transformers}, torch {torch}, {dtype}, {threads} threads".format_map(result)]
    for run in result["runs"]:
        lines.append(
            f"  {run['experts']}: {run['ms_per_step']:.1f} ms/step (median {run['ms_per_step_median']:.1f}), "
            f"peak memory {run['peak_rss_bytes'] / 2**20:.0f} MiB"
        )
    lines.append(f"best step: {result['ms_per_step']:.1f} ms ({result['ms_per_step_experts']})")
    for entry in result["prefill"]:
        lines.append(
            f"best prefill {entry['tokens']} tokens: {entry['ms']:.1f} ms = {entry['tokens_per_second']:.0f} tok/s "
            f"({entry['experts']})"
        )
    return "\n".join(lines)


def main() -> None:
    """Read the command line, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=pathlib.Path)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--experts", choices=(*IMPLEMENTATIONS, "both"), default="both")
    parser.add_argument("--steps", type=int, default=16, help="denoise steps of the timed canvas")
    parser.add_argument("--prompt", type=int, default=128, help="tokens in the cache while steps are timed")
    parser.add_argument("--prefill", type=int, nargs="*", default=[128, 512, 2048], help="prompt lengths to time")
    parser.add_argument("--repeats", type=int, default=2, help="timed canvases and timed passes per prompt length")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.experts != "both":
        print(json.dumps(measure(arguments)))
        return
    result = best_of([run_apart(arguments, experts) for experts in IMPLEMENTATIONS])
    print(json.dumps(result) if arguments.json else describe(result))


if __name__ == "__main__":
    main()
