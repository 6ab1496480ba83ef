// Measures what this machine can do at most: multiply-adds of float32 and of bfloat16, int8 dot products and sequential reads.
// `dgemma bench` prints every figure as a share of these. Takes about half a second.
#pragma once

#include <cstdint>
#include <string>

namespace dgemma {

struct MachinePeak {
  std::string target;  ///< instruction set that the CPU backend chooses here, such as "AVX2"
  int threads = 1;
  double flops_one_thread = 0;   ///< float32 operations per second, a multiply-add counts as two
  double flops_all_threads = 0;  ///< the same with all threads at once
  double bf16_one_thread = 0;    ///< the same of bfloat16 pairs, as products with bfloat16 weights do them
  double bf16_all_threads = 0;   ///< the same with all threads at once
  double int8_one_thread =
      0;  ///< operations of integer dot products per second, as products with grouped weights do them
  double int8_all_threads = 0;       ///< the same with all threads at once
  double read_bytes_per_second = 0;  ///< sequential reads of memory far larger than the caches, all threads
};

/// The best of many short bursts, so that other work on the machine disturbs little.
MachinePeak MeasureMachinePeak(int threads);

}  // namespace dgemma
