// What `dgemma doctor` finds out about the machine: processor, memory, how fast memory is read. Linux files and one
// short measurement; nothing here knows of models.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dgemma {

struct Machine {
  std::string processor;              ///< as the system names it; empty when it does not
  std::vector<std::string> features;  ///< of those that matter here: avx2, avx512_bf16, asimd, ...
  int cores = 1;                      ///< that this process may use
  int64_t memory_bytes = 0;
  int64_t free_bytes = 0;       ///< available without swapping
  double bytes_per_second = 0;  ///< of reading memory with all cores, measured
};

/// Takes about a quarter of a second.
Machine DescribeMachine();

/// Memory that this process holds now, mapped files that are in memory included; 0 where the system does not say.
int64_t ResidentBytes();

}  // namespace dgemma
