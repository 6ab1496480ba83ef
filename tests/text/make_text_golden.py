#!/usr/bin/env python3
# Records what Hugging Face `tokenizers` makes of the sample texts with the committed small tokenizer.
# Usage: make_text_golden.py (from anywhere; needs the Python package tokenizers). Writes tests/data/text/starter_ids.json:
# a list of [hex of the bytes, ids, ids with control tokens as text or null when equal, decoded text without control tokens].
import json
import os

from tokenizers import Tokenizer

from text_samples import all_samples

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
tokenizer = Tokenizer.from_file(ROOT + "/models/starter/tokenizer.json")
rows = []
for data in all_samples(160, 7):
    text = data.decode("utf-8", "replace")
    tokenizer.encode_special_tokens = False
    parsed = tokenizer.encode(text, add_special_tokens=False).ids
    tokenizer.encode_special_tokens = True
    literal = tokenizer.encode(text, add_special_tokens=False).ids
    rows.append([data.hex(), parsed, None if literal == parsed else literal, tokenizer.decode(parsed, skip_special_tokens=True)])
# Ids that no text gives: broken runs of bytes, unknown ids, control tokens inside a run.
decoded = []
byte = lambda b: 256 + b
for ids in [[byte(0xE2), byte(0x82), byte(0xAC)], [byte(0xE2), byte(0x82)], [byte(0xE2), 17, byte(0x82)], [byte(0x41), byte(0xFF)],
            [byte(0xE2), 106, byte(0x82), byte(0xAC)], [byte(0xF0), byte(0x9F), byte(0x98), byte(0x80), byte(0x80)], [5, 5, 17, 2, 1], [],
            [byte(0xC3), byte(0xA9), 6, byte(0xC3)], [99999, 17, 600]]:
    decoded.append([ids, tokenizer.decode(ids, skip_special_tokens=True), tokenizer.decode(ids, skip_special_tokens=False)])
with open(ROOT + "/tests/data/text/starter_ids.json", "w") as file:
    file.write('{"encoded":[\n' + ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows))
    file.write('\n],"decoded":[\n' + ",\n".join(json.dumps(row, separators=(",", ":")) for row in decoded) + "\n]}\n")
