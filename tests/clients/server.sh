# Sourced by the tests of the program: a folder for what it leaves behind, and the server as a process that is gone at the end.
# shellcheck shell=bash

dgemma=$1
folder=$(mktemp -d)
server_pid=
finish() {
  if [[ -n $server_pid ]]; then kill -KILL "$server_pid" 2>/dev/null || true; fi
  rm -rf "$folder"
}
trap finish EXIT
fail() {
  echo "FAILED $*"
  exit 1
}

# start_server FLAGS...: sets server_pid and url; its streams go to $folder/out and $folder/err.
start_server() {
  : >"$folder/out"
  "$dgemma" serve --parallel 1 "$@" >"$folder/out" 2>"$folder/err" &
  server_pid=$!
  for _ in $(seq 300); do
    url=$(sed -n 's/^listening on //p' "$folder/out")
    if [[ -n $url ]]; then return; fi
    sleep 0.1
  done
  fail "no server"
}
