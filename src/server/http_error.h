// Errors in the JSON shape that a route's clients expect. Messages are fixed strings and numbers, never request text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "server/http_message.h"

namespace dgemma {

/// Whose clients a route serves; decides the shape of its errors.
enum class ApiFamily : uint8_t {
  kOpenAi,     ///< {"error":{"message","type","param","code"}}; llama-server's routes too
  kAnthropic,  ///< {"type":"error","error":{"type","message"},"request_id"}
  kOllama,     ///< {"error":"message"}
};

/// A failure of a request.
struct HttpError {
  int status = 400;
  std::string message = {};  ///< may hold numbers and field paths, never what the client sent
  std::string param = {};    ///< OpenAI: path of the field at fault such as "messages[2].content"; "": null
  std::string code = {};     ///< OpenAI: a word such as "context_length_exceeded"; "": null
  int retry_after_s = 0;     ///< 0: no Retry-After
};

/// OpenAI's word for a status: 400 "invalid_request_error", 401 "authentication_error", 429 "rate_limit_error", ...
std::string_view OpenAiErrorType(int status);
/// Anthropic's word: 413 "request_too_large", 529 and 503 "overloaded_error", ...
std::string_view AnthropicErrorType(int status);

/// The error's JSON text alone, for streams that fail after their head. `id` is the request id.
std::string ErrorJson(ApiFamily family, const HttpError& error, std::string_view id);
HttpResponse ErrorResponse(ApiFamily family, const HttpError& error, std::string_view id);

/// The family of paths that no route has: /v1/messages... is Anthropic's, /api/... Ollama's, everything else OpenAI's.
ApiFamily FamilyOfPath(std::string_view path);

}  // namespace dgemma
