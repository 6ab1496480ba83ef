// Two macros that pass a failed Result on to the caller, optionally saying where it happened.
// They are the only macros of the project's error handling; see include/dgemma/status.h for the types.
#pragma once

#include "dgemma/status.h"

#define DG_CONCAT_INNER(a, b) a##b
#define DG_CONCAT(a, b) DG_CONCAT_INNER(a, b)

/// `DG_TRY(auto size, CheckedMul(rows, cols));` declares or assigns from a Result, or returns its Status.
#define DG_TRY(declaration, expression)                                         \
  auto DG_CONCAT(dg_result_, __LINE__) = (expression);                          \
  if (!DG_CONCAT(dg_result_, __LINE__)) [[unlikely]]                            \
    return std::unexpected(std::move(DG_CONCAT(dg_result_, __LINE__)).error()); \
  declaration = *std::move(DG_CONCAT(dg_result_, __LINE__))

/// `DG_CHECK_OK(Validate(x));` for a Result<void>: returns its Status to the caller when it failed.
#define DG_CHECK_OK(expression)                             \
  do {                                                      \
    auto dg_status = (expression);                          \
    if (!dg_status) [[unlikely]]                            \
      return std::unexpected(std::move(dg_status).error()); \
  } while (false)
