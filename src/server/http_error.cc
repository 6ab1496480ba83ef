// The three shapes of errors, made of one HttpError.
#include "server/http_error.h"

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

namespace dgemma {
namespace {

boost::json::value TextOrNull(std::string_view text) {
  if (text.empty()) return nullptr;
  return boost::json::string(text);
}

}  // namespace

std::string_view OpenAiErrorType(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    case 501:
      return "not_supported_error";
    case 503:
      return "unavailable_error";
    default:
      return status < 500 ? "invalid_request_error" : "server_error";
  }
}

std::string_view AnthropicErrorType(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 413:
      return "request_too_large";
    case 429:
      return "rate_limit_error";
    case 503:
      return "overloaded_error";
    default:
      return status < 500 ? "invalid_request_error" : "api_error";
  }
}

std::string ErrorJson(ApiFamily family, const HttpError& error, std::string_view id) {
  switch (family) {
    case ApiFamily::kOllama:
      return boost::json::serialize(boost::json::object{{"error", error.message}});
    case ApiFamily::kAnthropic:
      return boost::json::serialize(
          boost::json::object{{"type", "error"},
                              {"error", {{"type", AnthropicErrorType(error.status)}, {"message", error.message}}},
                              {"request_id", TextOrNull(id)}});
    case ApiFamily::kOpenAi:
      break;
  }
  return boost::json::serialize(boost::json::object{{"error",
                                                     {{"message", error.message},
                                                      {"type", OpenAiErrorType(error.status)},
                                                      {"param", TextOrNull(error.param)},
                                                      {"code", TextOrNull(error.code)}}}});
}

HttpResponse ErrorResponse(ApiFamily family, const HttpError& error, std::string_view id) {
  HttpResponse response;
  response.status = error.status;
  response.body = ErrorJson(family, error, id);
  if (error.retry_after_s > 0) response.fields.push_back({"Retry-After", fmt::format("{}", error.retry_after_s)});
  return response;
}

ApiFamily FamilyOfPath(std::string_view path) {
  if (path == "/v1/messages" || path.starts_with("/v1/messages/")) return ApiFamily::kAnthropic;
  if (path.starts_with("/api/")) return ApiFamily::kOllama;
  return ApiFamily::kOpenAi;
}

}  // namespace dgemma
