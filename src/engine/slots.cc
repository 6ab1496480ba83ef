// Which slot a prompt gets.
#include "engine/slots.h"

#include <algorithm>

#include "base/try.h"
#include "engine/guard.h"

namespace dgemma {
namespace {

/// Fewer tokens than these are not worth a copy, which moves up to a whole ring.
constexpr int64_t kLeastCopied = 16;

}  // namespace

Result<Slots> Slots::Create(int64_t count, const Config& config, int64_t context, int64_t pass_rows, Kernels& kernels) {
  return Guarded([&]() -> Result<Slots> {
    Slots slots(config, kernels);
    for (int64_t i = 0; i < count; ++i) {
      DG_TRY(Timeline timeline, Timeline::Create(config, context, pass_rows, kernels));
      slots.slots_.push_back({.timeline = std::move(timeline)});
    }
    return slots;
  });
}

Result<void> Slots::AllocateStores() {
  for (Slot& slot : slots_) DG_CHECK_OK(slot.timeline.Store(*config_, *kernels_));
  return {};
}

int64_t Slots::idle() const {
  return std::count_if(slots_.begin(), slots_.end(), [](const Slot& slot) { return !slot.busy; });
}

Slot* Slots::BestMatch(const std::string& salt, std::span<const int32_t> prompt, DecodeMode mode) {
  Slot* best = nullptr;
  int64_t most = 0;
  for (Slot& slot : slots_) {
    if (slot.busy || slot.last_use == 0 || slot.salt != salt) continue;
    const int64_t reusable = slot.timeline.Reusable(prompt, mode);
    if (reusable <= most || 2 * reusable < slot.prompt_tokens) continue;
    most = reusable;
    best = &slot;
  }
  return best;
}

Slot* Slots::LeastRecentlyUsed() {
  Slot* oldest = nullptr;
  for (Slot& slot : slots_) {
    if (!slot.busy && (oldest == nullptr || slot.last_use < oldest->last_use)) oldest = &slot;
  }
  return oldest;
}

void Slots::CopyLongestPrefix(std::span<const int32_t> prompt, DecodeMode mode, Slot& slot) {
  const Slot* source = nullptr;
  int64_t most = slot.timeline.Reusable(prompt, mode) + kLeastCopied - 1;
  for (const Slot& other : slots_) {
    if (&other == &slot || other.last_use == 0 || other.salt != slot.salt) continue;
    const int64_t reusable = other.timeline.Reusable(prompt, mode);
    if (reusable <= most) continue;
    most = reusable;
    source = &other;
  }
  if (source != nullptr) slot.timeline.CopyPrefix(source->timeline, most, *kernels_);
}

Slot* Slots::Take(const std::string& salt, std::span<const int32_t> prompt, DecodeMode mode, bool* cleared) {
  Slot* slot = BestMatch(salt, prompt, mode);
  if (slot == nullptr) slot = LeastRecentlyUsed();
  if (slot == nullptr) return nullptr;
  *cleared = slot->last_use > 0 && slot->salt != salt;
  if (*cleared) slot->timeline.Clear(*kernels_);
  slot->salt = salt;
  CopyLongestPrefix(prompt, mode, *slot);
  slot->prompt_tokens = std::ssize(prompt);
  slot->busy = true;
  slot->last_use = ++uses_;
  return slot;
}

void Slots::GiveBack(Slot& slot) {
  slot.busy = false;
  slot.last_use = ++uses_;
}

}  // namespace dgemma
