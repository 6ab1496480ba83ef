#!/usr/bin/env bash
# bench/tasks_model.sh DGEMMA OUT: makes a model like models/tasks from nothing: data, tokenizer, two runs, int8. About three hours on two
# idle cores; killed, it goes on where it stopped. OUT/model is the result, OUT/base the model that has never seen a Sudoku
# (bench/sudoku.py starts from it), OUT/*/report.html the course.
#   STEPS_1, STEPS_2   steps of the two runs (default 25000 and 6500)
set -euo pipefail

[[ $# == 2 ]] || { sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 2; }
dgemma=$(realpath "$1")
recipe=$(realpath "$(dirname "$0")/../models/tasks")
mkdir -p "$2"
cd "$2"

# 22 kinds of tasks; more of those that take longest to learn.
easy=(upper lower spell reverse)
usual=(brackets code date json json-delete json-set mul sort-letters tool)
hard=(add count count-down json-rename question sort sub think unit)
write() { # COUNT KIND...
  local count=$1 kind
  for kind in "${@:2}"; do
    [[ -f data/$kind.jsonl ]] || "$dgemma" tasks write "data/$kind.jsonl" --task "$kind" --count "$count" --split train
  done
}
mkdir -p data sudoku
write 10000 "${easy[@]}"
write 30000 "${usual[@]}"
write 60000 "${hard[@]}"
[[ -f tokenizer.json ]] || "$dgemma" tasks tokenizer tokenizer.json
for kind in sudoku sudoku6; do
  [[ -f sudoku/$kind.jsonl ]] || "$dgemma" tasks write "sudoku/$kind.jsonl" --task "$kind" --count 80000 --split train
done

common=(--batch 32 --pass-rows 4096 --max-tokens 512 --fill canvas --next-token answers --diffusion-weight 4 --ema 0.999
  --save-every 1000 --resume)
# Short canvases are cheaper, and weights do not depend on their length.
sed 's/"canvas_length": [0-9]*/"canvas_length": 32/' "$recipe/config.json" >canvas_32.json
"$dgemma" train --new canvas_32.json --tokenizer tokenizer.json --data data/*.jsonl --out first --rate 1.5e-3 --schedule constant \
  --warmup 200 --steps "${STEPS_1:-25000}" "${common[@]}"
mkdir -p base
cp first/model/* base/
cp "$recipe/config.json" base/config.json
cp "$recipe"/{generation_config,tokenizer_config}.json base/
"$dgemma" train base --data data/*.jsonl sudoku/*.jsonl --out second --rate 1.2e-3 --schedule linear --end-rate 0.02 --warmup 100 \
  --seed 1 --steps "${STEPS_2:-6500}" "${common[@]}"
cp "$recipe"/{generation_config,tokenizer_config}.json second/model/
"$dgemma" quantize second/model model int8-32
