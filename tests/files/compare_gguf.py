#!/usr/bin/env python3
"""Compares dgemma's GGUF files with the Python package gguf, both ways, tensor by tensor. Run by hand.

    compare_gguf.py PROGRAM [MODEL]     PROGRAM is bin/dgemma, MODEL a model folder (default: models/starter)

1. dgemma writes every type; gguf reads the file, and the floats it decodes must equal, bit for bit, what dgemma reads from it.
2. gguf writes files in its own way (types it can encode, experts fused and split, keys as other writers have them); dgemma reads them,
   and its floats must equal those of gguf. Answers of the plain file must be those of the folder.

Needs gguf, numpy, safetensors, torch (for bfloat16).
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import gguf
import numpy as np
import torch
from gguf.quants import dequantize, quantize
from safetensors import safe_open

TYPES = ["f32", "f16", "bf16", "q8_0", "q6_k", "q5_k", "q4_k", "q4_0", "iq4_xs"]
LAYER = {
    "attn_norm.weight": "input_layernorm.weight", "attn_q.weight": "self_attn.q_proj.weight",
    "attn_k.weight": "self_attn.k_proj.weight", "attn_v.weight": "self_attn.v_proj.weight",
    "attn_output.weight": "self_attn.o_proj.weight", "attn_q_norm.weight": "self_attn.q_norm.weight",
    "attn_k_norm.weight": "self_attn.k_norm.weight", "post_attention_norm.weight": "post_attention_layernorm.weight",
    "ffn_norm.weight": "pre_feedforward_layernorm.weight", "ffn_gate.weight": "mlp.gate_proj.weight",
    "ffn_up.weight": "mlp.up_proj.weight", "ffn_down.weight": "mlp.down_proj.weight",
    "post_ffw_norm_1.weight": "post_feedforward_layernorm_1.weight", "pre_ffw_norm_2.weight": "pre_feedforward_layernorm_2.weight",
    "ffn_gate_inp.scale": "router.scale", "ffn_gate_inp.weight": "router.proj.weight",
    "ffn_down_exps.scale": "router.per_expert_scale", "ffn_gate_up_exps.weight": "experts.gate_up_proj",
    "ffn_down_exps.weight": "experts.down_proj", "post_ffw_norm_2.weight": "post_feedforward_layernorm_2.weight",
    "post_ffw_norm.weight": "post_feedforward_layernorm.weight", "layer_output_scale.weight": "layer_scalar",
}
GLOBAL = {
    "token_embd.weight": "embed_tokens.weight", "output_norm.weight": "norm.weight",
    "self_cond_pre_norm.weight": "self_conditioning.pre_norm.weight", "self_cond_gate.weight": "self_conditioning.gate_proj.weight",
    "self_cond_up.weight": "self_conditioning.up_proj.weight", "self_cond_down.weight": "self_conditioning.down_proj.weight",
}


def our_name(name):
    if name in GLOBAL:
        return "model.decoder." + GLOBAL[name]
    _, layer, rest = name.split(".", 2)
    if rest == "enc_layer_output_scale.weight":
        return f"model.encoder.language_model.layers.{layer}.layer_scalar"
    return f"model.decoder.layers.{layer}.{LAYER[rest]}"


def run(program, *arguments):
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"dgemma {' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout


def floats_of_folder(folder):
    out = {}
    with safe_open(folder / "model.safetensors", "pt") as file:
        for name in file.keys():
            out[name] = file.get_tensor(name).to(torch.float32).numpy()
    return out


def floats_of_gguf(path):
    out = {}
    for tensor in gguf.GGUFReader(path).tensors:
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        out[tensor.name] = values.reshape([int(n) for n in reversed(tensor.shape)])
    return out


def compare(label, theirs, ours):
    values = 0
    for name, expected in theirs.items():
        if name == "rope_freqs.weight":
            continue
        actual = ours[our_name(name)]
        if actual.shape != expected.shape or actual.tobytes() != expected.tobytes():
            raise SystemExit(f"{label}: {name} differs")
        values += expected.size
    print(f"{label}: {len(theirs)} tensors, {values} values equal to the bit")


def write_with_gguf(path, model, quant, split, loose):
    """A file as another writer might make it: `loose` stores numbers as texts and one head count as an array."""
    config = json.loads((model / "config.json").read_text())
    text = config["text_config"]
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tensors = floats_of_folder(model)
    layers = text["num_hidden_layers"]
    full = [t == "full_attention" for t in text["layer_types"]]
    geometry = [text.get("per_layer_config", {}).get(str(i), {}) for i in range(layers)]
    full_geometry = next((g for g, f in zip(geometry, full) if f and g), {"head_dim": text.get("global_head_dim", 512)})
    kv = [g.get("num_key_value_heads", text.get("num_global_key_value_heads", text["num_key_value_heads"]) if f
                else text["num_key_value_heads"]) for g, f in zip(geometry, full)]
    w = gguf.GGUFWriter(path, "diffusion-gemma")
    a = "diffusion-gemma."
    w.add_name("by gguf")
    for key, value in {"block_count": layers, "context_length": text["max_position_embeddings"],
                       "embedding_length": text["hidden_size"], "feed_forward_length": text["intermediate_size"],
                       "attention.key_length": full_geometry["head_dim"], "attention.value_length": full_geometry["head_dim"],
                       "attention.key_length_swa": text["head_dim"], "attention.value_length_swa": text["head_dim"],
                       "attention.sliding_window": text["sliding_window"], "expert_count": text["num_experts"],
                       "expert_used_count": text["top_k_experts"],
                       "expert_feed_forward_length": text["moe_intermediate_size"]}.items():
        w.add_uint32(a + key, value)
    if loose:
        w.add_array(a + "attention.head_count", [text["num_attention_heads"]] * layers)
        w.add_string("diffusion.canvas_length", str(config["canvas_length"]))
        w.add_string("diffusion.eb_max_steps", "48")
        w.add_string("diffusion.eb_t_min", "0.4")
        w.add_array(a + "feed_forward_length_unused", [1, 2])
    else:
        w.add_uint32(a + "attention.head_count", text["num_attention_heads"])
        w.add_uint32("diffusion.canvas_length", config["canvas_length"])
    w.add_array(a + "attention.head_count_kv", kv)
    w.add_array(a + "attention.sliding_window_pattern", [not f for f in full])
    rope = text["rope_parameters"]
    w.add_float32(a + "rope.freq_base", rope["full_attention"]["rope_theta"])
    w.add_float32(a + "rope.freq_base_swa", rope["sliding_attention"]["rope_theta"])
    w.add_float32(a + "attention.layer_norm_rms_epsilon", text["rms_norm_eps"])
    tokens = [None] * text["vocab_size"]
    for token, id in tokenizer["model"]["vocab"].items():
        tokens[id] = token
    types = [6 if t and t.startswith("<0x") else 1 for t in tokens]
    for token in tokenizer["added_tokens"]:
        tokens[token["id"]], types[token["id"]] = token["content"], 3
    w.add_tokenizer_model("gemma4")
    w.add_token_list([t if t is not None else f"[PAD{i}]" for i, t in enumerate(tokens)])
    w.add_token_types([5 if t is None else k for t, k in zip(tokens, types)])
    w.add_token_merges([" ".join(m) if isinstance(m, list) else m for m in tokenizer["model"]["merges"]])
    w.add_bos_token_id(2)
    w.add_eos_token_id(1)
    w.add_unk_token_id(3)
    w.add_pad_token_id(0)
    half = full_geometry["head_dim"] // 2
    pairs = int(rope["full_attention"]["partial_rotary_factor"] * half)
    w.add_tensor("rope_freqs.weight", np.array([1.0] * pairs + [1e30] * (half - pairs), dtype=np.float32))

    def add(name, values):
        if quant is None or values.ndim == 1 or values.shape[-1] % 32 != 0:
            w.add_tensor(name, values)
        else:
            w.add_tensor(name, quantize(values, quant), raw_dtype=quant)

    names = list(GLOBAL) + [f"blk.{i}.{n}" for i in range(layers) for n in [*LAYER, "enc_layer_output_scale.weight"]]
    for name in names:
        ours = our_name(name)
        if ours not in tensors:
            continue
        values = np.ascontiguousarray(tensors[ours])
        if split and name.endswith("ffn_gate_up_exps.weight"):
            middle = values.shape[1] // 2
            add(name.replace("gate_up", "gate"), np.ascontiguousarray(values[:, :middle]))
            add(name.replace("gate_up", "up"), np.ascontiguousarray(values[:, middle:]))
        else:
            add(name, values)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def join_halves(tensors):
    out = {}
    for name, values in tensors.items():
        if name.endswith("ffn_gate_exps.weight"):
            up = tensors[name.replace("gate", "up")]
            out[name.replace("gate", "gate_up")] = np.concatenate([values, up], axis=1)
        elif not name.endswith("ffn_up_exps.weight"):
            out[name] = values
    return out


def main():
    program = sys.argv[1]
    model = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else pathlib.Path(__file__).resolve().parents[2] / "models/starter"
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        source = floats_of_folder(model)
        for kind in TYPES:
            path, back = place / f"{kind}.gguf", place / f"{kind}-back"
            run(program, "convert", model, path, "--type", kind)
            run(program, "convert", path, back, "--type", "f32")
            theirs = floats_of_gguf(path)
            compare(f"written as {kind}", theirs, floats_of_folder(back))
            worst = max(np.sqrt(np.sum((values.astype(np.float64) - source[our_name(name)]) ** 2) /
                                max(np.sum(source[our_name(name)].astype(np.float64) ** 2), 1e-30))
                        for name, values in theirs.items() if name != "rope_freqs.weight")
            print(f"  largest relative error against the source, by gguf: {worst:.3g}")
        prompt = ["json name=ada age=36 city=rome", "--seed", "3", "-q"]
        expected = run(program, "run", model, *prompt)
        T = gguf.GGMLQuantizationType
        for label, quant, split, loose in [("F32", None, False, False), ("F32, split, loose keys", None, True, True),
                                           ("F16", T.F16, False, True), ("BF16", T.BF16, True, False),
                                           ("Q8_0", T.Q8_0, False, False), ("Q8_0, split", T.Q8_0, True, False),
                                           ("Q4_0", T.Q4_0, True, True), ("Q4_1", T.Q4_1, False, False),
                                           ("Q5_0", T.Q5_0, True, False), ("Q5_1", T.Q5_1, False, True)]:
            path, back = place / "theirs.gguf", place / "theirs"
            write_with_gguf(path, model, quant, split, loose)
            run(program, "convert", path, back, "--type", "f32", "--force") if back.exists() else run(
                program, "convert", path, back, "--type", "f32")
            compare(f"read from gguf's {label}", join_halves(floats_of_gguf(path)), floats_of_folder(back))
            if quant is None and run(program, "run", path, *prompt) != expected:
                raise SystemExit("answers differ")
    print("all equal")


if __name__ == "__main__":
    main()
