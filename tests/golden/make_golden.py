#!/usr/bin/env python3
"""Record what Hugging Face Transformers computes for two small random DiffusionGemma models.

    python3 make_golden.py [OUT]            write the committed selection (default OUT: this folder)
    python3 make_golden.py [OUT] --verify   compute everything again and compare with OUT; writes nothing there
    python3 make_golden.py OUT --full       write every tensor of every case, for work on a difference

`--seed N` gives other weights, prompts and draws in the same layout; `--model NAME` does one model only.
README.md beside this script names the tensors. Needs torch (CPU) and transformers 5.23, about a minute.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import pathlib
import platform
import re
import shutil
import sys
import tempfile
from typing import Any

import golden_cases
import golden_generate
import torch
import transformers
from golden_model import SHAPES, Inputs, build_model
from golden_training import record_training
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).resolve().parent
# Paths that are too large to commit or say nothing new. The float32 checkpoint of `fivetoone` alone has 3.2 MB: its
# bfloat16 checkpoint computed in float32 (golden-f32) tests the same arithmetic.
LEFT_OUT = re.compile(
    r"fivetoone-f32/.*|alternating-bf16/golden-f32/.*|fivetoone-bf16/golden[^/]*/(sampler|image)\..*"
    r"|.*/golden-sdpa/(?!encoder\.|decoder\.).*|fivetoone-bf16/golden-sdpa/.*"
)
_STAGES = r"(first\.|second\.)?layer\.\d+\.(?!router\.[12]).*"
LEFT_OUT_TENSORS = tuple(
    (re.compile(path), re.compile(tensor))
    for path, tensor in (
        # The logits rounded to the dtype of the checkpoint, except for rows that are frozen.
        (r"(?!alternating-bf16/golden/generate\.)", r"canvas\..*\.self_conditioning_logits"),
        (r"fivetoone-.*/generate_(batch|start)\.", r"canvas\..*\.logits"),
        (r"fivetoone-.*/generate\.", r"canvas\.1\..*\.logits"),
        (r"alternating-bf16/golden/generate_batch\.", r"canvas\..*\.logits"),
        (r"fivetoone-.*/(encoder|decoder)\.", _STAGES),
        (r".*/golden-sdpa/(encoder|decoder)\.", _STAGES),
    )
)


def load_widened(folder: pathlib.Path) -> Any:
    """The checkpoint in `folder`, computed in float32 whatever its dtype."""
    return transformers.DiffusionGemmaForBlockDiffusion.from_pretrained(folder, dtype=torch.float32).eval()


def record_variant(model: Any, out: pathlib.Path, seed: int) -> None:
    """Every case but training, with the attention and experts that are set."""
    out.mkdir(exist_ok=True)
    inputs = Inputs.draw(model.config, seed)
    with torch.no_grad():
        for case in golden_cases.PASSES:
            case(model, inputs, out)
        for case in golden_generate.RUNS:
            case(model, inputs, out, seed)
    print(f"recorded {out}", file=sys.stderr)


def record_all(out: pathlib.Path, models: list[str], seed: int) -> None:
    """Every checkpoint and every way of running it, complete."""
    for name in models:
        for tag, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16)):
            root = out / f"{name}-{tag}"
            root.mkdir(parents=True, exist_ok=True)
            model = build_model(name, dtype, seed)
            model.save_pretrained(root)
            use(model, "eager", "eager")
            record_variant(model, root / "golden", seed)
            if tag == "f32":
                record_training(model, root / "golden", seed)
                continue
            use(model, "sdpa", "grouped_mm")
            record_variant(model, root / "golden-sdpa", seed)
            record_variant(use(load_widened(root), "eager", "eager"), root / "golden-f32", seed)


def use(model: Any, attention: str, experts: str) -> Any:
    """Choose implementations inside Transformers; `sdpa` with `grouped_mm` is its default."""
    model.set_attn_implementation(attention)
    model.set_experts_implementation(experts)
    return model


def select(complete: pathlib.Path, out: pathlib.Path) -> list[pathlib.Path]:
    """Copy the committed part of a complete recording to `out`; returns the relative paths written."""
    written = []
    for source in sorted(path for path in complete.rglob("*") if path.is_file()):
        relative = source.relative_to(complete)
        if LEFT_OUT.fullmatch(relative.as_posix()):
            continue
        target = out / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        drop = [tensor for path, tensor in LEFT_OUT_TENSORS if path.match(relative.as_posix())]
        if drop and source.suffix == ".safetensors":
            kept = {k: v for k, v in load_file(source).items() if not any(tensor.fullmatch(k) for tensor in drop)}
            save_file(kept, target)
        else:
            shutil.copyfile(source, target)
        target.chmod(0o644)
        written.append(relative)
    return written


def digest(path: pathlib.Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def versions(out: pathlib.Path, files: list[pathlib.Path], seed: int) -> dict[str, Any]:
    """What made the recordings, and the sum of every file."""
    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "seed": seed,
        "sha256": {path.as_posix(): digest(out / path) for path in sorted(files)},
    }


def compare(expected: pathlib.Path, actual: pathlib.Path, tolerance: float) -> str | None:
    """One line that says how two files differ, or None if they do not (beyond `tolerance` for float tensors)."""
    if not expected.exists():
        return "is missing"
    if expected.suffix != ".safetensors":
        return None if expected.read_text() == actual.read_text() else "text differs"
    before, now = load_file(expected), load_file(actual)
    if before.keys() != now.keys():
        return f"tensor names differ: {sorted(before.keys() ^ now.keys())[:4]}"
    worst, where = 0.0, ""
    for name, value in now.items():
        if before[name].shape != value.shape or before[name].dtype != value.dtype:
            return f"{name}: shape or dtype differs"
        if value.numel() == 0 or torch.equal(before[name], value):
            continue
        difference = float((before[name].double() - value.double()).abs().max())
        if not value.dtype.is_floating_point:
            return f"{name}: integers differ"
        if not difference <= worst:
            worst, where = difference, name
    return None if worst <= tolerance else f"{where}: differs by {worst:.3g}"


def verify(out: pathlib.Path, fresh: pathlib.Path, files: list[pathlib.Path], tolerance: float) -> int:
    """Compare `files` of a fresh recording with those in `out`; returns the number of files that differ."""
    stored = json.loads((out / "VERSIONS.json").read_text())
    for name, version in (("torch", torch.__version__), ("transformers", transformers.__version__)):
        if stored[name] != version:
            print(f"note: recorded with {name} {stored[name]}, this is {version}")
    failures = 0
    for path in files:
        problem = compare(out / path, fresh / path, tolerance)
        if problem is None and digest(out / path) != stored["sha256"].get(path.as_posix()):
            problem = "sha256 is not that of VERSIONS.json"
        if problem:
            failures += 1
            print(f"{path}: {problem}")
    print(f"{len(files) - failures} files equal, {failures} differ")
    return failures


def main() -> int:
    """Read the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path, nargs="?", default=HERE)
    parser.add_argument("--model", choices=sorted(SHAPES), action="append")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--full", action="store_true", help="keep everything, not only what is committed")
    parser.add_argument("--verify", action="store_true", help="compare with OUT and write nothing")
    parser.add_argument("--tolerance", type=float, default=0.0, help="largest difference --verify lets pass in a float")
    arguments = parser.parse_args()
    if arguments.full and (arguments.verify or arguments.out == HERE):
        parser.error("--full needs an OUT of its own and cannot be verified")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.utils.logging.disable_progress_bar()
    models = arguments.model or list(SHAPES)
    if arguments.full:
        record_all(arguments.out, models, arguments.seed)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        complete, chosen = pathlib.Path(scratch) / "complete", pathlib.Path(scratch) / "chosen"
        record_all(complete, models, arguments.seed)
        files = select(complete, chosen)
        if arguments.verify:
            return 1 if verify(arguments.out, chosen, files, arguments.tolerance) else 0
        for path in files:
            (arguments.out / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(chosen / path, arguments.out / path)
        text = json.dumps(versions(arguments.out, files, arguments.seed), indent=1)
        (arguments.out / "VERSIONS.json").write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
