// Allocations of the server's threads, counted and made to fail. Linking failing_new.cc replaces operator new of the
// whole program; threads that a test has excused allocate as ever.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dgemma::test {

/// The calling thread's allocations neither count nor fail; for the thread that plays the client.
void ExcuseThisThread();

/// Bytes that other threads hold now, and the most since ResetPeak.
size_t LiveBytes();
size_t PeakBytes();
void ResetPeak();

/// From now on the allocation with this number (from 0) fails, once; a negative number: none. Starts the count anew.
void FailAllocation(int64_t number);
/// Since FailAllocation.
int64_t Allocations();

}  // namespace dgemma::test
