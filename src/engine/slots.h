// The prefix cache: S timelines allocated at the start, each keeping the text it read last for the salt that it read it
// for. A request gets the idle slot that goes on with its own text, or the one that was not used for longest and a copy
// of what any slot of its salt, busy or idle, holds of its prompt. No slot is seen by two salts: a slot is zeroed before
// it changes hands.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "engine/timeline.h"

namespace dgemma {

struct Slot {
  Timeline timeline;
  std::string salt{};         ///< whose text it holds
  int64_t prompt_tokens = 0;  ///< of the request that it was taken for last; what follows them is an answer
  bool busy = false;
  uint64_t last_use = 0;  ///< order of Take and GiveBack; 0: never
};

class Slots {
 public:
  /// `count` slots for sequences of `context` tokens and passes that write `pass_rows` rows; config and kernels outlive
  /// them.
  static Result<Slots> Create(int64_t count, const Config& config, int64_t context, int64_t pass_rows,
                              Kernels& kernels);
  /// Memory for SkipOptions in every slot.
  Result<void> AllocateStores();

  int64_t size() const { return std::ssize(slots_); }
  int64_t idle() const;
  std::span<const Slot> all() const { return slots_; }

  /// An idle slot for a prompt, now busy; nullptr when there is none. The slot of this salt from which most of the
  /// prompt can be reused, if that is at least half of the prompt that it was taken for before; else the one that was
  /// not used for longest. If it held another salt's text, it is zeroed and `*cleared` set. Where another slot of this
  /// salt holds more of the prompt, that part is copied; the tokens of busy slots must be up to date
  /// (Answering::ShareTokens).
  Slot* Take(const std::string& salt, std::span<const int32_t> prompt, DecodeMode mode, bool* cleared);
  void GiveBack(Slot& slot);

 private:
  Slots(const Config& config, Kernels& kernels) : config_(&config), kernels_(&kernels) {}
  Slot* BestMatch(const std::string& salt, std::span<const int32_t> prompt, DecodeMode mode);
  Slot* LeastRecentlyUsed();
  void CopyLongestPrefix(std::span<const int32_t> prompt, DecodeMode mode, Slot& slot);

  const Config* config_;
  Kernels* kernels_;
  std::vector<Slot> slots_;
  uint64_t uses_ = 0;
};

}  // namespace dgemma
