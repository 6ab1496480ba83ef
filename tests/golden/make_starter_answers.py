#!/usr/bin/env python3
"""Record how Transformers in float32 answers the starter model's tasks, with what the right answers are.

    python3 make_starter_answers.py [--model ../../models/starter] [--out ../data/starter/accuracy.json] [--each 60]

Prompts come from a generator with a fixed seed, so every run asks the same. The model runs with its own
generation_config.json; torch is seeded once for each prompt with the prompt's index, so that a single line can be done
again alone. Needs torch (CPU), transformers 5.23 and tokenizers; some minutes.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import random
import string
import sys
from collections.abc import Callable
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHAT = "<bos><|turn>user\n{}<turn|>\n<|turn>model\n"
TURN_END = 106

# Common English words of two to nine letters.
WORDS = """
an be by do go he in it me my no of on or so to up us we act add age air all arm art ask bad bag bed big bit box boy bus
buy car cat cow cup cut day dog dry ear eat egg end eye far fat few fly fox fun gas get gun guy hat hit hot ice job key
kid lab law leg let lie lot low man map mix net new oil old one pay pen pig pot put raw red row run sad sea sit sky son
sun tax tea ten tie top toy try two van war way win yes able army baby back ball bank base bath bear bell bird blue boat
body bone book born bowl cake call calm camp card care case cash cell city club coal coat code cold cook cool copy corn
cost crew dark data date deal deep desk door down draw drop dust duty east easy edge face fact fair fall farm fast fear
film fire fish five flag flat food foot form four free frog fuel full game gate gift girl glad goal gold good gray grow
hair half hall hand hard head heat help hero high hill home hope horn hour huge idea iron join jump keep kind king kiss
lake lamp land late lead leaf left lion list long lost love luck mail main many mark meal meat milk mind moon move name
neck nest news nose note about above actor alarm album angle apple beach begin black blood board brain bread break brown
brush build candy chain chair cheap chest child clean clear clock cloud coast color count cover cream crowd dance dream
dress drink drive early earth empty enjoy enter error event extra faith field fight final floor focus force fresh front
fruit ghost giant glass globe grace grand grass green group guard guess guide happy heart heavy horse hotel house human
image juice knife large laugh layer learn lemon level light local lucky lunch magic major metal minor model money month
motor mouse mouth music night noise north novel nurse ocean offer order other paint paper party peace phone piano pilot
animal answer artist autumn banana basket beauty belong better bottle bottom branch bridge bright budget butter camera
candle carbon carpet castle center cheese choice church circle client coffee colour corner cotton couple course damage
danger degree desert design dinner doctor double dragon driver eleven empire engine escape family farmer father figure
finger flower forest friend future garden gentle ground guitar hammer handle health height hunter insect island jacket
journey kitchen ancient article average balance baseball because bedroom believe between bicycle blanket brother
cabinet capital captain ceiling century chapter chicken classic climate college comfort company concert control
country courage culture curtain daughter delivery dialogue dinosaur director discover distance document elephant
electric employee engineer evidence exercise familiar festival football fountain friendly geography happiness
highlight hurricane important insurance interview invention knowledge landscape lightning limestone medicine
mountain notebook vegetable wonderful yesterday
""".split()
# The model knows few names and cities and cannot copy others: with 24 common names and 16 cities, 2 of 60 json answers
# were right. These are the ones of 63 names and 24 cities that it copied when asked once each, as in
# `json name=N age=36 city=rome` and `json name=ada age=36 city=C`; so the json score says how it does on combinations
# of words that it knows.
NAMES = "ada ben ann bob eva eve kim lee max ron tom".split()
CITIES = "rome oslo paris lima cairo delhi tokyo bern".split()


def sudoku_solutions() -> list[list[str]]:
    """All 288 filled 4x4 grids whose rows, columns and 2x2 boxes hold 1 to 4."""
    found: list[list[str]] = []

    def extend(cells: list[int]) -> None:
        place = len(cells)
        if place == 16:
            found.append(["".join(map(str, cells[row * 4 : row * 4 + 4])) for row in range(4)])
            return
        row, column = divmod(place, 4)
        for digit in range(1, 5):
            peers = (
                other
                for other in range(place)
                if other // 4 == row or other % 4 == column or (other // 8, other % 4 // 2) == (row // 2, column // 2)
            )
            if all(cells[other] != digit for other in peers):
                extend([*cells, digit])

    extend([])
    return found


GRIDS = sudoku_solutions()


def fits(puzzle: str, grid: list[str]) -> bool:
    """Whether a filled grid agrees with a puzzle of digits and dots."""
    return all(given in (".", digit) for given, digit in zip(puzzle, "".join(grid), strict=True))


def ask_json(chance: random.Random) -> tuple[str, str]:
    """Three fields in a random order."""
    fields: list[tuple[str, Any]] = [
        ("name", chance.choice(NAMES)),
        ("age", chance.randint(10, 99)),
        ("city", chance.choice(CITIES)),
    ]
    chance.shuffle(fields)
    prompt = "json " + " ".join(f"{key}={value}" for key, value in fields)
    return prompt, json.dumps(dict(fields), separators=(",", ":"))


def ask_count(chance: random.Random) -> tuple[str, str]:
    """A short run of numbers."""
    first = chance.randint(1, 30)
    last = first + chance.randint(2, 9)
    return f"count {first} to {last}", " ".join(map(str, range(first, last + 1)))


def ask_upper(chance: random.Random) -> tuple[str, str]:
    """A word in capitals."""
    word = chance.choice(WORDS)
    return f"upper {word}", word.upper()


def ask_spell(chance: random.Random) -> tuple[str, str]:
    """A word letter by letter."""
    word = chance.choice(WORDS)
    return f"spell {word}", " ".join(word)


def ask_reverse(chance: random.Random) -> tuple[str, str]:
    """A word backwards; half of the words are made up."""
    word = chance.choice(WORDS)
    if chance.random() < 0.5:
        word = "".join(chance.choices(string.ascii_lowercase, k=chance.randint(2, 9)))
    return f"reverse {word}", word[::-1]


def ask_sudoku(chance: random.Random) -> tuple[str, str]:
    """A 4x4 grid with a few empty cells and one solution."""
    grid = chance.choice(GRIDS)
    while True:
        cells = list("".join(grid))
        for place in chance.sample(range(16), chance.randint(3, 6)):
            cells[place] = "."
        puzzle = "".join(cells)
        if sum(fits(puzzle, other) for other in GRIDS) == 1:
            break
    rows = [puzzle[row * 4 : row * 4 + 4] for row in range(4)]
    return "sudoku " + " ".join(rows), "\n".join(grid)


def ask_sort(chance: random.Random) -> tuple[str, str]:
    """Two to seven numbers below 100."""
    numbers = [chance.randint(0, 99) for _ in range(chance.randint(2, 7))]
    return "sort " + " ".join(map(str, numbers)), " ".join(map(str, sorted(numbers)))


def ask_add(chance: random.Random) -> tuple[str, str]:
    """Two numbers of three digits."""
    left, right = chance.randint(100, 999), chance.randint(100, 999)
    return f"add {left} {right}", str(left + right)


TASKS: dict[str, Callable[[random.Random], tuple[str, str]]] = {
    "json": ask_json,
    "count": ask_count,
    "upper": ask_upper,
    "spell": ask_spell,
    "reverse": ask_reverse,
    "sudoku": ask_sudoku,
    "sort": ask_sort,
    "add": ask_add,
}


def questions(each: int) -> list[tuple[str, str, str]]:
    """(task, prompt, right answer), `each` different prompts for every task."""
    asked = []
    for task, ask in TASKS.items():
        chance, seen = random.Random(f"starter {task}"), set()
        while len(seen) < each:
            prompt, answer = ask(chance)
            if prompt not in seen:
                seen.add(prompt)
                asked.append((task, prompt, answer))
    return asked


class Starter:
    """The starter model in Transformers, float32."""

    def __init__(self, folder: pathlib.Path) -> None:
        import tokenizers
        import torch
        import transformers

        transformers.utils.logging.disable_progress_bar()
        torch.set_num_threads(1)
        self.versions = {"torch": torch.__version__, "transformers": transformers.__version__}
        self._torch = torch
        self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        kind = transformers.DiffusionGemmaForBlockDiffusion
        self._model = kind.from_pretrained(folder, dtype=torch.float32).eval()
        self._steps = 0
        self._model.model.decoder.register_forward_hook(self._count)

    def _count(self, *_: Any) -> None:
        self._steps += 1

    def answer(self, prompt: str, seed: int) -> tuple[str, int]:
        """The text before the end of the turn, and the number of denoise steps."""
        ids = self._tokenizer.encode(CHAT.format(prompt), add_special_tokens=False).ids
        self._torch.manual_seed(seed)
        self._steps = 0
        with self._torch.no_grad():
            out = self._model.generate(self._torch.tensor([ids])).sequences[0, len(ids) :].tolist()
        if TURN_END in out:
            out = out[: out.index(TURN_END)]
        return self._tokenizer.decode(out, skip_special_tokens=True), self._steps


def main() -> None:
    """Ask everything, write the file, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "models/starter")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "tests/data/starter/accuracy.json")
    parser.add_argument("--each", type=int, default=60)
    arguments = parser.parse_args()
    model = Starter(arguments.model)
    answers = []
    for seed, (task, prompt, expected) in enumerate(questions(arguments.each)):
        text, steps = model.answer(prompt, seed)
        answer = {"task": task, "prompt": prompt, "expected": expected, "answer": text, "steps": steps}
        answers.append({**answer, "correct": text == expected})
    summary = {}
    for task in TASKS:
        rows = [row for row in answers if row["task"] == task]
        summary[task] = {
            "prompts": len(rows),
            "correct": sum(row["correct"] for row in rows),
            "mean_steps": round(sum(row["steps"] for row in rows) / len(rows), 2),
        }
        right, steps = summary[task]["correct"], summary[task]["mean_steps"]
        print(f"{task:8} {right:3} of {len(rows)}  {steps:.1f} steps", file=sys.stderr)
    lines = ",\n".join("  " + json.dumps(row) for row in answers)
    head = json.dumps({**model.versions, "dtype": "float32", "summary": summary}, indent=1)[:-2]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(f'{head},\n "answers": [\n{lines}\n ]\n}}\n')


if __name__ == "__main__":
    main()
