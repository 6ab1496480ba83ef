// Memory that host backends (ref, cpu) share: aligned zeroed buffers and dense <-> strided row copies.
#pragma once

#include "dgemma/status.h"
#include "tensor/matrix.h"

namespace dgemma {

/// Zeroed, 64-byte aligned; large buffers ask the system for huge pages. kResourceExhausted when memory is short.
Result<Buffer> AllocateHost(int64_t bytes);

/// Dense source rows into the rows of a matrix, and back; rows of one matrix into another of the same shape.
void CopyRows(const float* source, Matrix target);
void CopyRows(Matrix source, float* target);
void CopyRows(Matrix source, Matrix target);

}  // namespace dgemma
