#!/usr/bin/env bash
# Starts `dgemma serve` with the embedded model and the scripted server on free ports, runs the command with EMBEDDED_URL and
# SCRIPTED_URL set, and ends both. Exit code 77 (skipped) when the command is not there.
#   with_servers.sh DGEMMA SCRIPTED_SERVER COMMAND [ARGUMENT...]
set -euo pipefail

dgemma=$1
scripted=$2
shift 2
command -v "$1" >/dev/null || { echo "skipped: $1 is not there (script/clients installs it)"; exit 77; }

folder=$(mktemp -d)
mkfifo "$folder/input"
"$dgemma" serve --port 0 --parallel 2 --quiet >"$folder/embedded" &
embedded_pid=$!
"$scripted" 15 <"$folder/input" >"$folder/scripted" &
scripted_pid=$!
exec 3>"$folder/input"  # the scripted server ends when this is closed
finish() {
  exec 3>&-
  kill "$embedded_pid" 2>/dev/null || true
  wait "$embedded_pid" "$scripted_pid" 2>/dev/null || true
  rm -rf "$folder"
}
trap finish EXIT

# The address in a file that a server writes.
address() {
  for _ in $(seq 200); do
    if grep -q "^listening on " "$1"; then
      sed -n 's/^listening on //p' "$1"
      return
    fi
    sleep 0.1
  done
  echo "no server: $1" >&2
  return 1
}

EMBEDDED_URL=$(address "$folder/embedded")
SCRIPTED_URL=$(address "$folder/scripted")
export EMBEDDED_URL SCRIPTED_URL
"$@"
