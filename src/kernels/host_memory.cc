// mmap for large buffers (zeroed by the system, huge pages, given back at once when freed), aligned_alloc for small ones.
#include "kernels/host_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>

namespace dgemma {
namespace {

constexpr int64_t kAlignment = 64;
constexpr int64_t kLargeBytes = 4 << 20;

Status OutOfMemory(int64_t bytes) {
  return {StatusCode::kResourceExhausted, "memory: cannot allocate " + std::to_string(bytes) + " bytes"};
}

}  // namespace

Result<Buffer> AllocateHost(int64_t bytes) {
  if (bytes < 0 || bytes > (int64_t{1} << 46)) return std::unexpected(OutOfMemory(bytes));
  const auto size = static_cast<size_t>((std::max<int64_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment);
  if (bytes >= kLargeBytes) {
    void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return std::unexpected(OutOfMemory(bytes));
    madvise(memory, size, MADV_HUGEPAGE);
    return Buffer{std::shared_ptr<void>(memory, [size](void* address) { munmap(address, size); }), bytes};
  }
  void* memory = std::aligned_alloc(kAlignment, size);
  if (memory == nullptr) return std::unexpected(OutOfMemory(bytes));
  std::memset(memory, 0, size);
  return Buffer{std::shared_ptr<void>(memory, [](void* address) { std::free(address); }), bytes};
}

void CopyRows(const float* source, Matrix target) {
  const size_t row_bytes = static_cast<size_t>(target.cols) * sizeof(float);
  for (int64_t row = 0; row < target.rows; ++row) std::memcpy(target.Row(row), source + row * target.cols, row_bytes);
}

void CopyRows(Matrix source, float* target) {
  const size_t row_bytes = static_cast<size_t>(source.cols) * sizeof(float);
  for (int64_t row = 0; row < source.rows; ++row) std::memcpy(target + row * source.cols, source.Row(row), row_bytes);
}

void CopyRows(Matrix source, Matrix target) {
  const size_t row_bytes = static_cast<size_t>(source.cols) * sizeof(float);
  for (int64_t row = 0; row < source.rows; ++row) std::memcpy(target.Row(row), source.Row(row), row_bytes);
}

}  // namespace dgemma
