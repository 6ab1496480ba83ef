// operator new with a header of 16 bytes that says whether the block is counted.
#include "support/counted_new.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

constexpr size_t kHeaderBytes = 16;

std::atomic<size_t> live_bytes{0}, peak_bytes{0};
std::atomic<int64_t> allocations{0}, fail_at{-1};
thread_local bool uncounted = false;

struct Header {
  size_t counted_bytes;
};
static_assert(sizeof(Header) <= kHeaderBytes);

void* Allocate(size_t size) {
  if (!uncounted && allocations++ == fail_at) throw std::bad_alloc();
  void* block = std::malloc(size + kHeaderBytes);
  if (block == nullptr) throw std::bad_alloc();
  static_cast<Header*>(block)->counted_bytes = uncounted ? 0 : size;
  if (!uncounted) {
    const size_t live = live_bytes += size;
    size_t peak = peak_bytes;
    while (live > peak && !peak_bytes.compare_exchange_weak(peak, live)) {
    }
  }
  return static_cast<char*>(block) + kHeaderBytes;
}

void Free(void* block) {
  if (block == nullptr) return;
  void* begin = static_cast<char*>(block) - kHeaderBytes;
  live_bytes -= static_cast<Header*>(begin)->counted_bytes;
  std::free(begin);
}

}  // namespace

void* operator new(size_t size) { return Allocate(size); }
void* operator new[](size_t size) { return Allocate(size); }
void operator delete(void* block) noexcept { Free(block); }
void operator delete[](void* block) noexcept { Free(block); }
void operator delete(void* block, size_t) noexcept { Free(block); }
void operator delete[](void* block, size_t) noexcept { Free(block); }

namespace dgemma::test {

Uncounted::Uncounted() : before_(uncounted) { uncounted = true; }
Uncounted::~Uncounted() { uncounted = before_; }

size_t LiveBytes() { return live_bytes; }
size_t PeakBytes() { return peak_bytes; }
void ResetPeak() { peak_bytes = live_bytes.load(); }

void FailAllocation(int64_t number) {
  fail_at = -1;
  allocations = 0;
  fail_at = number;
}

int64_t Allocations() { return allocations; }

}  // namespace dgemma::test
