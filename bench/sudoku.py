#!/usr/bin/env python3
"""Teach Sudoku to a model that has never seen one, in full and with an adapter, and draw what happens.

    python3 bench/sudoku.py --dgemma build/release/bin/dgemma --base DIR --out OUT [--size 6] [--steps 6000]

Writes puzzles (the training and the held-out ones never share a solution), counts what the base solves, trains all its weights and
then only an adapter, and lets every checkpoint answer held-out puzzles with early stopping. OUT gets both runs, results.json, a table
on standard output and two pictures: sudoku-accuracy.svg and sudoku-steps.svg. Needs nothing but the program. Runs that are there
already go on where they stopped.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shutil
import subprocess

TASKS = {4: "sudoku", 6: "sudoku6", 9: "sudoku9"}
CANVAS = {4: 32, 6: 48, 9: 96}  # rows of digits, their line ends, and the end of the turn
COLOURS = {"full": "#1f6feb", "adapter": "#d1572f"}


def run(*command: object) -> str:
    print("$", *command, flush=True)
    return subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True).stdout


def with_canvas(base: pathlib.Path, out: pathlib.Path, canvas: int) -> pathlib.Path:
    """The base with a canvas that holds a whole grid; its weights do not depend on the length."""
    folder = out / "base"
    if not folder.exists():
        shutil.copytree(base, folder)
        config = json.loads((folder / "config.json").read_text())
        config["canvas_length"] = canvas
        (folder / "config.json").write_text(json.dumps(config, indent=2))
    return folder


def evaluations(folder: pathlib.Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    seconds = {line["step"] + 1: line["seconds"] for line in lines if line["kind"] == "step"}
    found = []
    for line in lines:
        if line["kind"] != "evaluation":
            continue
        score = next(iter(line["tasks"].values()))
        taken = line["steps_taken"]
        found.append(
            {
                "steps_taken": taken,
                "seconds": seconds.get(taken, 0),
                "accuracy": score["correct"] / score["answers"],
                "steps": score["canvas_steps"] / score["canvases"],
            }
        )
    return found


def chart(path: pathlib.Path, title: str, unit: str, top: float, series: dict[str, list[tuple[float, float]]]) -> None:
    """Lines over training steps. Text and axes follow the reader's colours (light or dark)."""
    width, height, left, bottom, upper = 640, 320, 56, 44, 34
    most = max([x for points in series.values() for x, _ in points] + [1])
    at_x = lambda x: left + (width - left - 20) * x / most  # noqa: E731
    at_y = lambda y: height - bottom - (height - bottom - upper) * y / top  # noqa: E731
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif" font-size="12">',
        "<style>text{fill:#57606a}.grid{stroke:#8b949e;stroke-opacity:.3}@media(prefers-color-scheme:dark){text{fill:#adbac7}}</style>",
        f'<text x="{left}" y="18" font-size="14">{title}</text>',
    ]
    for part in range(5):
        y = top * part / 4
        out.append(f'<line class="grid" x1="{left}" x2="{width - 20}" y1="{at_y(y):.1f}" y2="{at_y(y):.1f}"/>')
        out.append(f'<text x="{left - 8}" y="{at_y(y) + 4:.1f}" text-anchor="end">{y:g}{unit}</text>')
        x = most * part / 4
        out.append(f'<text x="{at_x(x):.1f}" y="{height - bottom + 18}" text-anchor="middle">{x:,.0f}</text>')
    out.append(f'<text x="{(left + width) / 2:.0f}" y="{height - 8}" text-anchor="middle">training steps</text>')
    highest = max(series, key=lambda name: series[name][-1][1])
    for name, points in series.items():
        line = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in points)
        out.append(f'<polyline fill="none" stroke="{COLOURS[name]}" stroke-width="2" points="{line}"/>')
        x, y = points[-1]
        out.append(f'<text x="{at_x(x) - 4:.1f}" y="{at_y(y) + (-8 if name == highest else 18):.1f}" text-anchor="end" style="fill:{COLOURS[name]}">{name}</text>')
    out.append("</svg>")
    path.write_text("\n".join(out) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dgemma", type=pathlib.Path, required=True)
    parser.add_argument("--base", type=pathlib.Path, required=True, help="a model folder that has never seen Sudoku")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--size", type=int, choices=sorted(TASKS), default=6)
    parser.add_argument("--puzzles", type=int, default=400_000, help="to train on")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--ema", type=float, default=0.998, help="share of the averaged weights that a step keeps")
    parser.add_argument("--rank", type=int, default=32, help="of the adapter, which has all linear layers")
    parser.add_argument("--questions", type=int, default=200, help="held-out puzzles that every checkpoint answers")
    parser.add_argument("--every", type=int, default=500, help="training steps between checkpoints")
    parser.add_argument("--only", choices=["full", "adapter"])
    a = parser.parse_args()
    a.dgemma = a.dgemma.resolve()
    a.out.mkdir(parents=True, exist_ok=True)
    task, train, heldout = TASKS[a.size], a.out / "train.jsonl", a.out / "heldout.jsonl"
    for path, split, count in ((train, "train", a.puzzles), (heldout, "heldout", a.questions)):
        if not path.exists():
            run(a.dgemma, "tasks", "write", path, "--task", task, "--count", count, "--split", split)
    base = with_canvas(a.base, a.out, CANVAS[a.size])
    before = json.loads(run(a.dgemma, "eval", base, "--data", heldout, "--count", a.questions, "--json"))["scores"][0]
    first = {
        "steps_taken": 0,
        "seconds": 0,
        "accuracy": before["correct"] / before["answers"],
        "steps": before["denoise_passes"] / before["canvases"],
    }
    flags = {
        "full": ["--rate", a.rate],
        "adapter": ["--rate", 3 * a.rate, "--lora-rank", a.rank, "--lora-targets", "layers.*_proj,layers.*.router.proj"],
    }
    results = {}
    for name, extra in flags.items():
        folder = a.out / name
        if a.only in (None, name):
            run(
                a.dgemma, "train", base, "--data", train, "--out", folder, "--steps", a.steps, "--batch", a.batch,
                "--fill", "canvas", "--next-token", "answers", "--warmup", 100, "--schedule", "linear", "--end-rate", 0.02,
                "--ema", a.ema, "--save-every", a.every, "--keep", 1,
                "--log-every", 50, "--eval", heldout, "--eval-count", a.questions, "--resume", *extra,
            )
        if folder.exists():
            results[name] = [first, *evaluations(folder)]
    (a.out / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    size = f"{a.size}x{a.size}"
    accuracy = {name: [(e["steps_taken"], 100 * e["accuracy"]) for e in found] for name, found in results.items()}
    steps = {name: [(e["steps_taken"], e["steps"]) for e in found] for name, found in results.items()}
    chart(a.out / "sudoku-accuracy.svg", f"Held-out {size} Sudoku solved exactly", " %", 100, accuracy)
    chart(a.out / "sudoku-steps.svg", f"Denoising steps a canvas, {size} Sudoku, early stopping", "", 48, steps)
    print("| | training steps | minutes | solved | steps a canvas |\n|---|---|---|---|---|")
    print(f"| base | 0 | 0 | {100 * first['accuracy']:.1f} % | {first['steps']:.1f} |")
    for name, found in results.items():
        last = found[-1]
        minutes = last["seconds"] / 60
        print(f"| {name} | {last['steps_taken']} | {minutes:.0f} | {100 * last['accuracy']:.1f} % | {last['steps']:.1f} |")


if __name__ == "__main__":
    main()
