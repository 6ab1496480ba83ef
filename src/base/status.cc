// Names of the status codes. The type itself is in include/dgemma/status.h.
#include "dgemma/status.h"

namespace dgemma {

const char* Name(StatusCode code) {
  switch (code) {
    case StatusCode::kInvalidArgument:
      return "invalid_argument";
    case StatusCode::kInvalidFile:
      return "invalid_file";
    case StatusCode::kNotFound:
      return "not_found";
    case StatusCode::kUnsupported:
      return "unsupported";
    case StatusCode::kResourceExhausted:
      return "resource_exhausted";
    case StatusCode::kCancelled:
      return "cancelled";
    case StatusCode::kNonFinite:
      return "non_finite";
    case StatusCode::kIo:
      return "io";
    case StatusCode::kInternal:
      return "internal";
  }
  return "unknown";
}

}  // namespace dgemma
