#!/usr/bin/env python3
"""What each weight format costs in quality, on the small trained model, against its float32 weights.

    python3 bench/quality.py [--dgemma build/release/bin/dgemma] [--formats int8,int4,q4_k,...] [--prompts 480] [--json FILE]

For every format models/starter is converted, then
- every recorded canvas of tests/golden/starter goes through one denoising pass: mean KL divergence of the logits' distributions
  (nats), share of positions with the same most likely token, mean error of the entropy (nats);
- the prompts of tests/data/starter/accuracy.json are answered with the model's own settings: right answers, answers equal to
  those of the float32 weights, denoising passes a canvas.

Needs nothing but Python. Formats are those of `dgemma quantize` and, in lower case, the block types of `dgemma convert`.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import math
import pathlib
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BLOCK_TYPES = ("q8_0", "q6_k", "q5_k", "q4_k", "q4_0", "iq4_xs")
FORMATS = ("bfloat16", "int8", "int8-32", "int4", "int4-32-min", "int4-32") + BLOCK_TYPES


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dgemma", default=str(ROOT / "build/release/bin/dgemma"))
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--prompts", type=int, default=480)
    parser.add_argument("--json")
    arguments = parser.parse_args()
    prompts = json.loads((ROOT / "tests/data/starter/accuracy.json").read_text())["answers"]
    prompts = prompts[:: max(1, len(prompts) // arguments.prompts)][: arguments.prompts]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        exact_rows, exact_answers = [], []
        for format_name in ["float32"] + arguments.formats.split(","):
            model = str(ROOT / "models/starter")  # bfloat16 as it is
            if format_name == "float32":
                model = str(folder / format_name)
                subprocess.run([arguments.dgemma, "convert", ROOT / "models/starter", model, "--type", "f32", "-q"], check=True, capture_output=True)
            elif format_name in BLOCK_TYPES:
                model = str(folder / f"{format_name}.gguf")
                subprocess.run([arguments.dgemma, "convert", ROOT / "models/starter", model, "--type", format_name, "-q"], check=True, capture_output=True)
            elif format_name != "bfloat16":
                model = str(folder / format_name)
                subprocess.run([arguments.dgemma, "quantize", ROOT / "models/starter", model, format_name, "-q"], check=True, capture_output=True)
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
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(rows, indent=1) + "\n")
    print("| format | KL, nats | same argmax | entropy error, nats | right answers | same answers | passes a canvas |")
    print("|---|---|---|---|---|---|---|")
    for r in rows:
        print(
            f"| {r['format']} | {r['kl']:.2g} | {100 * r['same_argmax']:.1f} % | {r['entropy_error']:.2g} | "
            f"{r['right']} of {r['prompts']} ({100 * r['right'] / r['prompts']:.1f} %) | {r['same_answers']} | {r['passes']:.2f} |"
        )


if __name__ == "__main__":
    main()
