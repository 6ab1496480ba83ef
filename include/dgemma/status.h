// Errors as values: Status says what went wrong, where, and which rule was broken; Result<T> is a value or a Status.
// Used by the whole library and part of its public interface; nothing here allocates beyond the message text.
#pragma once

#include <expected>
#include <string>
#include <utility>

#include "dgemma/export.h"

namespace dgemma {

/// What kind of failure a Status reports. The kinds matter to callers (exit codes, HTTP codes); the message is for people.
enum class StatusCode {
  kInvalidArgument,    ///< a caller's option or request is out of range or contradictory
  kInvalidFile,        ///< a file's bytes break a rule of its format (truncated, malformed, hostile)
  kNotFound,           ///< a file, folder or tensor that has to exist does not
  kUnsupported,        ///< valid, but not something this build can do
  kResourceExhausted,  ///< memory, context or a limit would be exceeded
  kCancelled,          ///< the caller asked to stop
  kNonFinite,          ///< the model produced NaN or infinity
  kIo,                 ///< the operating system refused a read or write
  kInternal,           ///< a broken invariant of our own: a bug
};

/// A failure. Message form: "<file or field>: <what is wrong> (<rule>)", one line, no trailing newline.
struct Status {
  StatusCode code = StatusCode::kInternal;
  std::string message;

  /// The same failure with a place put in front: Status{"too short"}.At("model.safetensors") -> "model.safetensors: too short".
  [[nodiscard]] Status At(const std::string& place) const { return {code, place + ": " + message}; }

  bool operator==(const Status&) const = default;
};

/// Name of a code as printed in JSON output and by tools, such as "invalid_file".
DGEMMA_API const char* Name(StatusCode code);

template <typename T>
using Result = std::expected<T, Status>;

/// Shorthand for returning a failure: `return Fail(StatusCode::kInvalidFile, "header too long");`
[[nodiscard]] inline std::unexpected<Status> Fail(StatusCode code, std::string message) {
  return std::unexpected(Status{code, std::move(message)});
}

}  // namespace dgemma
