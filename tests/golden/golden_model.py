"""The two small random DiffusionGemma models whose results are recorded, and the inputs they are given.

Called by make_golden.py. Every number here is part of the recordings: a change means recording everything again.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from transformers import DiffusionGemmaConfig, DiffusionGemmaForBlockDiffusion, DiffusionGemmaTextConfig
from transformers.models.gemma4 import Gemma4VisionConfig

IMAGE_ID, IMAGE_BEGIN_ID, IMAGE_END_ID = 150, 151, 152
PATCHES, REAL_PATCHES, PATCH_VALUES = 36, 18, 48

# Odd sizes on purpose: unequal heads, K reused as V on full layers, a window shorter than the prompts, top-k < experts.
SHAPES: dict[str, dict[str, Any]] = {
    "alternating": {
        "text": {
            "vocab_size": 160,
            "hidden_size": 48,
            "intermediate_size": 40,
            "num_hidden_layers": 4,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "global_head_dim": 32,
            "num_global_key_value_heads": 1,
            "num_experts": 8,
            "top_k_experts": 3,
            "moe_intermediate_size": 16,
            "sliding_window": 8,
        },
        "canvas": 6,
    },
    "fivetoone": {
        "text": {
            "vocab_size": 512,
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 6,
            "layer_types": ["sliding_attention"] * 5 + ["full_attention"],
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 16,
            "global_head_dim": 32,
            "num_global_key_value_heads": 2,
            "num_experts": 16,
            "top_k_experts": 4,
            "moe_intermediate_size": 24,
            "sliding_window": 16,
            "final_logit_softcapping": 12.0,  # low, so that the cap bends the logits
        },
        "canvas": 16,
    },
}


def build_model(name: str, dtype: torch.dtype, seed: int) -> DiffusionGemmaForBlockDiffusion:
    """One model of SHAPES with random weights; the bfloat16 model is the rounded float32 model of the same seed."""
    torch.manual_seed(seed)
    text = DiffusionGemmaTextConfig(
        **SHAPES[name]["text"],
        max_position_embeddings=1024,
        use_bidirectional_attention="vision",
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1e6},
        },
    )
    vision = Gemma4VisionConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        patch_size=4,
        pooling_kernel_size=3,
        position_embedding_size=32,
        standardize=True,
        use_clipped_linears=False,
    )
    config = DiffusionGemmaConfig(
        text_config=text,
        vision_config=vision,
        canvas_length=SHAPES[name]["canvas"],
        image_token_id=IMAGE_ID,
        boi_token_id=IMAGE_BEGIN_ID,
        eoi_token_id=IMAGE_END_ID,
    )
    model = DiffusionGemmaForBlockDiffusion(config).eval()
    _randomise(model)
    _convert(model, dtype)
    model.generation_config.pad_token_id = 0
    return model


def _randomise(model: torch.nn.Module) -> None:
    """Library defaults are so flat that a wrong norm or scalar would not show; here every tensor moves the result."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 1:
                weight.uniform_(0.5, 1.5)
            elif "embed_tokens" in name:
                weight.normal_(0, 0.6)
            elif "position_embedding_table" in name:
                weight.normal_(0, 0.2)
            else:
                gain = 3.0 if "router.proj" in name else 1.0
                weight.normal_(0, gain * weight.shape[-1] ** -0.5)
        for name, value in model.named_buffers():
            if name.endswith("layer_scalar"):  # encoder and decoder get different scalars
                value.uniform_(0.6, 1.2)
            elif name.endswith("std_bias"):
                value.normal_(0, 0.5)
            elif name.endswith("std_scale"):
                value.uniform_(0.5, 1.5)


def _convert(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Change the dtype of the weights but not of the rotary frequencies.

    A plain `model.to(torch.bfloat16)` rounds those too (the cosine at position 1000 is then off by more than 0.1),
    which does not happen when Transformers loads a checkpoint: it computes them anew in float32.
    """
    frequencies = [(name, value.clone()) for name, value in model.named_buffers() if name.endswith("inv_freq")]
    model.to(dtype)
    for name, value in frequencies:
        module, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(module), attribute, value)


@dataclasses.dataclass
class Inputs:
    """Everything random that the cases are fed, drawn in one fixed order (the order is part of the recordings)."""

    prompt: torch.Tensor  # [1, 2 window + 4], encoder and decoder cases
    canvas: torch.Tensor  # [1, C]
    pair: torch.Tensor  # [2, window + 3], row 1 padded on the left
    pair_canvas: torch.Tensor  # [2, C]
    pixels: torch.Tensor  # [2, PATCHES, PATCH_VALUES], the second half of the patches is padding
    image_prompt: torch.Tensor  # [1, 12] with two images of two tokens
    generate_prompt: torch.Tensor  # [1, window + 6]
    generate_pair: torch.Tensor  # [2, window + 6], row 0 padded on the left
    sampler_logits: torch.Tensor  # [4, C, V], from flat to sharp
    sampler_current: torch.Tensor  # [4, C]
    sampler_denoiser: torch.Tensor  # [4, C]
    stop_sequence: torch.Tensor  # [6, 4, C] of zeros and ones
    start_prompt: torch.Tensor  # [1, window + 2]
    start_canvas: torch.Tensor  # [1, C]
    autoregressive_prompt: torch.Tensor  # [1, window - 3]: the window starts to slide while tokens are added

    @staticmethod
    def draw(config: DiffusionGemmaConfig, seed: int) -> Inputs:
        """All inputs for one model."""
        canvas, vocabulary = config.canvas_length, config.text_config.vocab_size
        window = config.text_config.sliding_window
        first = torch.Generator().manual_seed(seed + 1)
        extra = torch.Generator().manual_seed(seed + 20)

        def text(rows: int, length: int, source: torch.Generator = first) -> torch.Tensor:
            return torch.randint(3, 140, (rows, length), generator=source)

        def any_ids(*shape: int, source: torch.Generator = first) -> torch.Tensor:
            return torch.randint(0, vocabulary, shape, generator=source)

        prompt, one = text(1, 2 * window + 4), any_ids(1, canvas)
        pair, two = text(2, window + 3), any_ids(2, canvas)
        pair[1, :5] = 0
        pixels = torch.zeros(2, PATCHES, PATCH_VALUES)
        pixels[:, :REAL_PATCHES] = torch.rand(2, REAL_PATCHES, PATCH_VALUES, generator=first)
        image_prompt = text(1, 12)
        image_prompt[0, 3:7] = image_prompt[0, 8:12] = torch.tensor([IMAGE_BEGIN_ID, IMAGE_ID, IMAGE_ID, IMAGE_END_ID])
        generate_prompt, generate_pair = text(1, window + 6), text(2, window + 6)
        generate_pair[0, :4] = 0
        sharpness = torch.tensor([1.0, 4.0, 12.0, 40.0])[:, None, None]
        logits = torch.randn(4, canvas, vocabulary, generator=first) * sharpness
        current, denoiser = any_ids(4, canvas), any_ids(4, canvas)
        stop = torch.randint(0, 2, (6, 4, canvas), generator=first)
        stop[2] = stop[3] = stop[1]
        stop[5, 0] = stop[4, 0]
        return Inputs(
            prompt=prompt,
            canvas=one,
            pair=pair,
            pair_canvas=two,
            pixels=pixels,
            image_prompt=image_prompt,
            generate_prompt=generate_prompt,
            generate_pair=generate_pair,
            sampler_logits=logits,
            sampler_current=current,
            sampler_denoiser=denoiser,
            stop_sequence=stop,
            start_prompt=text(1, window + 2, extra),
            start_canvas=any_ids(1, canvas, source=extra),
            autoregressive_prompt=text(1, window - 3, extra),
        )

    def patch_positions(self) -> torch.Tensor:
        """[2, PATCHES, 2] of (x, y): a picture 6 wide and 3 high, then one 3 wide and 6 high; padding is -1."""
        positions = -torch.ones(2, PATCHES, 2, dtype=torch.long)
        for picture, width in enumerate((6, 3)):
            for patch in range(REAL_PATCHES):
                positions[picture, patch] = torch.tensor([patch % width, patch // width])
        return positions
