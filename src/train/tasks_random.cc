// The hash and the stream behind tasks_random.h.
#include "train/tasks_random.h"

#include "base/hash.h"
#include "base/philox.h"

namespace dgemma {

uint64_t HashText(std::string_view text) {
  uint64_t hash = Fnv1a().Add(text).value();
  hash = (hash ^ (hash >> 30)) * 0xBF58476D1CE4E5B9;
  hash = (hash ^ (hash >> 27)) * 0x94D049BB133111EB;
  return hash ^ (hash >> 31);
}

TaskRandom::TaskRandom(uint64_t seed, std::string_view task, uint64_t index, uint32_t attempt)
    : counter_{0, attempt, static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32)} {
  const uint64_t key = seed ^ HashText(task);
  key_ = {static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32)};
}

uint32_t TaskRandom::Below(uint32_t bound) {
  if (used_ == words_.size()) {
    words_ = Philox4x32(counter_, key_);
    ++counter_[0];
    used_ = 0;
  }
  return static_cast<uint32_t>((static_cast<uint64_t>(words_[used_++]) * bound) >> 32);
}

}  // namespace dgemma
