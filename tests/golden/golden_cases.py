"""The recorded cases that are single passes or rules: encoder, decoder, batch, rotary, image, sampler, next token.

Called by make_golden.py. Generation is in golden_generate.py, training in golden_training.py.
"""

from __future__ import annotations

import pathlib
from typing import Any

import torch
import torch.nn.functional as F
from golden_model import IMAGE_ID, Inputs
from golden_record import Record, Tap, decode, empty_cache, encode, next_token_logits, text_taps
from transformers.models.diffusion_gemma import generation_diffusion_gemma as library

AUTOREGRESSIVE_TOKENS = 24


def record_encoder(model: Any, inputs: Inputs, folder: pathlib.Path) -> None:
    """A prompt longer than two windows in one call, and again in two calls."""
    record, cache = Record(ids=inputs.prompt), empty_cache(model)
    stack = model.model.encoder.language_model
    with Tap(record, "", stack, text_taps(model.config.text_config.num_hidden_layers)):
        output = encode(model, inputs.prompt, cache)
    record.put_cache("", cache)
    record.put("ar_logits", next_token_logits(model, output.last_hidden_state))
    record.save(folder / "encoder.safetensors")

    cut, cache = model.config.text_config.sliding_window + 5, empty_cache(model)
    record = Record(ids=inputs.prompt, cut=torch.tensor([cut]))
    encode(model, inputs.prompt[:, :cut], cache)
    encode(model, inputs.prompt[:, cut:], cache)
    record.put_cache("", cache)
    record.save(folder / "encoder_chunked.safetensors")


def record_decoder(model: Any, inputs: Inputs, folder: pathlib.Path) -> None:
    """A canvas after the prompt: without self-conditioning, then with the first pass' logits at temperature 0.8."""
    cache = empty_cache(model)
    encode(model, inputs.prompt, cache)
    record = Record(ids=inputs.prompt, canvas=inputs.canvas)
    taps = text_taps(model.config.text_config.num_hidden_layers)
    with Tap(record, "first.", model.model.decoder, taps):
        first = decode(model, inputs.canvas, cache)
    signal = (first / 0.8).to(model.dtype)
    with Tap(record, "second.", model.model.decoder, taps):
        second = decode(model, inputs.canvas, cache, signal=signal)
    record.put("first.logits", first)
    record.put("second.self_conditioning_logits", signal)
    record.put("second.logits", second)
    record.save(folder / "decoder.safetensors")


def record_padded_batch(model: Any, inputs: Inputs, folder: pathlib.Path) -> None:
    """Two rows, row 1 padded on the left by five; then once more with self-conditioning for row 0 only."""
    mask = torch.ones_like(inputs.pair, dtype=torch.bool)
    mask[1, :5] = False
    with_canvas = F.pad(mask, (0, model.config.canvas_length), value=True)
    cache = empty_cache(model)
    encode(model, inputs.pair, cache, mask)
    logits = decode(model, inputs.pair_canvas, cache, with_canvas)
    signal = (logits / 0.8).to(model.dtype)
    conditioned = decode(model, inputs.pair_canvas, cache, with_canvas, signal, torch.tensor([True, False]))
    record = Record()
    record.put_all(ids=inputs.pair, mask=mask, canvas=inputs.pair_canvas, logits=logits)
    record.put("conditioned_row0_logits", conditioned)
    record.save(folder / "padded_batch.safetensors")


def record_rotary(model: Any, _: Inputs, folder: pathlib.Path) -> None:
    """Rotary tables of both kinds of layer."""
    positions = torch.tensor([[0, 1, 7, 255, 1000]])
    record = Record(positions=positions)
    for kind in ("sliding_attention", "full_attention"):
        cosine, sine = model.model.decoder.rotary_emb(torch.zeros(1, 1, 1, dtype=model.dtype), positions, kind)
        record.put(f"{kind}.cos", cosine)
        record.put(f"{kind}.sin", sine)
    record.save(folder / "rotary.safetensors")


def record_image(model: Any, inputs: Inputs, folder: pathlib.Path) -> None:
    """Two padded pictures through the vision tower, and a prompt with both, with `generate`'s masks and without."""
    encoder, positions = model.model.encoder, inputs.patch_positions()
    pixels = inputs.pixels.to(model.dtype)
    types = (inputs.image_prompt == IMAGE_ID).long()
    record = Record(ids=inputs.image_prompt, types=types, image_position_ids=positions, pixel_values=inputs.pixels)
    taps = {"patch_embedder": "patches", "encoder.layers.0": "layer.0", "encoder.layers.1": "layer.1"}
    with Tap(record, "vision.", encoder.vision_tower, taps):
        features = encoder.get_image_features(pixels, positions)
    record.put("vision.tokens", features.pooler_output)
    images = {"pixel_values": pixels, "image_position_ids": positions}
    masked, causal = empty_cache(model), empty_cache(model)
    encode(model, inputs.image_prompt, masked, **images, mm_token_type_ids=types)
    encoder(input_ids=inputs.image_prompt, past_key_values=causal, **images)
    record.put_cache("generate_mask.", masked)
    record.put_cache("causal_mask.", causal)
    record.save(folder / "image.safetensors")


def record_sampler(model: Any, inputs: Inputs, folder: pathlib.Path) -> None:
    """Acceptance, entropy and the stop rule on made-up logits and canvases."""
    logits, size = inputs.sampler_logits, model.config.text_config.vocab_size
    rule = library.EntropyBoundSampler(
        library.EntropyBoundSamplerConfig(entropy_bound=0.1), model.config.canvas_length, size, 8
    )
    accepted = rule.accept_canvas(inputs.sampler_current, inputs.sampler_denoiser, logits, 1)
    record = Record()
    record.put_all(logits=logits, current=inputs.sampler_current, denoiser=inputs.sampler_denoiser)
    record.put_all(accepted_canvas=accepted, accepted_mask=rule.accepted_token_mask)
    record.put("entropy", torch.distributions.Categorical(logits=logits).entropy())
    record.put("stop.sequence", inputs.stop_sequence)
    for threshold in (0, 1, 2):
        stop = library.StableAndConfidentStoppingCriteria(threshold, 0.5)
        record.put(f"stop.{threshold}", torch.stack([stop(canvas, logits) for canvas in inputs.stop_sequence]))
    record.save(folder / "sampler.safetensors")


def record_autoregressive(model: Any, inputs: Inputs, folder: pathlib.Path) -> None:
    """Greedy next-token decoding in encoder mode: the prompt, then one token a pass behind the cache."""
    cache, record = empty_cache(model), Record(prompt=inputs.autoregressive_prompt)
    pending, tokens, rows = inputs.autoregressive_prompt, [], []
    for _ in range(AUTOREGRESSIVE_TOKENS):
        output = encode(model, pending, cache)
        rows.append(next_token_logits(model, output.last_hidden_state[:, -1]))
        pending = rows[-1].argmax(-1, keepdim=True)
        tokens.append(pending)
    logits = torch.stack(rows, dim=1)
    best = logits.topk(2, dim=-1).values
    record.put_all(tokens=torch.cat(tokens, dim=1), logits=logits, margins=best[..., 0] - best[..., 1])
    record.save(folder / "autoregressive.safetensors")


PASSES = (
    record_encoder,
    record_decoder,
    record_padded_batch,
    record_rotary,
    record_image,
    record_sampler,
    record_autoregressive,
)
