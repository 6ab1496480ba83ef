#!/usr/bin/env python3
"""Record 20 optimiser steps of Transformers and torch.optim.AdamW on the small model `alternating` in float32.

    python3 make_training_curve.py [OUT]    write alternating-f32/golden/curve.safetensors below OUT (default: this folder)

Two examples a step, one canvas each, self-conditioning for some, both losses, clipping, decay of matrices, cosine rate with
warm-up. README.md beside this script names the tensors. Needs torch (CPU) and transformers 5.23, about half a minute.
"""

from __future__ import annotations

import argparse
import math
import pathlib
from collections.abc import Callable

import torch
import torch.nn.functional as F
import transformers
from golden_record import Record, decode, empty_cache, encode, next_token_logits

HERE = pathlib.Path(__file__).resolve().parent
STEPS, BATCH, PROMPT, CANVASES = 20, 2, 9, 2
PEAK, END, WARMUP, CLIP, DECAY, BETAS, EPS = 3e-4, 0.1, 3, 1.0, 0.1, (0.9, 0.95), 1e-3


def rate(step: int) -> float:
    if step < WARMUP:
        return PEAK * (step + 1) / WARMUP
    done = (step - WARMUP) / (STEPS - 1 - WARMUP)
    return PEAK * (END + (1 - END) * 0.5 * (1 + math.cos(math.pi * done)))


def losses_of(model, clean, noisy, canvas: int, self_condition: bool):
    length = model.config.canvas_length
    begin = PROMPT + canvas * length
    output = encode(model, clean, empty_cache(model))
    ar = F.cross_entropy(next_token_logits(model, output.last_hidden_state)[0, :-1], clean[0, 1:])
    cache = empty_cache(model)
    encode(model, clean[:, :begin], cache)
    signal = None
    if self_condition:
        with torch.no_grad():
            first_cache = empty_cache(model)
            encode(model, clean[:, :begin], first_cache)
            signal = decode(model, noisy, first_cache).to(model.dtype)
    logits = decode(model, noisy, cache, signal=signal) if self_condition else decode(model, noisy, cache)
    return F.cross_entropy(logits[0], clean[0, begin : begin + length]), ar


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("out", type=pathlib.Path, nargs="?", default=HERE)
    out = arguments.parse_args().out / "alternating-f32" / "golden"
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    record = Record()
    for dtype in (torch.float32, torch.float64):  # how far the two part is the size of rounding errors after so many steps
        draws, curve = run(dtype)
        suffix = "" if dtype == torch.float32 else "_f64"
        record.put_all(**{name + suffix: torch.tensor(values, dtype=torch.float32) for name, values in curve.items()})
        print("\n".join(f"{s} {d:.6f} {n:.6f} {g:.4f}" for s, (d, n, g) in enumerate(zip(*curve.values()))))
    record.put_all(**draws)
    record.save(out / "curve.safetensors")


def run(dtype: torch.dtype, adapt: Callable[[torch.nn.Module], torch.nn.Module] = lambda model: model):
    """The draws, and the losses and gradient norms of every step. `adapt` freezes the model and gives it an adapter."""
    model = transformers.DiffusionGemmaForBlockDiffusion.from_pretrained(
        HERE / "alternating-f32", dtype=dtype, attn_implementation="eager"
    )
    model.set_experts_implementation("eager")
    model = adapt(model)
    length, vocabulary = model.config.canvas_length, model.config.text_config.vocab_size
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.dim() > 1]
    vectors = [p for p in trained if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": DECAY}, {"params": vectors, "weight_decay": 0.0}], lr=PEAK, betas=BETAS, eps=EPS
    )
    source = torch.Generator().manual_seed(31)
    shape = (STEPS, BATCH, PROMPT + CANVASES * length)
    # A few tokens only, so that 20 steps teach something.
    clean = torch.randint(3, 12, shape, generator=source)
    canvas = torch.randint(0, CANVASES, (STEPS, BATCH), generator=source)
    level = torch.rand(STEPS, BATCH, generator=source)
    self_condition = torch.rand(STEPS, BATCH, generator=source) < 0.5
    noisy = torch.zeros(STEPS, BATCH, length, dtype=torch.long)
    curve = {"diffusion": [], "next_token": [], "norm": []}
    for step in range(STEPS):
        sums = [0.0, 0.0]
        optimizer.zero_grad()
        for example in range(BATCH):
            begin = PROMPT + int(canvas[step, example]) * length
            ids = clean[step, example, begin : begin + length].clone()
            hit = torch.rand(length, generator=source) < level[step, example]
            ids[hit] = torch.randint(0, vocabulary, (int(hit.sum()),), generator=source)
            noisy[step, example] = ids
            diffusion, ar = losses_of(
                model, clean[step, example][None], ids[None], int(canvas[step, example]), bool(self_condition[step, example])
            )
            ((diffusion + ar) / BATCH).backward()
            sums[0] += float(diffusion.detach()) / BATCH
            sums[1] += float(ar.detach()) / BATCH
        norm = torch.nn.utils.clip_grad_norm_(trained, CLIP)
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        optimizer.step()
        curve["diffusion"].append(sums[0])
        curve["next_token"].append(sums[1])
        curve["norm"].append(float(norm))
    return dict(clean=clean, canvas=canvas, self_condition=self_condition.long(), noisy=noisy), curve


if __name__ == "__main__":
    main()
