#!/usr/bin/env python3
"""Record 20 steps of LoRA with PEFT on the small model `alternating` in float32: the run of make_training_curve.py, the model frozen.

    python3 make_lora_curve.py [OUT]    write alternating-f32/adapter/ and alternating-f32/golden/lora_curve.safetensors below OUT

The adapter has one change for each role of the tied layers, as PEFT makes them; its second matrices start from small numbers
instead of zeros, so that every gradient counts from the first step. Needs torch (CPU), transformers 5.23 and peft.
"""

from __future__ import annotations

import argparse
import json
import pathlib

import make_training_curve as curve
import torch
from golden_record import Record
from peft import LoraConfig, get_peft_model

TARGETS = r"model\.(decoder|encoder\.language_model)\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("out", type=pathlib.Path, nargs="?", default=curve.HERE)
    folder = arguments.parse_args().out / "alternating-f32"
    (folder / "golden").mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    def adapt(model: torch.nn.Module) -> torch.nn.Module:
        dtype = model.dtype
        torch.manual_seed(5)
        adapted = get_peft_model(model, LoraConfig(r=3, lora_alpha=5, target_modules=TARGETS), autocast_adapter_dtype=False)
        source = torch.Generator().manual_seed(6)
        for name, value in adapted.named_parameters():
            if value.requires_grad:
                bound = 0.05 if "lora_B" in name else value.shape[-1] ** -0.5
                value.data = ((2 * torch.rand(value.shape, generator=source) - 1) * bound).to(dtype)
        if dtype == torch.float32:
            adapted.save_pretrained(folder / "adapter")
            (folder / "adapter" / "README.md").unlink(missing_ok=True)
            settings = folder / "adapter" / "adapter_config.json"
            plain = json.loads(settings.read_text()) | {"base_model_name_or_path": "alternating-f32"}
            settings.write_text(json.dumps(plain, indent=2) + "\n")
        return adapted.base_model.model

    record = Record()
    for dtype in (torch.float32, torch.float64):  # how far the two part is the size of rounding errors after so many steps
        _, losses = curve.run(dtype, adapt)
        suffix = "" if dtype == torch.float32 else "_f64"
        record.put_all(**{name + suffix: torch.tensor(values, dtype=torch.float32) for name, values in losses.items()})
        print("\n".join(f"{s} {d:.6f} {n:.6f} {g:.4f}" for s, (d, n, g) in enumerate(zip(*losses.values()))))
    record.save(folder / "golden" / "lora_curve.safetensors")


if __name__ == "__main__":
    main()
