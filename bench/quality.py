#!/usr/bin/env python3
"""What each weight format costs in quality, against float32 weights.

    python3 bench/quality.py [--dgemma build/release/bin/dgemma] [--table starter,layers] [--formats int8,int4,q4_k,...]
                             [--prompts 480] [--threads N] [--json FILE]

Table `starter`: for every format the small trained model, models/starter, is converted, then
- every recorded canvas of tests/golden/starter goes through one denoising pass: mean KL divergence of the logits'
  distributions (nats), share of positions with the same most likely token, mean error of the entropy (nats);
- the prompts of tests/data/starter/accuracy.json are answered with the model's own settings: right answers, answers
  equal to those of the float32 weights, denoising passes a canvas.

Table `layers`: the same distances for layers of the released shapes with random weights; the starter model's rows are
too short for blocks of 256. One sliding and one full layer with all released sizes but two: EXPERTS experts instead of
128 and VOCABULARY tokens instead of 262,144, so that the float32 weights take 2.3 GB. Random canvases behind random
prompts, one denoising pass each, with self-conditioning on the float32 weights' own first pass. How weights are drawn:
`draw`. They are rounded to bfloat16 first, as released weights are. "logit error" is the root of the mean square of the
logits' differences, over that of the logits.

The first table needs nothing but Python, the second numpy too, 6 GB of memory and of disk. Formats are those of
`dgemma quantize` and, in lower case, the block types of `dgemma convert`.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import math
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

try:
    import numpy
except ImportError:
    numpy = None

ROOT = pathlib.Path(__file__).resolve().parent.parent
BLOCK_TYPES = ("q8_0", "q6_k", "q5_k", "q4_k", "q4_0", "iq4_xs")
FORMATS = ("bfloat16", "int8", "int8-64", "int8-32", "int4", "int4-32-row", "int4-32-min", "int4-32") + BLOCK_TYPES

# The released model ...
WIDTH, HEADS, WINDOW, CANVAS, DENSE, EXPERT, ACTIVE = 2816, 16, 1024, 256, 2112, 704, 8
LAYERS = (("sliding_attention", 8, 256), ("full_attention", 2, 512))  # kind, key/value heads, head size
# ... cut.
EXPERTS, VOCABULARY = 32, 32768
PROMPT_TOKENS, CANVASES = 64, 4


def read_safetensors(path: pathlib.Path) -> dict[str, tuple[str, list[int], bytes]]:
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    table = json.loads(data[8 : 8 + size])
    tensors = {}
    for name, entry in table.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            tensors[name] = (entry["dtype"], entry["shape"], data[8 + size + begin : 8 + size + end])
    return tensors


def write_safetensors(path: pathlib.Path, tensors: dict[str, tuple[str, list[int], bytes]]) -> None:
    table, offset = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        table[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    head = json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + b"".join(data for _, _, data in tensors.values()))


def recorded_canvases() -> list[tuple[bytes, list[int], bytes, list[int]]]:
    """(prompt ids, shape, canvas ids, shape) of every step of every recording of the first canvas."""
    canvases = []
    for path in sorted((ROOT / "tests/golden/starter").glob("*.safetensors")):
        tensors = read_safetensors(path)
        _, prompt_shape, prompt = tensors["prompt"]
        for name in ["canvas.0.init"] + sorted(n for n in tensors if n.startswith("canvas.0.") and n.endswith(".current")):
            _, shape, data = tensors[name]
            rows = shape[0] if len(shape) == 2 else 1
            if prompt_shape[0] == 1 and rows == 1:
                canvases.append((prompt, prompt_shape, data, [1, shape[-1]]))
    return canvases


def distributions(dgemma: str, model: str, folder: pathlib.Path) -> list[tuple[list[float], float, int]]:
    """(log probabilities, entropy, argmax) of every position of every recorded canvas."""
    found = []
    for prompt, prompt_shape, canvas, shape in recorded_canvases():
        write_safetensors(folder / "in.safetensors", {"ids": ("I64", prompt_shape, prompt), "canvas": ("I64", shape, canvas)})
        subprocess.run([dgemma, "dump", model, "--in", folder / "in.safetensors", "--out", folder / "out.safetensors"], check=True)
        _, shape, data = read_safetensors(folder / "out.safetensors")["logits"]
        vocabulary = shape[-1]
        values = struct.unpack(f"<{len(data) // 4}f", data)
        for at in range(0, len(values), vocabulary):
            row = values[at : at + vocabulary]
            top = max(row)
            total = math.log(sum(math.exp(v - top) for v in row)) + top
            logs = [v - total for v in row]
            found.append((logs, -sum(math.exp(l) * l for l in logs), row.index(top)))
    return found


def answers(dgemma: str, model: str, prompts: list[dict]) -> list[dict]:
    def ask(prompt: dict) -> dict:
        run = [dgemma, "run", "-m", model, "--json", "--seed", "7", "-t", "1", "--", prompt["prompt"]]
        return json.loads(subprocess.run(run, check=True, capture_output=True, stdin=subprocess.DEVNULL).stdout)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return list(pool.map(ask, prompts))


def converted(dgemma: str, source: pathlib.Path, folder: pathlib.Path, format_name: str, threads: int) -> str:
    """The model `source` in a format, under `folder`; bfloat16 is the source itself."""
    if format_name == "bfloat16":
        return str(source)
    if format_name == "float32":
        verb, out, kind = "convert", folder / format_name, ["--type", "f32"]
    elif format_name in BLOCK_TYPES:
        verb, out, kind = "convert", folder / f"{format_name}.gguf", ["--type", format_name]
    else:
        verb, out, kind = "quantize", folder / format_name, [format_name]
    subprocess.run([dgemma, verb, source, out, *kind, "-q", "-t", str(threads)], check=True, capture_output=True)
    return str(out)


def remove(model: str, source: pathlib.Path) -> None:
    path = pathlib.Path(model)
    if path == source:
        return
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def starter_table(arguments: argparse.Namespace, formats: list[str], folder: pathlib.Path) -> list[dict]:
    prompts = json.loads((ROOT / "tests/data/starter/accuracy.json").read_text())["answers"]
    prompts = prompts[:: max(1, len(prompts) // arguments.prompts)][: arguments.prompts]
    rows, exact_rows, exact_answers = [], [], []
    for format_name in formats:
        model = converted(arguments.dgemma, ROOT / "models/starter", folder, format_name, arguments.threads)
        found = distributions(arguments.dgemma, model, folder)
        given = answers(arguments.dgemma, model, prompts)
        if format_name == "float32":
            exact_rows, exact_answers = found, given
        row = {
            "format": format_name,
            "positions": len(found),
            "kl": sum(
                sum(math.exp(p) * (p - q) for p, q in zip(a, b)) for (a, _, _), (b, _, _) in zip(exact_rows, found)
            ) / len(found),
            "same_argmax": sum(a[2] == b[2] for a, b in zip(exact_rows, found)) / len(found),
            "entropy_error": sum(abs(a[1] - b[1]) for a, b in zip(exact_rows, found)) / len(found),
            "right": sum(g["text"].strip() == p["expected"] for g, p in zip(given, prompts)),
            "prompts": len(prompts),
            "same_answers": sum(a["text"] == b["text"] for a, b in zip(exact_answers, given)),
            "passes": sum(g["figures"]["passes_per_canvas"] for g in given) / len(given),
        }
        rows.append(row)
        print(f"{format_name}: {row}", file=sys.stderr)
    print("| format | KL, nats | same argmax | entropy error, nats | right answers | same answers | passes a canvas |")
    print("|---|---|---|---|---|---|---|")
    for r in rows:
        print(
            f"| {r['format']} | {r['kl']:.2g} | {100 * r['same_argmax']:.1f} % | {r['entropy_error']:.2g} | "
            f"{r['right']} of {r['prompts']} ({100 * r['right'] / r['prompts']:.1f} %) | {r['same_answers']} | "
            f"{r['passes']:.2f} |"
        )
    return rows


def layer_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors of the cut model, without a vision tower."""
    decoder, d, f, x = "model.decoder.", WIDTH, DENSE, EXPERT
    shapes: dict[str, tuple[int, ...]] = {}
    shapes[decoder + "embed_tokens.weight"] = (VOCABULARY, d)
    shapes[decoder + "norm.weight"] = (d,)
    for name, shape in {"pre_norm": (d,), "gate_proj": (f, d), "up_proj": (f, d), "down_proj": (d, f)}.items():
        shapes[f"{decoder}self_conditioning.{name}.weight"] = shape
    for index, (kind, kv_heads, head) in enumerate(LAYERS):
        layer = {
            "input_layernorm.weight": (d,),
            "self_attn.q_proj.weight": (HEADS * head, d),
            "self_attn.k_proj.weight": (kv_heads * head, d),
            "self_attn.o_proj.weight": (d, HEADS * head),
            "self_attn.q_norm.weight": (head,),
            "self_attn.k_norm.weight": (head,),
            "post_attention_layernorm.weight": (d,),
            "pre_feedforward_layernorm.weight": (d,),
            "mlp.gate_proj.weight": (f, d),
            "mlp.up_proj.weight": (f, d),
            "mlp.down_proj.weight": (d, f),
            "post_feedforward_layernorm_1.weight": (d,),
            "pre_feedforward_layernorm_2.weight": (d,),
            "router.scale": (d,),
            "router.proj.weight": (EXPERTS, d),
            "router.per_expert_scale": (EXPERTS,),
            "experts.gate_up_proj": (EXPERTS, 2 * x, d),
            "experts.down_proj": (EXPERTS, d, x),
            "post_feedforward_layernorm_2.weight": (d,),
            "post_feedforward_layernorm.weight": (d,),
            "layer_scalar": (1,),
        }
        if kind == "sliding_attention":
            layer["self_attn.v_proj.weight"] = (kv_heads * head, d)
        shapes.update({f"{decoder}layers.{index}.{name}": shape for name, shape in layer.items()})
        shapes[f"model.encoder.language_model.layers.{index}.layer_scalar"] = (1,)
    return shapes


def draw(name: str, shape: tuple[int, ...], random) -> "numpy.ndarray":
    """Values of one tensor, float32. All matrices are normal.

    - Matrices have deviation 1 / sqrt(in), which keeps activations in size.
    - The table has 4 / sqrt(D), so that logits have deviation 4: over 32,768 tokens an entropy of about 5 nats, neither
      flat nor a single token.
    - Norms are log-normal with sigma 0.3 and mean square 1, so that channels differ.
    - Norms behind attention and behind the two branches are 10 times that: the table is also the head, and a canvas
      token's own embedding, of size 1, would otherwise decide its own prediction.
    - Norms of queries and keys are alike in all dimensions and give their products deviation 1: attention neither even
      nor on one key.
    - The router's logits have deviation 3, so that the last of the experts chosen weighs little.
    - Scalars and scales are 1.
    """
    leaf = name.removesuffix(".weight").rsplit(".", 1)[-1]
    if leaf in ("q_norm", "k_norm"):
        return numpy.full(shape, shape[0] ** -0.25, numpy.float32)
    if leaf in ("layer_scalar", "scale", "per_expert_scale"):
        return numpy.ones(shape, numpy.float32)
    if len(shape) == 1:
        values = numpy.exp(0.3 * random.standard_normal(shape, numpy.float32))
        values /= math.sqrt(float(numpy.mean(values**2)))
        return values * numpy.float32(10 if leaf in ("post_attention_layernorm", "post_feedforward_layernorm") else 1)
    deviation = (4 if leaf == "embed_tokens" else 1) / math.sqrt(shape[-1])
    if "router.proj" in name:
        deviation = 3
    return random.standard_normal(shape, numpy.float32) * numpy.float32(deviation)


def to_bfloat16(values: "numpy.ndarray") -> bytes:
    bits = numpy.ascontiguousarray(values).view(numpy.uint32)
    return ((bits + numpy.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16).astype(numpy.uint16).tobytes()


def write_layers(folder: pathlib.Path) -> pathlib.Path:
    """A model folder of random weights, bfloat16."""
    model = folder / "layers"
    model.mkdir()
    kinds = [kind for kind, _, _ in LAYERS]
    rope = {
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1000000.0},
    }
    text = {
        "vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": len(LAYERS), "layer_types": kinds,
        "num_attention_heads": HEADS, "num_key_value_heads": LAYERS[0][1], "head_dim": LAYERS[0][2],
        "num_global_key_value_heads": LAYERS[1][1], "global_head_dim": LAYERS[1][2], "intermediate_size": DENSE,
        "num_experts": EXPERTS, "top_k_experts": ACTIVE, "moe_intermediate_size": EXPERT, "sliding_window": WINDOW,
        "max_position_embeddings": 4096, "final_logit_softcapping": 30.0, "rope_parameters": rope,
    }
    config = {"model_type": "diffusion_gemma", "canvas_length": CANVAS, "tie_word_embeddings": True}
    config["text_config"] = text
    (model / "config.json").write_text(json.dumps(config, indent=1))
    for name in ("tokenizer.json", "tokenizer_config.json"):  # some tokenizer: only ids are used
        shutil.copyfile(ROOT / "models/starter" / name, model / name)
    shapes, table, offset = layer_shapes(), {}, 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        table[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    head = json.dumps(table).encode()
    random = numpy.random.default_rng(0)
    with open(model / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(head)) + head)
        for name, shape in shapes.items():
            file.write(to_bfloat16(draw(name, shape, random)))
    return model


def layer_logits(arguments: argparse.Namespace, model: str, folder: pathlib.Path, first: "list | None") -> list:
    """Logits [CANVAS, VOCABULARY] of every canvas, self-conditioned on `first` where it is given."""
    random = numpy.random.default_rng(1)
    found = []
    for index in range(CANVASES):
        tensors = {}
        for name, tokens in (("ids", PROMPT_TOKENS), ("canvas", CANVAS)):
            tensors[name] = ("I64", [1, tokens], random.integers(0, VOCABULARY, tokens).astype("<i8").tobytes())
        if first is not None:
            tensors["self_conditioning_logits"] = ("F32", [1, CANVAS, VOCABULARY], first[index].tobytes())
        write_safetensors(folder / "in.safetensors", tensors)
        run = [arguments.dgemma, "dump", model, "-q", "-t", str(arguments.threads)]
        subprocess.run([*run, "--in", folder / "in.safetensors", "--out", folder / "out.safetensors"], check=True)
        _, _, data = read_safetensors(folder / "out.safetensors")["logits"]
        found.append(numpy.frombuffer(data, "<f4").reshape(CANVAS, VOCABULARY).copy())
    return found


def log_probabilities(logits: "numpy.ndarray") -> "numpy.ndarray":
    shifted = logits.astype(numpy.float64) - logits.max(axis=1, keepdims=True)
    return shifted - numpy.log(numpy.exp(shifted).sum(axis=1, keepdims=True))


def layers_table(arguments: argparse.Namespace, formats: list[str], folder: pathlib.Path) -> list[dict]:
    source = write_layers(folder)
    rows, first, exact = [], [], []
    for format_name in formats:
        model = converted(arguments.dgemma, source, folder, format_name, arguments.threads)
        if format_name == "float32":
            first = layer_logits(arguments, model, folder, None)
        logits = layer_logits(arguments, model, folder, first)
        remove(model, source)
        if format_name == "float32":
            exact = logits
        kl, same, entropy_error, squares, error_squares = [], [], [], 0.0, 0.0
        for a_logits, b_logits in zip(exact, logits):
            a, b = log_probabilities(a_logits), log_probabilities(b_logits)
            squares += float(numpy.sum(a_logits.astype(numpy.float64) ** 2))
            error_squares += float(numpy.sum((b_logits.astype(numpy.float64) - a_logits) ** 2))
            kl.append((numpy.exp(a) * (a - b)).sum(axis=1))
            same.append(a_logits.argmax(axis=1) == b_logits.argmax(axis=1))
            entropy_error.append(numpy.abs((numpy.exp(a) * a - numpy.exp(b) * b).sum(axis=1)))
        row = {
            "format": format_name,
            "positions": CANVASES * CANVAS,
            "logit_error": math.sqrt(error_squares / squares),
            "kl": float(numpy.mean(kl)),
            "same_argmax": float(numpy.mean(same)),
            "entropy_error": float(numpy.mean(entropy_error)),
        }
        rows.append(row)
        print(f"{format_name}: {row}", file=sys.stderr)
    kinds = " and ".join(kind.replace("_attention", "") for kind, _, _ in LAYERS)
    exact_logs = [log_probabilities(logits) for logits in exact]
    least, median, most = numpy.quantile([-(numpy.exp(a) * a).sum(axis=1) for a in exact_logs], (0, 0.5, 1))
    likely = float(numpy.mean([numpy.exp(a.max(axis=1)) for a in exact_logs]))
    print(
        f"One {kinds} layer of the released shapes, random weights; cut to {EXPERTS} experts and {VOCABULARY:,} tokens. "
        f"{CANVASES * CANVAS:,} positions of {CANVASES} canvases. float32: entropy {least:.1f} to {most:.1f} nats, "
        f"median {median:.1f} (even: {math.log(VOCABULARY):.1f}); most likely token {100 * likely:.0f} % on average.\n"
    )
    print("| format | logit error | KL, nats | same argmax | entropy error, nats |")
    print("|---|---|---|---|---|")
    for r in rows:
        print(
            f"| {r['format']} | {100 * r['logit_error']:.1f} % | {r['kl']:.2g} | {100 * r['same_argmax']:.1f} % | "
            f"{r['entropy_error']:.2g} |"
        )
    return rows


TABLES = {"starter": starter_table, "layers": layers_table}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dgemma", default=str(ROOT / "build/release/bin/dgemma"))
    parser.add_argument("--table", default=",".join(TABLES))
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--prompts", type=int, default=480)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json")
    arguments = parser.parse_args()
    chosen = arguments.table.split(",")
    if unknown := set(chosen) - set(TABLES):
        parser.error(f"--table: {', '.join(sorted(unknown))} (one or several of {', '.join(TABLES)})")
    if "layers" in chosen and numpy is None:
        parser.error("--table layers: needs numpy")
    formats = ["float32"] + [name for name in arguments.formats.split(",") if name]
    results = {}
    for name in chosen:
        with tempfile.TemporaryDirectory() as folder:
            results[name] = TABLES[name](arguments, formats, pathlib.Path(folder))
        print()
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
