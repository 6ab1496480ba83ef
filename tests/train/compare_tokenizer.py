#!/usr/bin/env python3
"""Whether Hugging Face `tokenizers` agrees with the program on a tokenizer made by `dgemma tasks tokenizer`.

    python3 tests/train/compare_tokenizer.py build/release/bin/dgemma [--count 20] [--vocab 1024]

Every prompt and answer of generated examples is encoded by both, and so are texts that need the byte fallback; ids have to be equal
and decoding has to give the text back. Run by hand: needs the Python package `tokenizers`.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import tempfile

from tokenizers import Tokenizer

ODD = ["Zürich € 5 🙂", "  two  blanks ", "<|turn>user\nsort 1 2<turn|>\n", "sort sort reverse the", "a\tb\n\n\nc"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dgemma")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--vocab", type=int, default=1024)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        subprocess.run([arguments.dgemma, "tasks", "tokenizer", folder / "tokenizer.json", "--vocab", str(arguments.vocab), "-q"], check=True)
        lines = folder / "lines.jsonl"
        subprocess.run([arguments.dgemma, "tasks", "write", lines, "--count", str(arguments.count), "--seed", "77", "-q"], check=True)
        texts = list(ODD)
        for line in lines.read_text().splitlines():
            example = json.loads(line)
            texts += [example.get("prompt") or example["messages"][0]["content"], example.get("completion") or example["answer"]]
        theirs = Tokenizer.from_file(str(folder / "tokenizer.json"))
        assert theirs.get_vocab_size() == arguments.vocab, theirs.get_vocab_size()
        for text in texts:
            run = [arguments.dgemma, "tokenize", folder, "--ids", "--", text]
            ours = json.loads("[" + subprocess.run(run, check=True, capture_output=True, text=True).stdout.strip().strip("[]").replace(" ", ",").replace(",,", ",") + "]")
            ids = theirs.encode(text, add_special_tokens=False).ids
            assert ids == ours, (text, ids, ours)
            assert theirs.decode(ids, skip_special_tokens=False) == text, text
    print(f"{len(texts)} texts: same ids, same texts")


if __name__ == "__main__":
    main()
