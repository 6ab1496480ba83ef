"""What is written down and how: tensors by name, taps on submodules, and single passes as `generate` runs them.

Called by golden_cases.py, golden_generate.py and golden_training.py.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import torch
from safetensors.torch import save_file
from transformers.cache_utils import DynamicCache

STAGES = {
    "input_layernorm": "attn_in",
    "self_attn.q_proj": "q_raw",
    "self_attn.k_proj": "k_raw",
    "self_attn.q_norm": "q_norm",
    "self_attn.k_norm": "k_norm",
    "self_attn.v_norm": "v_norm",
    "self_attn.o_proj": "attn_out",
    "mlp": "dense_out",
    "router": "router",
    "experts": "experts_out",
    "post_feedforward_layernorm": "ffn_out",
}


class Record(dict[str, torch.Tensor]):
    """Named tensors of one case. Integers are kept as int64, masks as uint8, everything else as float32."""

    def put(self, name: str, value: torch.Tensor) -> None:
        """Keep a copy of `value` under `name`; widening bfloat16 to float32 loses nothing."""
        value = value.detach()
        if value.dtype == torch.bool:
            value = value.to(torch.uint8)
        elif value.dtype.is_floating_point:
            value = value.to(torch.float32)
        else:
            value = value.to(torch.int64)
        self[name] = value.contiguous().clone()

    def put_all(self, **values: torch.Tensor) -> None:
        """`put` for several tensors."""
        for name, value in values.items():
            self.put(name, value)

    def put_cache(self, prefix: str, cache: DynamicCache) -> None:
        """Keys and values of every layer, `[rows, kv heads, kept tokens, head]`."""
        for number, layer in enumerate(cache.layers):
            self.put(f"{prefix}cache.{number}.k", layer.keys)
            self.put(f"{prefix}cache.{number}.v", layer.values)

    def save(self, path: pathlib.Path) -> None:
        """Write the file."""
        save_file(dict(self), str(path))


class Tap:
    """While active, records what the named submodules of `root` return."""

    def __init__(self, record: Record, prefix: str, root: torch.nn.Module, names: dict[str, str]) -> None:
        """`names` maps a submodule's path to the name it gets in the recording."""
        self._record, self._prefix, self._root, self._names = record, prefix, root, names
        self._hooks: list[Any] = []

    def __enter__(self) -> Tap:
        for path, module in self._root.named_modules():
            if path in self._names:
                self._hooks.append(module.register_forward_hook(self._writer(self._prefix + self._names[path])))
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _writer(self, key: str) -> Callable[..., None]:
        def write(_module: torch.nn.Module, _arguments: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor):
                self._record.put(key, output)
            elif len(output) == 1:
                self._record.put(key, output[0])
            else:
                for number, part in enumerate(output):
                    if isinstance(part, torch.Tensor):
                        self._record.put(f"{key}.{number}", part)

        return write


def text_taps(layers: int) -> dict[str, str]:
    """Names for Tap on the text stack: embedding, decoder input, every stage of every layer, final norm."""
    names = {"norm": "final_norm", "self_conditioning": "x0", "embed_tokens": "embed"}
    for layer in range(layers):
        names[f"layers.{layer}"] = f"layer.{layer}"
        for path, stage in STAGES.items():
            names[f"layers.{layer}.{path}"] = f"layer.{layer}.{stage}"
    return names


def empty_cache(model: Any) -> DynamicCache:
    """A cache as `generate` creates it."""
    return DynamicCache(config=model.config.get_text_config(decoder=True))


def encode(model: Any, ids: torch.Tensor, cache: DynamicCache, mask: torch.Tensor | None = None, **image: Any) -> Any:
    """One encoder pass over `ids` behind what `cache` holds, with the masks and positions that `generate` would use."""
    rows, count = ids.shape
    start = cache.get_seq_length()
    positions = torch.arange(start, start + count, dtype=torch.int32)[None]
    masks = model.model.encoder.create_masks_for_generate(
        config=model.config,
        inputs_embeds=torch.empty(rows, count, 0, dtype=model.dtype),
        attention_mask=torch.ones(rows, start + count, dtype=torch.bool) if mask is None else mask,
        past_key_values=cache,
        position_ids=positions,
        **{key: value for key, value in image.items() if key == "mm_token_type_ids"},
    )
    return model.model.encoder(
        input_ids=ids, attention_mask=masks, past_key_values=cache, position_ids=positions, **image
    )


def decode(
    model: Any,
    canvas: torch.Tensor,
    cache: DynamicCache,
    mask: torch.Tensor | None = None,
    signal: torch.Tensor | None = None,
    signal_rows: torch.Tensor | None = None,
) -> torch.Tensor:
    """Logits of a decoder pass over `canvas`; `signal`: self-conditioning logits, for `signal_rows` only if given."""
    start = cache.get_seq_length()
    return model(
        decoder_input_ids=canvas,
        past_key_values=cache,
        decoder_position_ids=torch.arange(start, start + canvas.shape[1], dtype=torch.int32)[None],
        decoder_attention_mask=mask,
        self_conditioning_logits=signal,
        self_conditioning_mask=signal_rows,
    ).logits


def next_token_logits(model: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Encoder-mode logits of the final hidden states: head, then softcap in float32."""
    cap = model.config.text_config.final_logit_softcapping
    return torch.tanh(model.lm_head(hidden).float() / cap) * cap
