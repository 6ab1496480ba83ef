#!/usr/bin/env python3
"""Compares our verdict on safetensors files with that of the Rust crate (through its Python package).

  compare_safetensors.py CHECKER [--count N] [--seed S] [--store FILE] [--rewrite PATH]

CHECKER is the program safetensors_verdict. Each generated file is judged by both sides. They must agree, also on names,
types, shapes and bytes of accepted files, except where the crate accepts and a rule of the stricter list in
src/files/safetensors.h applies; that it applies is established here, from the text, not from our message. With --store
a sample is written for safetensors_verdicts_test.cc. With --rewrite each accepted file is written again by our writer
to PATH, and the crate must find the same tensors there. Wants: pip install safetensors==0.8.0.
"""
import argparse, collections, json, random, struct, subprocess, sys
from safetensors import deserialize

SIZES = {"BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
         "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "C64": 64, "F64": 64, "I64": 64,
         "U64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}
SUB_BYTE = ("F4", "F6_E2M3", "F6_E3M2")
ODD_NUMBERS = ["-1", "-0", "0", "1", "2", "1.0", "1e0", "1E2", "01", "+1", "18446744073709551615",
               "18446744073709551616",
               "9223372036854775808", "4611686018427387904", "4294967296", "99999999999999999999999999", "1e400",
               "0.5", "null",
               "true", '"1"', "[]", "[1]", "{}", "NaN", "Infinity", "0x10", " 3 ", "\t4\n", ""]
ODD_VALUES = ["null", "true", "false", "{}", "[]", '""', "0", "[0,0]", "[[0,0]]", '{"F32":null}', '{"U8":null}',
              '{"a":"b"}',
              '"F32"', '"f32"', '"F128"', "[0]", "[0,0,0]", '["U8",[1],[0,1]]', "[" * 140 + "]" * 140, "nul",
              "'a'", '{"a":1,}']
NAMES = ["a", "b", "model.layers.0.weight", "", " ", "\\u0061", "\\n", "\\ud83d\\ude00", "\\ud800", "\\udc00\\ud800",
         "é", "日本",
         "\\u0000", "__metadata__", "dtype", "x" * 40, "\\x", "\t", "\\/", "\\\"", "\\\\", "__proto__", "x" * 1024,
         "x" * 1025]


def number_list(values):
    return "[" + ",".join(str(v) for v in values) + "]"


def make(rng):
    """A header as a list of (key, list of (key, text)) or (key, text), valid at first; and the number of data bytes."""
    items, offset = [], 0
    for i in range(rng.choice([0, 1, 1, 2, 3, 4])):
        dtype = rng.choice(list(SIZES)) if rng.random() < 0.5 else rng.choice(["F32", "BF16", "U8"])
        rank = rng.choice([0, 1, 1, 2, 2, 3, 8, 9] if rng.random() < 0.2 else [0, 1, 1, 2])
        shape = [rng.choice([0, 1, 1, 2, 2, 3, 4]) for _ in range(rank)]
        bits = SIZES[dtype]
        for d in shape:
            bits *= d
        size = (bits + 7) // 8
        name = rng.choice(NAMES) if rng.random() < 0.1 else f"t{i}"
        fields = [("dtype", f'"{dtype}"'), ("shape", number_list(shape)),
                  ("data_offsets", number_list([offset, offset + size]))]
        rng.shuffle(fields)
        items.append([name, fields])
        offset += size
    rng.shuffle(items)
    if rng.random() < 0.3:
        pairs = ",".join(f'"{rng.choice(NAMES + ["format"])}":"{rng.choice(NAMES + ["pt"])}"'
                         for _ in range(rng.choice([0, 1, 2])))
        items.insert(rng.randrange(len(items) + 1), ["__metadata__", "{" + pairs + "}"])
    return items, offset


def mutate(rng, items, data):
    tensors = [t for t in items if isinstance(t[1], list)]
    kind = rng.randrange(12)
    if kind == 0 and items:
        items.append(json.loads(json.dumps(rng.choice(items))))
    elif kind == 1 and items:
        rng.choice(items)[1] = rng.choice(ODD_VALUES)
    elif kind == 2 and items:
        rng.choice(items)[0] = rng.choice(NAMES)
    elif kind == 3:
        data = max(0, data + rng.choice([-4, -1, 1, 4, 100]))
    elif kind == 4:
        values = ODD_VALUES + ['{"a":"b"}', '{"a":"b","a":"c"}', '{"a":1}', '{"a":null}']
        items.append(["__metadata__", rng.choice(values)])
    elif tensors:
        fields = rng.choice(tensors)[1]
        if not fields:
            return data
        field = rng.randrange(len(fields))
        key, text = fields[field]
        if kind == 5:
            fields.append((rng.choice(["extra", "dtype", "shape", "data_offsets", ""]), rng.choice(ODD_VALUES)))
        elif kind == 6:
            fields.pop(field)
        elif kind == 7:
            fields[field] = (key, rng.choice(ODD_VALUES))
        elif kind in (8, 9) and text.startswith("["):
            parts = text[1:-1].split(",")
            place = rng.randrange(len(parts))
            parts[place] = rng.choice(ODD_NUMBERS) if kind == 8 else str(rng.randrange(0, 40))
            if rng.random() < 0.1:
                parts.append(rng.choice(ODD_NUMBERS))
            fields[field] = (key, "[" + ",".join(parts) + "]")
        elif kind == 10:
            fields.append(fields[field])
        else:
            fields[field] = (rng.choice(["dtype", "shape", "data_offsets", "\\u0064type", "Dtype"]), text)
    return data


def render(rng, items):
    space = (lambda: rng.choice(["", "", " ", "\n", "\t", "\r\n"])) if rng.random() < 0.2 else (lambda: "")
    out = []
    for key, value in items:
        if isinstance(value, list):
            value = "{" + ",".join(f'{space()}"{k}"{space()}:{space()}{v}{space()}' for k, v in value) + "}"
        out.append(f'{space()}"{key}"{space()}:{value}')
    return "{" + ",".join(out) + "}"


def mutate_bytes(rng, text):
    text = bytearray(text)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        place = rng.randrange(len(text) + 1)
        kind = rng.randrange(4)
        if kind == 0 and text:
            text[min(place, len(text) - 1)] = rng.choice(
                [rng.randrange(256), rng.choice(b'{}[]",:0123456789\\ue.-+ \n\t')])
        elif kind == 1:
            text[place:place] = bytes([rng.choice([rng.randrange(256), rng.choice(b'{}[]",:09\\u \n')])])
        elif kind == 2:
            del text[place:place + rng.choice([1, 1, 2, 8])]
        else:
            text[place:place] = rng.choice([b"\xef\xbb\xbf", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"//x\n",
                                            b"/**/",
                                            b"\x00", b"  ", b",", b"{}", b"\xe2\x80\xa8", b"\x7f", b"\x1f"])
    return bytes(text)


def generate(rng):
    """(declared length, header bytes, number of data bytes)"""
    items, data = make(rng)
    for _ in range(rng.choice([0, 1, 1, 1, 2])):
        data = mutate(rng, items, data)
    text = render(rng, items).encode("utf-8", "surrogatepass")
    if rng.random() < 0.15:
        text += rng.choice([b" ", b"   ", b"\n", b"\0", b"{}", b"x", b"\t\r\n "])
    if rng.random() < 0.05:
        text = rng.choice([b" ", b"\n", b"\xef\xbb\xbf", b"[", b"null"]) + text
    if rng.random() < 0.3:
        text = mutate_bytes(rng, text)
    length = len(text)
    if rng.random() < 0.04:
        length = rng.choice([0, 1, length - 1, length + 1, length + data, length + data + 1, 2**24, 2**24 + 1, 10**8,
                             2**31,
                             2**32, 2**63, 2**64 - 1, 2**64 - 8, 2**64 - 9])
    return length % 2**64, text, data


def stricter_rule(header):
    """The number of the rule of the stricter list that this header, accepted by the crate, falls under; or None."""
    text = header.decode("utf-8")
    if not text.startswith("{"):
        return 2
    repeats = []

    class Pairs(list):
        pass

    root = json.loads(text, object_pairs_hook=Pairs)
    keys = [k for k, _ in root]
    if len(set(keys)) < len(keys):
        return 3
    for key, value in root:
        if key == "__metadata__":
            if value is None:
                return 5
            names = [k for k, _ in value]
            if len(set(names)) < len(names):
                return 3
            if len(names) > 4096:
                return 1
        elif not isinstance(value, Pairs):
            return 5
        else:
            if {k for k, _ in value} - {"dtype", "shape", "data_offsets"}:
                return 4
            fields = dict(value)
            if isinstance(fields["dtype"], Pairs):
                return 5
            if fields["dtype"] in SUB_BYTE:
                return 6
            if len(fields["shape"]) > 8 or len(key.encode()) > 1024:
                return 1
    return None


def fnv(data):
    value = 0xcbf29ce484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001b3 % 2**64
    return f"{value:016x}"


def crate(file):
    try:
        tensors = deserialize(file)
    except Exception as error:
        return None, str(error)
    return sorted(f"{name.encode().hex()}:{t['dtype']}:{''.join(f'{d},' for d in t['shape'])}:{fnv(t['data'])}"
                  for name, t in tensors), ""


def main():
    options = argparse.ArgumentParser()
    options.add_argument("checker")
    options.add_argument("--count", type=int, default=20000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--store")
    options.add_argument("--stored", type=int, default=1500)
    options.add_argument("--rewrite")
    options = options.parse_args()
    rng = random.Random(options.seed)
    command = [options.checker] + ([options.rewrite] if options.rewrite else [])
    checker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    counts, faults, stored = collections.Counter(), 0, []
    batch = 500
    for start in range(0, options.count, batch):
        cases = [generate(rng) for _ in range(min(batch, options.count - start))]
        files = []
        for length, text, data in cases:
            files.append(struct.pack("<Q", length) + text + bytes(rng.randrange(256) for _ in range(data)))
        for file, (length, text, data) in zip(files, cases):
            checker.stdin.write(struct.pack("<I", len(file)) + file)
            checker.stdin.flush()
            line = checker.stdout.readline().decode().rstrip("\n")
            theirs, reason = crate(file)
            ours = sorted(line.split()[1:]) if line.startswith("ok") else None
            if theirs is None:
                verdict = "bad"
                wrong = ours is not None
            elif ours is not None:
                verdict = "ok"
                wrong = ours != theirs
                if options.rewrite:
                    with open(options.rewrite, "rb") as rewritten:
                        wrong |= crate(rewritten.read())[0] != theirs
            else:
                rule = stricter_rule(file[8:8 + length])
                verdict = f"strict{rule}"
                wrong = rule is None
            counts[verdict] += 1
            if wrong:
                faults += 1
                if faults <= 20:
                    print("DIFFERENT", (length, text, data), "crate:", reason or "ok", "ours:", line)
            if len(text) < 2000 and data < 2000 and (verdict != "bad" or rng.random() < 0.5):
                stored.append((verdict, length, data, text))
    checker.stdin.close()
    print(f"{options.count} files, {faults} different;", dict(sorted(counts.items())))
    if options.store and not faults:
        rng.shuffle(stored)
        with open(options.store, "w") as out:
            out.write("# verdict, declared header length, bytes of data, header (bytes outside 0x21-0x7e and % "
                      "as %xx); by compare_safetensors.py\n")
            for verdict, length, data, text in stored[:options.stored]:
                quoted = "".join(chr(b) if 0x21 <= b <= 0x7e and b != 0x25 else f"%{b:02x}" for b in text)
                out.write(f"{verdict} {length} {data} {quoted or '%'}\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
