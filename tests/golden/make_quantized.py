#!/usr/bin/env python3
"""Records tests/data/model/quantized.safetensors: small matrices in every form of a quantised checkpoint that dgemma
reads, and the floats that they stand for. Codes, packing and scales are made by compressed-tensors, casts to F8_E4M3 and
F8_E8M0 by torch; floats are what compressed-tensors or Transformers decode in float32. NVIDIA's NVFP4 names hold the codes
of compressed-tensors, with the scale of the tensor as it is instead of its reciprocal; there the floats are
code * (scale * second scale).

Matrix X is "X.weight..." with its floats in "X.values"; experts are "experts.X..." with "experts.X.values".
Needs torch, safetensors, compressed-tensors, transformers. Usage: make_quantized.py [OUT]
"""

import pathlib
import sys

import compressed_tensors
import torch
import transformers
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.utils import calculate_qparams
from safetensors.torch import save_file
from transformers.integrations.finegrained_fp8 import _dequantize_fp8_weight

F8 = torch.float8_e4m3fn


def matrix(generator, *shape):
    """Weights as they are, with a few large and a few zero groups."""
    values = torch.randn(*shape, generator=generator) * 0.02
    values[..., 0, :16] = 0
    values[..., 1, 3] = 1.5
    return values


def scheme(**weights):
    return QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**weights))


def scales_of(values, args, groups, global_scale=None):
    """Scale and zero point of every group of a row."""
    grouped = values.reshape(values.shape[0], groups, -1)
    low, high = grouped.amin(-1), grouped.amax(-1)
    return calculate_qparams(low, high, args, global_scale=global_scale)


def compressed(name, values, format_name, weights, scale, zero=None, global_scale=None):
    """The parts of one matrix, and what they decode to in float32."""
    state = {"weight": values, "weight_scale": scale}
    if zero is not None:
        state["weight_zero_point"] = zero
    if global_scale is not None:
        state["weight_global_scale"] = global_scale
    compressor = BaseCompressor.get_value_from_registry(format_name)
    parts = compressor.compress(state, scheme(**weights))
    wide = dict(parts)
    wide["weight_scale"] = wide["weight_scale"].float()
    decoded = compressor.decompress(wide, scheme(**weights))["weight"].float()
    tensors = {f"{name}.{part}": tensor.contiguous() for part, tensor in parts.items()}
    tensors[f"{name}.values"] = decoded
    return tensors


def int4(name, values, group, scale_type=torch.bfloat16, symmetric=True):
    strategy = {"strategy": "group", "group_size": group} if group else {"strategy": "channel"}
    weights = {"num_bits": 4, "type": "int", "symmetric": symmetric, **strategy}
    groups = values.shape[1] // group if group else 1
    scale, zero = scales_of(values, QuantizationArgs(**weights), groups)
    return compressed(name, values, "pack-quantized", weights, scale.to(scale_type), zero.to(torch.int8))


def fp8(name, values, strategy, scale_type):
    weights = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": strategy}
    whole = values.reshape(1, -1) if strategy == "tensor" else values
    scale, _ = scales_of(whole, QuantizationArgs(**weights), 1)
    scale = scale.reshape(-1) if strategy == "tensor" else scale.reshape(-1, 1)
    return compressed(name, values, "float-quantized", weights, scale.to(scale_type))


def fp8_blocks(name, values, scale_type):
    """Blocks of 128 x 128, as Transformers decodes them; the values of four rows are kept."""
    rows, cols = values.shape
    scale = torch.empty(-(-rows // 128), -(-cols // 128))
    codes = torch.empty_like(values)
    for i in range(scale.shape[0]):
        for j in range(scale.shape[1]):
            part = (slice(128 * i, 128 * i + 128), slice(128 * j, 128 * j + 128))
            scale[i, j] = values[part].abs().max() / 448
            if scale_type == torch.float8_e8m0fnu:
                scale[i, j] = 2.0 ** torch.ceil(torch.log2(scale[i, j]))
            codes[part] = values[part] / scale[i, j]
    codes, scale = codes.to(F8), scale.to(scale_type)
    decoded = _dequantize_fp8_weight(codes, scale, [128, 128], torch.float32)
    some = decoded[[0, 127, 128, 129]].contiguous()
    return {f"{name}.weight": codes, f"{name}.weight_scale_inv": scale, f"{name}.values": some}


def nvfp4(name, values):
    weights = {"num_bits": 4, "type": "float", "symmetric": True, "strategy": "tensor_group", "group_size": 16}
    weights["scale_dtype"] = F8
    global_scale = (448 * 6 / values.abs().max()).reshape(1)
    scale, _ = scales_of(values, QuantizationArgs(**weights), values.shape[1] // 16, global_scale)
    tensors = compressed(name, values, "nvfp4-pack-quantized", weights, scale.to(F8).float(), global_scale=global_scale)
    second = 1 / global_scale[0]
    packed, scale = tensors[name + ".weight_packed"], tensors[name + ".weight_scale"]
    codes = unpack_fp4_from_uint8(packed, *values.shape, dtype=torch.float32)
    # The package widens to bfloat16 on its way; the floats here do not.
    tensors[name + ".values"] = codes * (scale.float() / global_scale).repeat_interleave(16, 1)
    tensors[f"{name}_2.weight"], tensors[f"{name}_2.weight_scale"] = packed.clone(), scale.clone()
    tensors[f"{name}_2.weight_scale_2"] = second
    tensors[f"{name}_2.values"] = codes * (scale.float() * second).repeat_interleave(16, 1)
    return tensors


def fused_int4(generator):
    """Three experts in one tensor."""
    values = matrix(generator, 3, 12, 64)
    parts = [int4("e", one, 32, torch.float16) for one in values]
    codes = {part: torch.stack([p["e." + part] for p in parts]) for part in ("weight_packed", "weight_scale", "values")}
    return {
        "experts.gate_up_proj_packed": codes["weight_packed"],
        "experts.gate_up_proj_scale": codes["weight_scale"],
        "experts.gate_up_proj.values": codes["values"],
    }


def main():
    here = pathlib.Path(__file__).resolve().parent
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else here.parent / "data/model/quantized.safetensors"
    generator = torch.Generator().manual_seed(21)
    tensors = {}
    every = torch.arange(256, dtype=torch.uint8)
    tensors["f8_e4m3.values"] = every.view(F8).float()
    tensors["f8_e8m0.values"] = every.view(torch.float8_e8m0fnu).float()
    tensors |= fp8("fp8_channel", matrix(generator, 10, 36), "channel", torch.bfloat16)
    tensors |= fp8("fp8_tensor", matrix(generator, 6, 20), "tensor", torch.float32)
    tensors |= fp8_blocks("fp8_block", matrix(generator, 130, 136), torch.float32)
    tensors |= fp8_blocks("fp8_power", matrix(generator, 130, 136), torch.float8_e8m0fnu)
    tensors |= int4("int4_32", matrix(generator, 9, 96), 32)
    tensors |= int4("int4_128", matrix(generator, 5, 256), 128, torch.float16)
    tensors |= int4("int4_channel", matrix(generator, 7, 44), None)
    tensors |= int4("int4_zero", matrix(generator, 19, 64), 32, symmetric=False)
    tensors |= nvfp4("nvfp4", matrix(generator, 9, 80))
    tensors |= fused_int4(generator)
    assert pack_to_int32(torch.tensor([[-8, 7]], dtype=torch.int8), 4).item() == 0xF0
    out.parent.mkdir(parents=True, exist_ok=True)
    versions = ", ".join(f"{m.__name__} {m.__version__}" for m in (torch, transformers, compressed_tensors))
    save_file(tensors, out, {"versions": versions})
    print(f"{out.name}: {out.stat().st_size} bytes")
    for name, tensor in sorted(tensors.items()):
        print(f"  {name} {tensor.dtype} {tuple(tensor.shape)}")


if __name__ == "__main__":
    main()
