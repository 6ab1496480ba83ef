#!/usr/bin/env python3
"""Records tests/data/model/importance: importance matrices as llama.cpp writes them, and what they stand for.

For each of two models, NAME.gguf is written by the Python package gguf, NAME.dat (the older form) by struct;
NAME.safetensors holds, under dgemma's names, the mean squares that both stand for, in float32 rounded once from
float64. `starter` is models/starter, `tiny` the model of config.json, which is written here too. What else is there:
- tiny.gguf: sums of activations beside one entry, as newer versions write them; a name of another model, a router, an
  output matrix; a count of 0, sums that are all 0; experts' halves in tensors of their own; an expert that was never
  chosen;
- tiny.dat: the same with one count for each entry, as older versions do: experts without data weigh 1.
The tiny files go into fuzz/corpus/importance_fuzz as well. Needs numpy, safetensors, gguf.
Usage: make_importance.py [ROOT]
"""

import json
import pathlib
import shutil
import struct
import sys

import gguf
import numpy as np
from safetensors.numpy import save_file

CALLS = 4  # a power of two: dividing and multiplying by it rounds nothing
DATA_SET = "calibration.txt"

TINY = {
    "model_type": "diffusion_gemma",
    "canvas_length": 2,
    "text_config": {
        "model_type": "diffusion_gemma_text", "vocab_size": 8, "hidden_size": 4, "intermediate_size": 6,
        "num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"], "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 2, "global_head_dim": 4, "num_global_key_value_heads": 1, "num_experts": 2,
        "top_k_experts": 1, "moe_intermediate_size": 2, "sliding_window": 4, "max_position_embeddings": 16,
        "rope_parameters": {
            "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.5, "rope_theta": 1e4},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
    },
}

# GGUF name, dgemma's name or None, inputs, counts (one for each matrix).
TINY_ENTRIES = [
    ("blk.0.attn_q.weight", "model.decoder.layers.0.self_attn.q_proj.weight", 4, [12]),
    ("blk.0.attn_v.weight", "model.decoder.layers.0.self_attn.v_proj.weight", 4, [7]),
    ("blk.1.attn_output.weight", "model.decoder.layers.1.self_attn.o_proj.weight", 8, [12]),
    ("blk.0.ffn_down.weight", "model.decoder.layers.0.mlp.down_proj.weight", 6, [12]),
    ("blk.0.ffn_gate_up_exps.weight", "model.decoder.layers.0.experts.gate_up_proj", 4, [5, 0]),
    ("blk.1.ffn_gate_exps.weight", "model.decoder.layers.1.experts.gate_up_proj", 4, [3, 4]),
    ("blk.1.ffn_up_exps.weight", None, 4, [3, 4]),
    ("blk.1.ffn_down_exps.weight", "model.decoder.layers.1.experts.down_proj", 2, [3, 4]),
    ("self_cond_gate.weight", "model.decoder.self_conditioning.gate_proj.weight", 4, [12]),
    ("blk.0.ffn_gate_inp.weight", None, 4, [12]),  # a router stays as it is
    ("blk.1.attn_k.weight", None, 4, [0]),
    ("blk.1.ffn_up.weight", None, 4, [9]),  # sums all 0
    ("blk.9.attn_q.weight", None, 4, [12]),
    ("output.weight", None, 4, [12]),
]
STARTER_ENTRIES = [
    ("blk.0.attn_q.weight", "model.decoder.layers.0.self_attn.q_proj.weight", 160, [300]),
    ("blk.1.ffn_gate_up_exps.weight", "model.decoder.layers.1.experts.gate_up_proj", 160, list(range(30, 190, 20))),
    ("blk.3.ffn_down_exps.weight", "model.decoder.layers.3.experts.down_proj", 96, list(range(30, 190, 20))),
    ("blk.5.attn_output.weight", "model.decoder.layers.5.self_attn.o_proj.weight", 256, [300]),
]


class ImatrixWriter(gguf.GGUFWriter):
    def add_architecture(self) -> None:
        """llama-imatrix writes no architecture."""


def write_gguf(path, sums, entries):
    writer = ImatrixWriter(path, "")
    writer.add_type(gguf.GGUFType.IMATRIX)
    writer.add_array(gguf.Keys.IMatrix.DATASETS, [DATA_SET, "more.txt"])
    writer.add_uint32(gguf.Keys.IMatrix.CHUNK_COUNT, 3)
    writer.add_uint32(gguf.Keys.IMatrix.CHUNK_SIZE, 512)
    for name, _, _, counts in entries:
        matrices = len(counts)
        shape = (-1,) if matrices == 1 else (matrices, -1)
        writer.add_tensor(f"{name}.in_sum2", np.ascontiguousarray(sums[name].reshape(shape)))
        rows = np.array(counts, dtype=np.float32)
        writer.add_tensor(f"{name}.counts", rows if matrices == 1 else rows.reshape(matrices, 1))
    first = entries[0][0]
    writer.add_tensor(f"{first}.in_sum", np.ones_like(sums[first]).reshape(-1))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_dat(path, means, entries):
    out = struct.pack("<i", len(entries))
    for name, _, _, counts in entries:
        calls = CALLS if any(counts) else 0
        values = (means[name].astype(np.float32) * np.float32(CALLS)).reshape(-1)
        out += struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", calls, values.size)
        out += values.astype("<f4").tobytes()
    path.write_bytes(out + struct.pack("<ii", 3, len(DATA_SET)) + DATA_SET.encode())


def write(folder, model, entries, seed):
    random = np.random.default_rng(seed)
    sums, means = {}, {}
    for name, _, inputs, counts in entries:
        # sums of squares of inputs whose sizes differ by a factor of a hundred, as real ones do
        scale = 10.0 ** random.uniform(-1, 1, size=(len(counts), inputs))
        drawn = scale * np.array([random.chisquare(max(c, 1), size=inputs) for c in counts])
        drawn[[c == 0 for c in counts]] = 0
        if name == "blk.1.ffn_up.weight":
            drawn[:] = 0
        if name.endswith("ffn_up_exps.weight"):
            drawn = sums[name.replace("up_exps", "gate_exps")].astype(np.float64) + 1  # told apart from the gate's
        sums[name] = drawn.astype(np.float32)
        counted = np.array(counts, dtype=np.float64)[:, None]
        means[name] = np.where(counted > 0, sums[name] / np.maximum(counted, 1), 1.0).astype(np.float32)
    write_gguf(folder / f"{model}.gguf", sums, entries)
    write_dat(folder / f"{model}.dat", means, entries)
    stand_for = {}
    for name, ours, _, counts in entries:
        if ours:
            stand_for[ours] = means[name].reshape((-1,) if len(counts) == 1 else (len(counts), -1))
    save_file(stand_for, folder / f"{model}.safetensors")


def main():
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parents[2]
    folder, corpus = root / "tests/data/model/importance", root / "fuzz/corpus/importance_fuzz"
    for place in (folder, corpus):
        place.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(TINY, indent=1) + "\n")
    write(folder, "tiny", TINY_ENTRIES, 1)
    write(folder, "starter", STARTER_ENTRIES, 2)
    for form in ("gguf", "dat", "safetensors"):
        shutil.copy(folder / f"tiny.{form}", corpus / form)


if __name__ == "__main__":
    main()
