#!/usr/bin/env bash
# The program ends as it promises: SIGTERM refuses new connections at once and lets the answer under way finish; a second one
# ends it within a second, and the client is told; SIGKILL leaves nothing that keeps the next start from working.
#   signal_test.sh DGEMMA
set -euo pipefail

# shellcheck source=tests/clients/server.sh
source "$(dirname "$0")/server.sh"

# start [PORT]
start() { start_server --port "${1:-0}" --quiet; }
# ask STEPS FILE: a stream that takes so many denoising steps; goes to FILE; returns when it is under way.
ask() {
  curl -sSN --max-time 120 "$url/v1/chat/completions" >"$2" 2>&1 -d "{\"messages\":[{\"role\":\"user\",\"content\":\"upper cat\"}],
    \"stream\":true,\"diffusion\":{\"steps\":$1,\"confidence\":0}}" &
  client_pid=$!
  for _ in $(seq 300); do
    if curl -sS "$url/health" | grep -q '"active":1'; then return; fi
    sleep 0.05
  done
  fail "the answer does not begin"
}
milliseconds() { date +%s%3N; }

start
ask 2000 "$folder/answer"
kill -TERM "$server_pid"
sleep 0.2
if curl -sS --max-time 2 "$url/health" >/dev/null 2>&1; then fail "a new connection after SIGTERM"; fi
kill -0 "$server_pid" || fail "the server went before the answer ended"
wait "$client_pid" || fail "the answer was cut: $(cat "$folder/answer")"
grep -q '^data: \[DONE\]' "$folder/answer" || fail "no whole answer: $(cat "$folder/answer")"
grep -q '"diffusion_steps":2000' "$folder/answer" || fail "not all steps: $(cat "$folder/answer")"
status=0
wait "$server_pid" || status=$?
((status == 0)) || fail "exit code $status after an orderly end"

start
ask 4096 "$folder/answer"
kill -TERM "$server_pid"
sleep 0.2
begin=$(milliseconds)
kill -TERM "$server_pid"
wait "$server_pid" || true
taken=$(($(milliseconds) - begin))
# A second is promised on an idle machine.
((taken < 5000)) || fail "$taken ms from the second SIGTERM to the end"
wait "$client_pid" || true
! grep -q '"diffusion_steps":4096' "$folder/answer" || fail "all steps in spite of two signals"

start
port=${url##*:}
ask 4096 "$folder/answer"
kill -KILL "$server_pid"
wait "$server_pid" 2>/dev/null || true
wait "$client_pid" || true
start "$port"
curl -sS "$url/health" | grep -q '"status":"ok"' || fail "no health after a restart on the same port"
kill -TERM "$server_pid"
wait "$server_pid"
server_pid=
echo "signals: as promised (second SIGTERM: $taken ms)"
