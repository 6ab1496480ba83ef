#!/usr/bin/env bash
# Every endpoint with curl alone, as docs/SERVER.md shows them: answers of the embedded model, streams, an abort, errors.
set -euo pipefail

failures=0
# expect NAME TEXT PATTERN: the text must contain the extended regular expression.
expect() {
  if ! grep -qE -- "$3" <<<"$2"; then
    echo "FAILED $1: no /$3/ in: ${2:0:600}"
    failures=$((failures + 1))
  fi
}
post() { curl -sS --max-time 60 -H 'Content-Type: application/json' "$EMBEDDED_URL$1" -d "$2"; }
get() { curl -sS --max-time 60 "$EMBEDDED_URL$1"; }

user='"messages":[{"role":"user","content":"upper cat"}]'
expect chat "$(post /v1/chat/completions "{$user,\"seed\":0}")" '"content":"CAT".*"finish_reason":"stop".*"usage"'
stream=$(post /v1/chat/completions "{$user,\"seed\":0,\"stream\":true,\"stream_options\":{\"include_usage\":true}}")
expect "chat stream" "$stream" '"delta":\{"role":"assistant","content":""\}'
expect "chat stream" "$stream" '"delta":\{"content":"CAT"\}'
expect "chat stream" "$stream" '"choices":\[\],"usage":\{"prompt_tokens"'
expect "chat stream" "$(tail -n 2 <<<"$stream")" '^data: \[DONE\]'
expect frames "$(post /v1/chat/completions "{$user,\"stream\":true,\"diffusion\":{\"frames\":true}}")" 'diffusion_frame'
expect "no frames" "$(grep -c diffusion_frame <<<"$stream" || true)" '^0$'
expect completion "$(post /v1/completions '{"prompt":"<bos><|turn>user\nupper cat<turn|>\n<|turn>model\n","seed":0}')" '"text":"CAT"'
expect responses "$(post /v1/responses '{"input":"upper cat","seed":0}')" '"type":"output_text","text":"CAT"'
expect "responses stream" "$(post /v1/responses '{"input":"upper cat","seed":0,"stream":true}')" '^event: response.completed'
expect messages "$(post /v1/messages "{$user,\"max_tokens\":40,\"seed\":0}")" '"type":"text","text":"CAT".*"stop_reason":"end_turn"'
expect "messages stream" "$(post /v1/messages "{$user,\"max_tokens\":40,\"stream\":true}")" '^event: message_stop'
expect count "$(post /v1/messages/count_tokens "{$user}")" '^\{"input_tokens":[0-9]+\}$'
expect "ollama chat" "$(post /api/chat "{$user,\"options\":{\"seed\":0}}")" '"content":"CAT"'
expect "ollama generate" "$(post /api/generate '{"prompt":"upper cat","stream":false,"options":{"seed":0}}')" '"response":"CAT".*"done":true'
expect tags "$(get /api/tags)" '"name":"embedded"'
expect show "$(post /api/show '{"model":"embedded"}')" '"capabilities":\["completion"'
expect ps "$(get /api/ps)" '"expires_at"'
expect version "$(get /api/version)" '"version":"[0-9]'
expect llama "$(post /completion '{"prompt":"<bos><|turn>user\nupper cat<turn|>\n<|turn>model\n","seed":0}')" '"content":"CAT".*"stop_type":"eos"'
expect tokenize "$(post /tokenize '{"content":"upper cat"}')" '^\{"tokens":\[[0-9,]+\]\}$'
expect detokenize "$(post /detokenize "$(post /tokenize '{"content":"upper cat"}')")" '"content":"upper cat"'
expect template "$(post /apply-template "{$user}")" '<\|turn>user\\nupper cat<turn\|>'
expect props "$(get /props)" '"canvas_tokens":64'
expect slots "$(get /slots)" '"is_processing":(true|false)'
expect models "$(get /v1/models)" '"object":"list","data":\[\{"id":"embedded"'
expect model "$(get /v1/models/embedded)" '"id":"embedded"'
expect health "$(get /health)" '"status":"ok"'
expect metrics "$(get /metrics)" '^dgemma_'
expect page "$(get /)" '<html'
expect "bad field" "$(post /v1/chat/completions '{"messages":[{"role":"user","content":1}]}')" '"param":"messages\[0\].content"'
expect "not found" "$(get /v1/nothing)" '"error"'
expect embeddings "$(post /v1/embeddings '{"input":"x"}')" '"unsupported"'

# An abort in the middle of a long, slow answer leaves the server free for the next one.
long=$(printf 'x%.0s' $(seq 1500))
curl -sS --max-time 0.5 "$SCRIPTED_URL/v1/chat/completions" \
  -d "{\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"$long\"}]}" >/dev/null 2>&1 && {
  echo "FAILED abort: the answer was not long enough"
  failures=$((failures + 1))
}
sleep 0.3
slots=$(curl -sS "$SCRIPTED_URL/slots")
expect "slots after an abort" "$(grep -c '"is_processing":true' <<<"$slots" || true)" '^0$'

if [ "$failures" -gt 0 ]; then
  echo "$failures failed"
  exit 1
fi
echo "curl: all answers as expected"
