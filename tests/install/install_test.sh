#!/usr/bin/env bash
# install_test.sh SOURCE BUILD: what a stranger gets from `cmake --install` works on its own, also after the installed
# folder was moved. Uses $CXX, cmake, pkg-config, nm; writes only below BUILD/install_test.
set -euo pipefail

source_dir=$1
build_dir=$2
work=$build_dir/install_test

Expect() {
  if ! "$@"; then
    printf 'failed: %s\n' "$*" >&2
    exit 1
  fi
}

rm -rf "$work"
mkdir -p "$work"
cmake --install "$build_dir" --prefix "$work/first" >"$work/install.log"
# Nothing installed may depend on where it was installed.
mv "$work/first" "$work/moved"
prefix=$work/moved
libdir=$(dirname "$(find "$prefix" -name libdgemma.so)")
Expect test -f "$prefix/include/dgemma/status.h"
Expect test -f "$libdir/pkgconfig/dgemma.pc"
if [[ -e $build_dir/bin/dgemma ]]; then
  "$prefix/bin/dgemma" --version >"$work/version.txt"
  Expect test -s "$work/version.txt"
fi

# The library shows our names only: no internals, no copies of the standard library or of Boost.
nm -D --defined-only --demangle "$libdir/libdgemma.so" | sed 's/^[0-9a-f]* [A-Za-z] //' >"$work/names.txt"
Expect grep -q 'dgemma::Name(dgemma::StatusCode)' "$work/names.txt"
if grep -v -E '^((typeinfo|typeinfo name|vtable) for )?dgemma::' "$work/names.txt" >"$work/foreign.txt"; then
  printf 'failed: libdgemma.so shows names that are not its own:\n' >&2
  head "$work/foreign.txt" >&2
  exit 1
fi
if grep -q 'ParseJson' "$work/names.txt"; then
  printf 'failed: libdgemma.so shows internals\n' >&2
  exit 1
fi

export PKG_CONFIG_PATH=$libdir/pkgconfig
version=$(pkg-config --modversion dgemma)
Expect grep -q "VERSION $version" "$source_dir/CMakeLists.txt"
# Through xargs, because pkg-config escapes blanks in paths and the shell would not undo that.
pkg-config --cflags --libs dgemma | xargs "$CXX" -std=c++23 "$source_dir/examples/minimal/main.cc" -o "$work/with_pkg_config"

cmake -S "$source_dir/examples/minimal" -B "$work/cmake" -G Ninja -D CMAKE_PREFIX_PATH="$prefix" \
  -D CMAKE_CXX_COMPILER="$CXX" >"$work/cmake.log"
cmake --build "$work/cmake" >>"$work/cmake.log"

# Both programs find the library and call it: without arguments they say how they are used, and name its version.
Usage() { "$@" 2>&1 || true; }
Usage env LD_LIBRARY_PATH="$libdir" "$work/with_pkg_config" >"$work/usage_pkg_config.txt"
Usage "$work/cmake/minimal" >"$work/usage_find_package.txt"
Expect grep -q "(dgemma $version)" "$work/usage_pkg_config.txt"
Expect cmp "$work/usage_pkg_config.txt" "$work/usage_find_package.txt"

# A folder without a model is an error in words, not a crash.
if LD_LIBRARY_PATH=$libdir "$work/with_pkg_config" "$work" hello >"$work/none.txt" 2>&1; then
  printf 'failed: an empty folder was taken for a model\n' >&2
  exit 1
fi
Expect grep -q '^error: ' "$work/none.txt"

# The same answer from both, when the model that belongs to the tree is there.
if [[ -f $source_dir/models/starter/model.safetensors ]]; then
  prompt='json name=ada age=36 city=rome'
  LD_LIBRARY_PATH=$libdir "$work/with_pkg_config" "$source_dir/models/starter" "$prompt" >"$work/answer_pkg_config.txt"
  "$work/cmake/minimal" "$source_dir/models/starter" "$prompt" >"$work/answer_find_package.txt"
  Expect grep -q ada "$work/answer_pkg_config.txt"
  Expect cmp "$work/answer_pkg_config.txt" "$work/answer_find_package.txt"
fi
