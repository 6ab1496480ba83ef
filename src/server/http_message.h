// A request as handlers see it and an answer as they give it. Plain values: no socket, no parser, no model.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dgemma {

enum class HttpMethod : uint8_t { kGet, kHead, kPost, kPut, kDelete, kOptions, kOther };

/// "GET", ...; "" for kOther.
std::string_view Name(HttpMethod method);

/// One header field. Names of requests are in lower case.
struct HttpField {
  std::string name;
  std::string value;

  bool operator==(const HttpField&) const = default;
};

/// Everything before the body. Already checked: framing is unambiguous, `path` begins with '/', no byte is a control.
struct RequestHead {
  HttpMethod method = HttpMethod::kOther;
  std::string path;               ///< as sent, up to '?'; percent signs are not decoded
  std::string query;              ///< after '?', as sent
  int minor_version = 1;          ///< HTTP/1.x
  std::vector<HttpField> fields;  ///< in the order sent
  std::optional<uint64_t> content_length;
  bool chunked = false;
  bool keep_alive = true;  ///< what the client wants
  bool expects_continue = false;

  /// Value of the first field of that name (lower case), "" when there is none.
  std::string_view Field(std::string_view name) const {
    for (const HttpField& field : fields) {
      if (field.name == name) return field.value;
    }
    return {};
  }
  bool HasBody() const { return chunked || content_length.value_or(0) > 0; }

  bool operator==(const RequestHead&) const = default;
};

/// Who asks.
struct Caller {
  std::string key_name;  ///< "" when no keys are set; also the salt that separates what the prefix cache may share
};

/// A whole request that passed the router.
struct HttpRequest {
  RequestHead head;
  std::string body;
  std::vector<std::string> parameters;  ///< what the {names} of the route's pattern matched, in order, percent-decoded
  std::string id;                       ///< for logs and errors; the client gets it as X-Request-Id
  Caller caller;
};

/// A whole answer. Content-Length, Connection, Date, X-Request-Id and CORS fields are added by the server.
struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body = {};
  std::vector<HttpField> fields = {};  ///< further ones, such as Retry-After
};

/// "Not Found" for 404; "Status" for codes that the server never sends.
std::string_view ReasonPhrase(int status);

}  // namespace dgemma
