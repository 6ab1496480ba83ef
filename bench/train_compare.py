#!/usr/bin/env python3
"""Time training steps of `dgemma train` and of torch with Transformers on one float32 checkpoint, in turns.

    python3 bench/train_compare.py MODEL --dgemma build/release/bin/dgemma [--batch 4] [--steps 6] [--rounds 2]

A step is both losses of `batch` examples (one prompt, one canvas each, no self-conditioning), their gradients and AdamW on all weights.
Both sides compute the same rows. The least step of each counts; peak memory is that of the process. MODEL `embedded` means
models/starter for torch. Needs torch and transformers 5.23.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent


def torch_steps(folder: str, batch: int, prompt: int, steps: int) -> None:
    import torch
    import torch.nn.functional as F
    import transformers

    sys.path.insert(0, str(HERE.parent / "tests" / "golden"))
    from golden_record import decode, empty_cache, encode, next_token_logits

    torch.set_num_threads(2)
    model = transformers.DiffusionGemmaForBlockDiffusion.from_pretrained(folder, dtype=torch.float32)
    model.set_experts_implementation("grouped_mm")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    canvas, vocabulary = model.config.canvas_length, model.config.text_config.vocab_size
    source = torch.Generator().manual_seed(0)
    times = []
    for _ in range(steps):
        clean = torch.randint(3, vocabulary, (batch, prompt + canvas), generator=source)
        noisy = torch.randint(3, vocabulary, (batch, canvas), generator=source)
        start = time.perf_counter()
        output = encode(model, clean, empty_cache(model))
        logits = next_token_logits(model, output.last_hidden_state)
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), clean[:, 1:].flatten())
        cache = empty_cache(model)
        encode(model, clean[:, :prompt], cache)
        loss = loss + F.cross_entropy(decode(model, noisy, cache).flatten(0, 1), clean[:, prompt:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - start)
    print(json.dumps({"seconds": times, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


def run(command: list[str]) -> tuple[str, int]:
    """Standard output and the peak memory of a command."""
    code = "import resource,subprocess,sys; r=subprocess.run(sys.argv[1:],stdout=sys.stderr); " \
           "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss*1024); sys.exit(r.returncode)"
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stderr, int(done.stdout)


def dgemma_steps(program: str, model: str, batch: int, steps: int) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder) / "data.jsonl"
        words = "alpha beta gamma delta epsilon zeta eta theta".split()
        lines = [json.dumps({"prompt": " ".join(words), "completion": words[i % 8]}) for i in range(64)]
        data.write_text("\n".join(lines) + "\n")
        command = [program, "train", model, "--data", str(data), "--out", folder + "/run", "--steps", str(steps), "--batch", str(batch)]
        _, peak = run([*command, "--self-condition", "0", "--keep", "1", "--save-every", "1000000", "-t", "2", "-q"])
        log = [json.loads(line) for line in (pathlib.Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()]
        at = [line["seconds"] for line in log if line["kind"] == "step"]
        return {"seconds": [b - a for a, b in zip([0.0, *at], at)], "peak": peak, "rows": log[0]["rows"]}


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--dgemma", default=str(HERE.parent / "build" / "release" / "bin" / "dgemma"))
    p.add_argument("--batch", type=int, default=4)
    p.add_argument("--steps", type=int, default=6)
    p.add_argument("--rounds", type=int, default=2)
    p.add_argument("--prompt", type=int, help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.prompt is not None:
        return torch_steps(a.model, a.batch, a.prompt, a.steps)
    folder = str(HERE.parent / "models" / "starter") if a.model == "embedded" else a.model
    canvas = json.loads((pathlib.Path(folder) / "config.json").read_text()).get("canvas_length", 256)
    ours, theirs, peaks = [], [], [0, 0]
    for number in range(a.rounds):
        found = dgemma_steps(a.dgemma, a.model, a.batch, a.steps)
        prompt = found["rows"] // a.batch - 2 * canvas
        command = [sys.executable, __file__, folder, "--batch", str(a.batch), "--steps", str(a.steps), "--prompt", str(prompt)]
        other = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
        ours.append(min(found["seconds"]))
        theirs.append(min(other["seconds"][1:]))
        peaks = [max(peaks[0], found["peak"]), max(peaks[1], other["peak"])]
        print(f"round {number + 1}: dgemma {ours[-1]:.3f} s, torch {theirs[-1]:.3f} s", file=sys.stderr)
    rows = a.batch * (prompt + 2 * canvas)
    print(f"| {a.batch} examples, {rows} rows a step | dgemma | torch | ratio |\n|---|---|---|---|")
    print(f"| seconds a step | {min(ours):.3f} | {min(theirs):.3f} | {min(theirs) / min(ours):.2f} |")
    print(f"| peak memory, GB | {peaks[0] / 1e9:.2f} | {peaks[1] / 1e9:.2f} | {peaks[1] / peaks[0]:.2f} |")


if __name__ == "__main__":
    main()
