// The boundary of the library: nothing is thrown across it. Running out of memory inside becomes a Status.
#pragma once

#include <new>
#include <stdexcept>
#include <string>
#include <system_error>

#include "dgemma/status.h"

namespace dgemma {

/// body(), a Result, with an allocation that failed inside turned into kResourceExhausted.
template <typename Body>
auto Guarded(Body&& body) -> decltype(body()) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return Fail(StatusCode::kResourceExhausted, "memory: an allocation failed");
  } catch (const std::system_error& error) {  // a thread that cannot be started
    return Fail(StatusCode::kResourceExhausted, std::string("threads: ") + error.what());
  } catch (const std::length_error&) {
    return Fail(StatusCode::kResourceExhausted, "memory: a size exceeds what can be allocated");
  }
}

}  // namespace dgemma
