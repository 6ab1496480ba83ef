# Sourced by the other scripts, never run: where the tree is, how messages look, which compiler and how many jobs.
# It leaves the current folder at the root of the tree and changes nothing else.
# shellcheck shell=bash

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

Say() { printf '== %s\n' "$*" >&2; }

Die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# Prints the comment block at the top of a script, which is its --help.
PrintHelp() { sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p;}' "$1"; }

# True when a compiler has what the sources use: C++23 with std::expected (Clang before 19 lacks it with libstdc++).
KnowsExpected() {
  printf '#include <expected>\nstd::expected<int, int> value = 1;\nint main() { return value.value_or(1) - 1; }\n' |
    "$1" -std=c++23 -fsyntax-only -x c++ - 2>/dev/null
}

# The C++ compiler for a preset: $CXX when set, g++ for the preset gcc, otherwise the best Clang, otherwise GCC.
ChooseCompiler() {
  local preset=$1 candidate
  local -a candidates=(clang++-19 clang++-20 clang++-21 clang++ g++ g++-12 g++-13 g++-14 c++)
  if [[ $preset == gcc ]]; then
    candidates=(g++ g++-12 g++-13 g++-14)
  elif [[ $preset == fuzz ]]; then
    candidates=(clang++-19 clang++-20 clang++-21 clang++)
  elif [[ -n ${CXX:-} ]]; then
    candidates=("$CXX")
  fi
  for candidate in "${candidates[@]}"; do
    if command -v "$candidate" >/dev/null && KnowsExpected "$candidate"; then
      command -v "$candidate"
      return 0
    fi
  done
  Die "no compiler for the preset $preset (tried ${candidates[*]}; needed: C++23 with std::expected)"
}

# Jobs at a time: $DGEMMA_JOBS, or one a processor.
Jobs() { printf '%s\n' "${DGEMMA_JOBS:-$(nproc)}"; }
