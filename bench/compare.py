#!/usr/bin/env python3
"""Run `dgemma bench` and Transformers in turns on one checkpoint and print a table of their ratio.

    python3 bench/compare.py MODEL --dgemma build/release/bin/dgemma [--dtype bfloat16] [--rounds 3] [--steps 16] [--json FILE]

The two take turns so that a slow minute of the machine hits both. The least time of each over all rounds is compared;
the spread (largest over least) is printed beside it, and a ratio within 15 % of 1 is called a tie. The interpreter that
runs this script must be able to import torch and transformers, or name another with --python.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
TIE = 0.15
PREFILL = (128, 512)  # prompt lengths to time
Run = dict[str, Any]


def machine() -> str:
    """Processor, the instruction sets that matter, cores, load and date, in one line."""
    model, flags = platform.processor() or platform.machine(), set()
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                model = value.strip()
            elif key.strip() == "flags":
                flags = set(value.split())
    names = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")
    sets = " ".join(name for name in names if name in flags) or "none of " + " ".join(names)
    day = datetime.date.today().isoformat()
    return f"{model}, {os.cpu_count()} cores, {sets}, load {os.getloadavg()[0]:.1f} at the end, {day}"


def run_json(command: list[str]) -> Run:
    """Run a command and read the JSON it prints."""
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def prefill_ms(runs: list[Run], tokens: int) -> list[float]:
    """The prefill times for one prompt length in all runs of Transformers that have it."""
    return [entry["ms"] for run in runs for entry in run.get("prefill", []) if entry["tokens"] == tokens]


def pass_ms(runs: list[Run], name: str) -> list[float]:
    """The least times of one pass in all runs of dgemma that have it."""
    return [entry["least_ms"] for run in runs for entry in run["passes"] if entry["name"] == name]


def row(label: str, ours: list[float], theirs: list[float], unit: str) -> str:
    """One line of the table; a ratio above 1 means that dgemma needs less."""
    if not ours or not theirs:
        cells = (f"{min(side):.1f} {unit}" if side else "-" for side in (ours, theirs))
        return f"| {label} | {' | '.join(cells)} | - | - |"
    ratio = min(theirs) / min(ours)
    verdict = f"{ratio:.2f}" + (" (tie)" if abs(ratio - 1) <= TIE else "")
    spread = f"{max(ours) / min(ours):.2f}, {max(theirs) / min(theirs):.2f}"
    return f"| {label} | {min(ours):.1f} {unit} | {min(theirs):.1f} {unit} | {verdict} | {spread} |"


def table(ours: list[Run], theirs: list[Run]) -> str:
    """The comparison as a markdown table, and what only dgemma reports below it."""
    lines = ["| | dgemma | Transformers | ratio | spread |", "|---|---|---|---|---|"]
    lines.append(row("denoise step", pass_ms(ours, "denoise"), [r["ms_per_step"] for r in theirs], "ms"))
    for tokens in sorted({entry["tokens"] for run in theirs for entry in run.get("prefill", [])}):
        name = f"prefill {tokens}"
        lines.append(row(f"{name} tokens", pass_ms(ours, name), prefill_ms(theirs, tokens), "ms"))
    for name in ("commit", "commit + denoise", "token"):
        lines.append(row(name, pass_ms(ours, name), [], "ms"))
    memory = [[r["peak_rss_bytes"] / 2**20 for r in side if "peak_rss_bytes" in r] for side in (ours, theirs)]
    lines.append(row("peak memory", *memory, "MiB"))
    last = ours[-1]
    machine_rates = last["machine"]
    notes = [
        f"memory that dgemma plans: {last['plan_bytes'] / 2**20:.1f} MiB",
        f"as dgemma measures the machine: reads {machine_rates['read_bytes_per_second'] / 1e9:.1f} GB/s, "
        f"{machine_rates['int8_operations_per_second'] / 1e9:.0f} GOP/s int8, "
        f"{machine_rates['bfloat16_operations_per_second'] / 1e9:.0f} GFLOP/s bfloat16, "
        f"{machine_rates['float32_operations_per_second'] / 1e9:.0f} GFLOP/s float32",
    ]
    for entry in last["passes"]:
        notes.append(f"{entry['name']}: {100 * entry['share_of_bound']:.0f} % of its bound")
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)])


def main() -> None:
    """Read the command line, take turns, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--dgemma", default="dgemma", help="the program")
    parser.add_argument("--dgemma-options", default="", help="more options for `dgemma bench`, separated by spaces")
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has torch and transformers")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="for Transformers")
    parser.add_argument("--steps", type=int, default=16, help="denoise steps that Transformers times")
    parser.add_argument("--prompt", type=int, default=128, help="tokens in the cache while steps are timed")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=pathlib.Path, help="also write every run here")
    arguments = parser.parse_args()
    own = [arguments.dgemma, "bench", str(arguments.model), "--json", "--prompt", str(arguments.prompt)]
    own += ["--prefill", ",".join(map(str, PREFILL)), "--threads", str(arguments.threads)]
    own += arguments.dgemma_options.split()
    other = [arguments.python, str(HERE / "bench_transformers.py"), str(arguments.model), "--json"]
    other += ["--dtype", arguments.dtype, "--steps", str(arguments.steps), "--prompt", str(arguments.prompt)]
    other += ["--threads", str(arguments.threads), "--repeats", "1", "--prefill", *map(str, PREFILL)]
    ours: list[Run] = []
    theirs: list[Run] = []
    for number in range(arguments.rounds):
        print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
        ours.append(run_json(own))
        theirs.append(run_json(other))
    print(f"{arguments.model.name}, Transformers {theirs[0]['transformers']} in {theirs[0]['dtype']}, ", end="")
    print(f"{arguments.threads} threads, {arguments.rounds} rounds, least time of each")
    print(f"\n{machine()}\n\n{table(ours, theirs)}")
    if arguments.json:
        everything = {"machine": machine(), "dgemma": ours, "transformers": theirs}
        arguments.json.write_text(json.dumps(everything, indent=1) + "\n")


if __name__ == "__main__":
    main()
