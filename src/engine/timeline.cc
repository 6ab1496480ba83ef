// Prefixes: what a new prompt shares with the tokens in the cache.
#include "engine/timeline.h"

#include <algorithm>

#include "base/try.h"

namespace dgemma {

Result<Timeline> Timeline::Create(const Config& config, int64_t context, int64_t pass_rows, Kernels& kernels) {
  DG_TRY(KvCache cache, KvCache::Create(config, context, pass_rows, kernels));
  DG_TRY(Buffer soft, kernels.Allocate(SoftBytes(config)));
  Timeline timeline(std::move(cache), std::move(soft));
  timeline.tokens_.reserve(static_cast<size_t>(context));
  return timeline;
}

int64_t Timeline::Reusable(std::span<const int32_t> prompt, DecodeMode mode) const {
  auto common = std::mismatch(tokens_.begin(), tokens_.end(), prompt.begin(), prompt.end()).first - tokens_.begin();
  // An autoregressive answer starts from the logits of the last prompt token, which therefore has to be computed.
  if (mode == DecodeMode::kAutoregressive && common == std::ssize(prompt) && common > 0) --common;
  return cache_.CanTruncate(common) ? common : 0;
}

void Timeline::KeepCommonPrefix(std::span<const int32_t> prompt, DecodeMode mode) {
  const int64_t kept = Reusable(prompt, mode);
  if (kept == 0)
    Reset();
  else
    cache_.Truncate(kept);
  tokens_.resize(static_cast<size_t>(kept));
}

void Timeline::CopyPrefix(const Timeline& from, int64_t tokens, Kernels& kernels) {
  cache_.CopyPrefix(from.cache_, tokens, kernels);
  tokens_.assign(from.tokens_.begin(), from.tokens_.begin() + tokens);
}

void Timeline::SetTokens(std::span<const int32_t> sequence) {
  if (std::ssize(sequence) < cache_.end()) return Reset();  // the story failed before it wrote anything down
  tokens_.assign(sequence.begin(), sequence.begin() + cache_.end());
}

void Timeline::Reset() {
  cache_.Reset();
  tokens_.clear();
}

void Timeline::Clear(Kernels& kernels) {
  std::fill(tokens_.begin(), tokens_.end(), 0);
  Reset();
  cache_.Clear(kernels);
  FillWithZeros(soft_, kernels);
  if (store_) store_->Clear(kernels);
}

Result<CanvasStore*> Timeline::Store(const Config& config, Kernels& kernels) {
  if (!store_) {
    DG_TRY(store_, CanvasStore::Create(config, kernels));
  }
  return &*store_;
}

}  // namespace dgemma
