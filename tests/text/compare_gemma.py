#!/usr/bin/env python3
# Compares tokenizer_probe with Hugging Face `tokenizers` on a real vocabulary: ids, decoded text, and time per pattern.
# Usage: compare_gemma.py TOKENIZER.json PROBE [--random N]. Run by script/check_tokenizer.sh; exits 1 on any difference.
import argparse
import json
import random
import struct
import subprocess
import sys
import tempfile
import time

from tokenizers import Tokenizer

from text_samples import SENTENCES, all_samples

MIB = 1 << 20


def fill(unit, size=MIB):
    unit = unit.encode() if isinstance(unit, str) else unit
    return (unit * (size // len(unit) + 1))[:size].decode("utf-8", "ignore").encode()


def patterns():
    r = random.Random(5)
    words = " ".join(s for s in SENTENCES[:3]).split()
    english = [r.choice(words) if r.random() < 0.5 else "".join(r.choice("etaoinshrdlucmf") for _ in range(r.randrange(2, 9)))
               for _ in range(MIB // 6)]
    yield "english-like words", fill(" ".join(english) + " ")
    yield "one sentence repeated", fill(SENTENCES[0] + " ")
    for name, unit in [("one letter", "a"), ("two letters", "ab"), ("spaces", " "), ("newlines", "\n"), ("tabs", "\t"), ("lower blocks", "▁"),
                       ("digits", "1234567890"), ("open brackets", "["), ("equal signs", "="), ("joined emoji", "👩‍👩‍👧‍👦"), ("one emoji", "😀"),
                       ("Chinese sentence", SENTENCES[9]), ("one ideograph", "的"), ("alternating scripts", "aжあ가"), ("missing character", "\U0001F9FF\U000e0041"),
                       ("control-token text", "<|turn>"), ("half control tokens", "<|turn"), ("special of this file", "<start_of_turn>"), ("less-than", "<"),
                       ("code", "".join(SENTENCES[19:24]))]:
        yield name, fill(unit)
    yield "random letters", "".join(r.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(MIB)).encode()
    yield "random common letters", "".join(r.choice("etaoins") for _ in range(MIB)).encode()
    yield "random printable", "".join(chr(r.randrange(33, 127)) for _ in range(MIB)).encode()
    yield "random ideographs", "".join(chr(r.randrange(0x4E00, 0x5200)) for _ in range(MIB // 3)).encode()
    yield "random bytes", bytes(r.randrange(256) for _ in range(MIB))


# Known encodings of the Gemma 4 tokenizer, whose vocabulary differs from Gemma 3's in the control tokens only.
VECTORS = [
    ("Hello, world! 12345", [9259, 236764, 1902, 236888, 236743, 236770, 236778, 236800, 236812, 236810]),
    ("  spaced  text\n", [138, 169862, 138, 1005, 107]), ("你好，世界！", [144626, 236900, 12811, 237354]),
    ("Café — κόσμος 🚀", [160319, 236859, 2192, 150665, 148148, 236743, 242015]),
    ("<|channel>thought\nplan<channel|><|tool_call>call:f{}<tool_call|>", [100, 45518, 107, 15081, 101, 48, 6639, 236787, 236760, 16454, 49]),
    ("Write a long essay about Portugal.", [6974, 496, 1440, 20494, 1003, 23613, 236761]), ("user", [2364]), ("model", [4368]),
    ("system", [9731]), ("thought", [45518]), ("\n", [107]), ("\n\n", [108]),
]

# A mebibyte of frequent letters without a space: there is no place to cut, and every step looks somewhere else in the tables.
SLOWEST_KNOWN = {"random common letters"}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tokenizer")
    parser.add_argument("probe")
    parser.add_argument("--random", type=int, default=6000)
    options = parser.parse_args()
    with open(options.tokenizer) as file:
        document = json.load(file)
    document["post_processor"] = None  # no <bos>; the probe never adds one
    reference = Tokenizer.from_str(json.dumps(document))
    reference.no_truncation()
    samples = [(0, 1, s) for s in all_samples(options.random, 1)] + [(1, 1, s) for s in all_samples(options.random // 4, 2)]
    named = list(patterns())
    samples = [(0, 1, text.encode()) for text, _ in VECTORS] + samples + [(0, 5, s) for _, s in named]

    with tempfile.TemporaryDirectory() as folder:
        with open(folder + "/in", "wb") as file:
            for literal, repeats, text in samples:
                file.write(struct.pack("=III", literal, repeats, len(text)) + text)
        subprocess.run([options.probe, options.tokenizer, folder + "/in", folder + "/out"], check=True)
        with open(folder + "/out", "rb") as file:
            results = file.read()
    load = struct.unpack_from("=d", results)[0]
    at, differences, times, vectors = 8, 0, [], []
    for index, (literal, _, text) in enumerate(samples):
        seconds, count = struct.unpack_from("=dI", results, at)
        at += 12
        ids = list(struct.unpack_from(f"={count}i", results, at))
        at += 4 * count
        length = struct.unpack_from("=I", results, at)[0]
        decoded = results[at + 4:at + 4 + length].decode()
        at += 4 + length
        reference.encode_special_tokens = bool(literal)
        if index < len(VECTORS):
            vectors.append((VECTORS[index][0], ids == VECTORS[index][1]))
        start = time.perf_counter()
        wanted = reference.encode(text.decode("utf-8", "replace"), add_special_tokens=False).ids
        theirs = time.perf_counter() - start
        wrong = ids != wanted
        if len(text) < MIB // 4 and decoded != reference.decode(wanted, skip_special_tokens=False):
            wrong = True
        if wrong:
            differences += 1
            if differences <= 5:
                print("DIFFERS", repr(text[:200]), ids[:20], wanted[:20])
        if index >= len(samples) - len(named):
            times.append((named[index - len(samples) + len(named)][0], seconds, theirs, count))
    print(f"{len(samples)} texts compared, {differences} differ; load {load * 1000:.0f} ms (processor time, as below)")
    base, worst = times[0][1], 0.0
    for name, seconds, theirs, count in times:
        if name not in SLOWEST_KNOWN:
            worst = max(worst, seconds / base)
        print(f"  {name:24s} {seconds * 1000:8.1f} ms  x{seconds / base:5.2f}  {count:8d} ids   (tokenizers: {theirs * 1000:.0f} ms)")
    print(f"worst ratio to {times[0][0]}: {worst:.2f} (limit 3), leaving out: {', '.join(sorted(SLOWEST_KNOWN))}")
    print(f"Gemma 4 vectors: {sum(good for _, good in vectors)} of {len(vectors)} hold; not: {[text for text, good in vectors if not good]}")
    return 1 if differences or worst > 3 else 0


sys.exit(main())
