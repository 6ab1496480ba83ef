// Allocations, counted and made to fail. counted_new.cc among a test's sources replaces operator new of the whole
// program; threads allocate as ever while they are Uncounted.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dgemma::test {

/// While one lives, allocations of the thread that made it neither count nor fail: what plays the client, or is not under test.
class Uncounted {
 public:
  Uncounted();
  ~Uncounted();
  Uncounted(const Uncounted&) = delete;
  Uncounted& operator=(const Uncounted&) = delete;

 private:
  const bool before_;
};

/// Counted bytes that are held now, and the most since ResetPeak.
size_t LiveBytes();
size_t PeakBytes();
void ResetPeak();

/// From now on the allocation with this number (from 0) fails, once; a negative number: none. Starts the count anew.
void FailAllocation(int64_t number);
/// Since FailAllocation.
int64_t Allocations();

}  // namespace dgemma::test
