// A Timeline is one sequence of text in memory: its key/value cache, the tokens that stand in it, and the memory of one
// answer written on it. A Session has one; a Scheduler has one in each slot. Which prefix of a prompt need not be read
// again is decided here.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "dgemma/dgemma.h"
#include "diffusion/canvas.h"
#include "model/kv_cache.h"

namespace dgemma {

class Timeline {
 public:
  /// For sequences of `context` tokens and passes that write at most `pass_rows` rows; more of them let a prompt leave
  /// away as much of what was read last. Everything but the store is allocated here.
  static Result<Timeline> Create(const Config& config, int64_t context, int64_t pass_rows, Kernels& kernels);

  /// Tokens of `prompt`, from its start, that KeepCommonPrefix would keep. All that are common, unless a sliding
  /// layer's ring has overwritten the window before their end: then none. An autoregressive answer computes the last
  /// prompt token in any case.
  int64_t Reusable(std::span<const int32_t> prompt, DecodeMode mode) const;
  /// Keeps those and forgets the rest.
  void KeepCommonPrefix(std::span<const int32_t> prompt, DecodeMode mode);
  /// Becomes the first `tokens` tokens of another timeline of the same configuration and sizes, at most as many as are Reusable
  /// there. The other one may be in the middle of an answer, between two passes.
  void CopyPrefix(const Timeline& from, int64_t tokens, Kernels& kernels);
  /// Between passes or after an answer: `sequence` begins with what the cache holds now.
  void SetTokens(std::span<const int32_t> sequence);
  /// Forgets everything; memory keeps its bytes.
  void Reset();
  /// Forgets everything and overwrites it with zeros: keys, values, soft embeddings, token ids.
  void Clear(Kernels& kernels);

  /// Memory for settled rows, made by the first call. kResourceExhausted.
  Result<CanvasStore*> Store(const Config& config, Kernels& kernels);

  KvCache& cache() { return cache_; }
  int64_t context() const { return cache_.context(); }
  std::span<const int32_t> tokens() const { return tokens_; }
  /// [C, D] self-conditioning of the canvas at hand.
  Matrix soft_memory(const Config& config) const { return {soft_.Floats(), config.canvas, config.width, config.width}; }

 private:
  Timeline(KvCache cache, Buffer soft) : cache_(std::move(cache)), soft_(std::move(soft)) {}

  KvCache cache_;
  Buffer soft_;
  std::optional<CanvasStore> store_;
  std::vector<int32_t> tokens_;  // what the cache holds
};

}  // namespace dgemma
