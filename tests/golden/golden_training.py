"""The recorded training example: both losses and the gradient of every stored tensor. Called by make_golden.py."""

from __future__ import annotations

import copy
import pathlib
from typing import Any

import torch
import torch.nn.functional as F
from golden_record import Record, decode, empty_cache, encode, next_token_logits
from safetensors import safe_open

PROMPT, CANVAS_INDEX, NOISE = 9, 1, 0.6


def record_training(model: Any, folder: pathlib.Path, seed: int) -> None:
    """A prompt and two canvases; the second is noised, and self-conditioned on a first pass without gradient."""
    canvas, vocabulary = model.config.canvas_length, model.config.text_config.vocab_size
    source = torch.Generator().manual_seed(seed + 9)
    clean = torch.randint(3, 140, (1, PROMPT + 2 * canvas), generator=source)
    begin = PROMPT + CANVAS_INDEX * canvas
    target = clean[:, begin : begin + canvas]
    noisy, replaced = target.clone(), torch.rand(1, canvas, generator=source) < NOISE
    noisy[replaced] = torch.randint(0, vocabulary, (int(replaced.sum()),), generator=source)

    model.zero_grad()
    output = encode(model, clean, empty_cache(model))
    next_token = next_token_logits(model, output.last_hidden_state)
    ar_loss = F.cross_entropy(next_token[0, :-1], clean[0, 1:])
    cache = empty_cache(model)  # the pass is causal: the same keys and values as above, cut before the canvas
    encode(model, clean[:, :begin], cache)
    with torch.no_grad():
        first = decode(model, noisy, cache)
    second = decode(model, noisy, cache, signal=first.to(model.dtype))
    diffusion_loss = F.cross_entropy(second[0], target[0])
    (ar_loss + diffusion_loss).backward()

    record = Record()
    record.put_all(clean=clean, noisy=noisy, first_logits=first, second_logits=second)
    record.put_all(prompt_length=torch.tensor([PROMPT]), canvas_index=torch.tensor([CANVAS_INDEX]))
    record.put_all(ar_loss=ar_loss[None], diffusion_loss=diffusion_loss[None])
    stored = set(safe_open(str(folder.parent / "model.safetensors"), "pt").keys())
    gradients = {
        name: weight.grad.clone()
        for name, weight in model.named_parameters(remove_duplicate=False)
        if weight.grad is not None and name in stored
    }
    widened = gradients_in_float64(model, clean, noisy, first, begin)
    for name, gradient in gradients.items():
        record.put(f"grad.{name}", gradient)
        record.put(f"rounding.{name}", (gradient.double() - widened[name]).abs().max().float()[None])
    record.save(folder / "training.safetensors")


def gradients_in_float64(model: Any, clean: Any, noisy: Any, first: Any, begin: int) -> dict[str, Any]:
    """The same gradients with the model in float64: how far they part is what float32 arithmetic does to them."""
    wide = copy.deepcopy(model).double()
    wide.zero_grad()
    canvas = wide.config.canvas_length
    output = encode(wide, clean, empty_cache(wide))
    ar_loss = F.cross_entropy(next_token_logits(wide, output.last_hidden_state)[0, :-1], clean[0, 1:])
    cache = empty_cache(wide)
    encode(wide, clean[:, :begin], cache)
    second = decode(wide, noisy, cache, signal=first.double())
    (ar_loss + F.cross_entropy(second[0], clean[0, begin : begin + canvas])).backward()
    return {name: weight.grad for name, weight in wide.named_parameters(remove_duplicate=False) if weight.grad is not None}
