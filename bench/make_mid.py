#!/usr/bin/env python3
"""Write a random DiffusionGemma checkpoint of middle size, for timing only.

The proportions follow the released model (five sliding layers to one full layer, top-4 of 32 experts, tied embedding),
but everything is small enough for two cores: about 407 million parameters, 0.8 GB as bfloat16, 1.6 GB as float32.
The weights are random, so the text it produces means nothing. Keep the result outside the repository.

    python3 bench/make_mid.py OUT [--dtype bfloat16|float32] [--seed N]

Needs torch and transformers 5.23. The same seed gives the same weights; bfloat16 is the rounded float32 file.
"""

from __future__ import annotations

import argparse
import pathlib
import shutil

import torch
from transformers import DiffusionGemmaConfig, DiffusionGemmaForBlockDiffusion, DiffusionGemmaTextConfig
from transformers.models.gemma4 import Gemma4VisionConfig

CANVAS = 256
VOCABULARY = 32768


def configuration() -> DiffusionGemmaConfig:
    """The shape of the checkpoint: 12 layers of width 1024, window 512, canvas 256."""
    text = DiffusionGemmaTextConfig(
        vocab_size=VOCABULARY,
        hidden_size=1024,
        num_hidden_layers=12,
        layer_types=(["sliding_attention"] * 5 + ["full_attention"]) * 2,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=128,
        num_global_key_value_heads=1,
        global_head_dim=256,
        intermediate_size=768,
        num_experts=32,
        top_k_experts=4,
        moe_intermediate_size=256,
        sliding_window=512,
        max_position_embeddings=32768,
        final_logit_softcapping=30.0,
        use_bidirectional_attention="vision",
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1000000.0},
        },
    )
    vision = Gemma4VisionConfig(  # as small as it may be: text is what is timed
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
    return DiffusionGemmaConfig(
        text_config=text,
        vision_config=vision,
        canvas_length=CANVAS,
        image_token_id=32000,
        boi_token_id=32001,
        eoi_token_id=32002,
    )


def randomise(model: torch.nn.Module) -> None:
    """Draw every weight so that activations keep their size from layer to layer and routing is not uniform."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 1:
                weight.uniform_(0.5, 1.5)
            elif "embed_tokens" in name:
                weight.normal_(0, 0.3)
            elif "position_embedding_table" in name:
                weight.normal_(0, 0.2)
            else:
                gain = 3.0 if "router.proj" in name else 1.0
                weight.normal_(0, gain * weight.shape[-1] ** -0.5)
        for name, value in model.named_buffers():
            if name.endswith("layer_scalar"):
                value.uniform_(0.6, 1.2)
            elif name.endswith("std_bias"):
                value.normal_(0, 0.5)
            elif name.endswith("std_scale"):
                value.uniform_(0.5, 1.5)


def write_tokenizer(folder: pathlib.Path) -> None:
    """The project's starter tokenizer: a subset of this vocabulary's ids. Timing needs some tokenizer, not a good one."""
    starter = pathlib.Path(__file__).resolve().parent.parent / "models" / "starter"
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(starter / name, folder / name)


def main() -> None:
    """Read the command line, build the checkpoint, save it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    model = DiffusionGemmaForBlockDiffusion(configuration()).eval()
    randomise(model)
    model.to(getattr(torch, arguments.dtype))
    model.generation_config.pad_token_id = 0
    model.save_pretrained(arguments.out)
    write_tokenizer(arguments.out)
    parameters = sum(weight.numel() for weight in model.parameters())
    print(f"{arguments.out}: {parameters / 1e6:.1f} million parameters, {arguments.dtype}, seed {arguments.seed}")


if __name__ == "__main__":
    main()
