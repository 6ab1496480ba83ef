// The one template of Connection, for its two sources.
#pragma once

#include "server/connection.h"

namespace dgemma {

template <typename Body>
auto Connection::Bound(Body body) {
  return [self = shared_from_this(), body](auto... arguments) {
    if (self->phase_ == Phase::kClosed) return;
    try {
      body(arguments...);
    } catch (...) {
      self->Close();  // no memory: this connection ends, the others go on
    }
  };
}

}  // namespace dgemma
