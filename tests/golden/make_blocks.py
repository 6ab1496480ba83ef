#!/usr/bin/env python3
"""Records tests/data/tensor/ggml_blocks.safetensors: random blocks of every GGUF type that dgemma reads, with scales from
subnormal to the largest half, and the floats that the package gguf decodes them to; and what it encodes Q8_0 and Q4_0 to.

Needs gguf, numpy, safetensors. Usage: make_blocks.py [OUT]
"""

import pathlib
import sys

import gguf
import numpy as np
from gguf.quants import dequantize, quantize
from safetensors.numpy import save_file

# Byte offsets of half-precision scales and minima in a block.
SCALES = {"Q4_0": [0], "Q8_0": [0], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_XS": [0],
          "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2]}
EXTREMES = [6e-8, -6e-8, 6.1e-5, 0.0, -0.0, 65504.0, -65504.0, 1.0]


def random_blocks(name, rng, count):
    _, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for offset in SCALES[name]:
        scales = rng.normal(0, 0.02, count).astype(np.float16)
        order = rng.permutation(len(EXTREMES))
        scales[: len(EXTREMES)] = np.array(EXTREMES, dtype=np.float16)[order]
        blocks[:, offset : offset + 2] = scales.view(np.uint8).reshape(count, 2)
    return blocks


def main():
    here = pathlib.Path(__file__).resolve().parent
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else here.parent / "data/tensor/ggml_blocks.safetensors"
    rng = np.random.default_rng(20)
    tensors = {}
    for name in SCALES:
        blocks = random_blocks(name, rng, 14 if name.endswith(("_0", "_1")) else 11)
        tensors[name + ".blocks"] = blocks
        tensors[name + ".values"] = dequantize(blocks, gguf.GGMLQuantizationType[name]).astype(np.float32)
        assert np.isfinite(tensors[name + ".values"]).all()
    row = (rng.normal(0, 0.02, 1024) * rng.choice([1.0, 1.0, 30.0, 1e-6], 1024)).astype(np.float32).reshape(1, -1)
    row[0, 64:96] = 0
    tensors["encode.row"] = row
    for name in ("Q8_0", "Q4_0"):
        tensors["encode." + name] = quantize(row, gguf.GGMLQuantizationType[name])
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out, {"gguf": "0.19.0"})
    print(f"{out.name}: {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
