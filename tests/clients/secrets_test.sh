#!/usr/bin/env bash
# What the program leaves behind of keys and prompts: nothing on its streams at the loudest, nothing in metrics, health
# and errors, nothing on its command line, and no core file when it crashes.
#   secrets_test.sh DGEMMA
set -euo pipefail

# shellcheck source=tests/clients/server.sh
source "$(dirname "$0")/server.sh"

key=canary-key-4711
other=canary-other-key-12
prompt=canary-prompt-0815
printf 'ann:%s\n' "$key" >"$folder/keys"
chmod 600 "$folder/keys"
# A sanitizer would take the crash below for itself.
export ASAN_OPTIONS=${ASAN_OPTIONS:-}:handle_segv=0 UBSAN_OPTIONS=${UBSAN_OPTIONS:-}:handle_segv=0
DGEMMA_API_KEY=$other start_server --port 0 --verbose --api-key-file "$folder/keys"

# ask STATUS CURL-ARGUMENTS...: what comes back with an error goes to $folder/errors
ask() {
  local expected=$1 status
  shift
  status=$(curl -sS --max-time 60 -o "$folder/answer" -w '%{http_code}' "$@")
  [[ $status == "$expected" ]] || fail "status $status instead of $expected for: $*"
  if [[ $expected != 200 ]]; then cat "$folder/answer" >>"$folder/errors"; fi
}
chat=$url/v1/chat/completions
body="{\"messages\":[{\"role\":\"user\",\"content\":\"$prompt\"}],\"max_tokens\":8}"
ask 200 -H "Authorization: Bearer $key" -d "$body" "$chat"
ask 200 -H "X-Api-Key: $other" -d "$body" "$chat"
ask 401 -d "$body" "$chat"
ask 401 -H "Authorization: Bearer ${key}x" -d "$body" "$chat"
ask 400 -H "Authorization: Bearer $key" -d "{\"messages\":\"$prompt\"}" "$chat"
ask 400 -H "Authorization: Bearer $key" -d "{$prompt" "$chat"
ask 404 -H "Authorization: Bearer $key" "$url/$prompt?$key"
ask 403 -H "Host: $prompt.example" "$url/health"
for path in metrics health slots props v1/models; do
  ask 200 -H "Authorization: Bearer $key" "$url/$path"
  cat "$folder/answer" >>"$folder/errors"
done

tr '\0' '\n' <"/proc/$server_pid/cmdline" >"$folder/cmdline"
grep -Eq '^Max core file size +0 +0 ' "/proc/$server_pid/limits" || fail "core files are not switched off"
# A crash, as the system makes one of it: the status says whether a core was written.
kill -SEGV "$server_pid"
status=0
wait "$server_pid" 2>"$folder/shell" || status=$?
server_pid=
((status == 139)) || fail "status $status after a crash"
! compgen -G "$folder/core*" >/dev/null || fail "a core file"

[[ -s $folder/errors && -s $folder/err ]] || fail "nothing was said, which proves nothing"
for file in out err errors cmdline; do
  ! grep -q canary "$folder/$file" || fail "$file: $(grep canary "$folder/$file" | head -3)"
done
echo "secrets: none found"
