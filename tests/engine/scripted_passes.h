// A model for tests of scheduling: no network, but caches that are really written and read. What it predicts is a
// function of the tokens it reads back from a cache, so that a wrong slot, a stale prefix or a neighbour's text shows
// as a wrong answer; ExpectedAnswer computes the same from the prompt alone. Passes can be slow, fail, throw, or be
// poisoned with NaN for chosen answers.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <vector>

#include "engine/scheduler.h"
#include "support/idle_kernels.h"

namespace dgemma::test {

inline constexpr int64_t kScriptedVocab = 512, kScriptedCanvas = 8, kScriptedContext = 192, kScriptedChunk = 8;
inline constexpr int32_t kScriptedStop = 106;  // closes a turn in the starter tokenizer

/// Zeroed memory can be had and written; nothing is computed.
class ScriptedKernels final : public IdleKernels {
 public:
  void Upload(std::span<const float> source, Matrix target) override {
    for (int64_t row = 0; row < target.rows; ++row)
      std::copy_n(source.data() + row * target.cols, target.cols, target.Row(row));
  }
  void Copy(Matrix source, Matrix target) override { CopyRows(source, target); }
  void Sample(HeadScratch&, std::span<const int32_t>, std::span<const double>, std::span<int32_t> ids) override {
    std::fill(ids.begin(), ids.end(), 300);
  }
};

inline Config ScriptedConfig() {
  Config config;
  config.vocab = kScriptedVocab;
  config.width = 4;
  config.window = 16;
  config.max_positions = kScriptedContext;
  config.canvas = kScriptedCanvas;
  config.image_token = 251;
  config.layers = {{true, 1, 1}, {false, 1, 1}};
  return config;
}

inline uint64_t Mixed(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0x9E3779B97F4A7C15u;
  return hash ^ (hash >> 29);
}

inline uint64_t HashOf(std::span<const int32_t> sequence) {
  uint64_t hash = 1;
  for (int32_t id : sequence) hash = Mixed(hash, static_cast<uint64_t>(id));
  return hash;
}

/// The canvas after a sequence: ordinary tokens, in one of three with a stop token somewhere.
inline std::vector<int32_t> ScriptedCanvas(std::span<const int32_t> sequence) {
  const uint64_t hash = HashOf(sequence);
  std::vector<int32_t> canvas;
  for (uint64_t row = 0; row < kScriptedCanvas; ++row)
    canvas.push_back(300 + static_cast<int32_t>(Mixed(hash, row) % 200));
  if (hash % 3 == 0) canvas[(hash >> 8) % kScriptedCanvas] = kScriptedStop;
  return canvas;
}

/// The next token of an autoregressive answer.
inline int32_t ScriptedToken(std::span<const int32_t> sequence) {
  const uint64_t hash = HashOf(sequence);
  return hash % 7 == 0 ? kScriptedStop : 300 + static_cast<int32_t>(Mixed(hash, 77) % 200);
}

/// Steps of a canvas that are not yet sure.
inline int ScriptedDoubts(std::span<const int32_t> sequence) { return static_cast<int>((HashOf(sequence) >> 16) % 4); }

struct Expected {
  std::vector<int32_t> tokens;
  FinishReason finish = FinishReason::kStop;
};

/// The answer to a prompt, found without an engine.
inline Expected ExpectedAnswer(std::vector<int32_t> sequence, const GenerateOptions& options) {
  Expected expected;
  const int64_t step = options.mode == DecodeMode::kDiffusion ? kScriptedCanvas : 1;
  while (true) {
    // A canvas needs its positions in the cache; a single token is written only when another follows it.
    const bool full =
        step > 1 ? std::ssize(sequence) + step > kScriptedContext : std::ssize(sequence) > kScriptedContext;
    if (full) {
      expected.finish = FinishReason::kContext;
      return expected;
    }
    const std::vector<int32_t> written = step > 1 ? ScriptedCanvas(sequence) : std::vector{ScriptedToken(sequence)};
    for (int32_t id : written) {
      if (id == kScriptedStop) return expected;
      if (std::ssize(expected.tokens) == options.max_new_tokens) break;
      expected.tokens.push_back(id);
    }
    const bool stops = std::find(written.begin(), written.end(), kScriptedStop) != written.end();
    if (stops || std::ssize(expected.tokens) == options.max_new_tokens) {
      expected.finish = FinishReason::kLength;
      return expected;
    }
    sequence.insert(sequence.end(), written.begin(), written.end());
  }
}

enum class PassFate : uint8_t { kRuns, kFails, kThrows };

class ScriptedPasses final : public PassExecutor {
 public:
  explicit ScriptedPasses(Kernels& kernels, int64_t canvases)
      : kernels_(kernels), canvases_(canvases), scratch_(kernels.MakeHeadScratch()) {}

  int64_t max_rows() const override { return kScriptedChunk + canvases_ * kScriptedCanvas; }
  int64_t max_canvases() const override { return canvases_; }

  Result<void> Run(std::span<PassJob* const> jobs, std::stop_token stop) override {
    CheckLimits(jobs);
    const PassFate fate = on_pass ? on_pass(jobs) : PassFate::kRuns;
    for (const PassJob* job : jobs) Write(*job);  // a pass that fails half-way has written, too
    if (stop.stop_requested()) return Fail(StatusCode::kCancelled, "cancelled");
    if (fate == PassFate::kThrows) throw std::bad_alloc();
    if (fate == PassFate::kFails) return Fail(StatusCode::kInternal, "pass: a fault was injected");
    rows_.clear();
    logits_.clear();
    for (PassJob* job : jobs) Predict(*job);
    return {};
  }

  /// Called in every pass before it computes; may call the Scheduler as another thread would.
  std::function<PassFate(std::span<PassJob* const>)> on_pass;
  /// Whether the predictions of this job are to hold NaN.
  std::function<bool(const PassJob&)> poison;

 private:
  void CheckLimits(std::span<PassJob* const> jobs) const {
    int64_t rows = 0, canvases = 0;
    std::vector<const KvCache*> caches;
    for (const PassJob* job : jobs) {
      rows += job->rows();
      canvases += job->has_canvas();
      for (const Segment& segment : job->segments) EXPECT_EQ(segment.cache, job->segments[0].cache);
      caches.push_back(job->segments[0].cache);
    }
    EXPECT_LE(rows, max_rows());
    EXPECT_LE(canvases, max_canvases());
    std::sort(caches.begin(), caches.end());
    EXPECT_EQ(std::adjacent_find(caches.begin(), caches.end()), caches.end()) << "a cache in two jobs of a pass";
  }

  static float& Value(const KvCache& cache, size_t layer, int64_t pos) {
    const KvStore store = cache.Layer(layer);
    return store.v[store.ValueIndex(0, pos % store.slots, 0)];
  }

  static void Write(const PassJob& job) {
    int64_t end = job.segments[0].cache->end();
    for (const Segment& segment : job.segments) {
      EXPECT_EQ(segment.pos, end);
      EXPECT_FALSE(segment.tokens.empty());
      if (!segment.causal()) continue;
      end += segment.rows();
      ASSERT_LE(end, segment.cache->context());
      segment.cache->WillWrite(end);
      for (int64_t row = 0; row < segment.rows(); ++row) {
        for (size_t layer : {0u, 1u})
          Value(*segment.cache, layer, segment.pos + row) =
              static_cast<float>(segment.tokens[static_cast<size_t>(row)]);
      }
    }
  }

  /// What stands in the cache below `end`; the ring has to hold the window's part of it.
  static std::vector<int32_t> Read(const KvCache& cache, int64_t end) {
    std::vector<int32_t> sequence;
    for (int64_t pos = 0; pos < end; ++pos) sequence.push_back(static_cast<int32_t>(Value(cache, 1, pos)));
    for (int64_t pos = std::max<int64_t>(0, end - 15); pos < end; ++pos)
      EXPECT_EQ(static_cast<int32_t>(Value(cache, 0, pos)), sequence[static_cast<size_t>(pos)]) << "ring at " << pos;
    return sequence;
  }

  void Predict(PassJob& job) {
    const bool poisoned = poison && poison(job);
    for (const Segment& segment : job.segments) {
      if (segment.causal()) {
        segment.cache->Append(segment.rows());
        if (segment.hidden == HiddenRows::kLast) PredictToken(job, *segment.cache, poisoned);
      } else {
        PredictCanvas(job, segment, poisoned);
      }
    }
  }
  void PredictToken(PassJob& job, const KvCache& cache, bool poisoned) {
    std::vector<float>& logits = logits_.emplace_back(static_cast<size_t>(kScriptedVocab), 0.0f);
    logits[static_cast<size_t>(ScriptedToken(Read(cache, cache.end())))] = 1;
    if (poisoned) logits[0] = NAN;
    job.logits = logits;
  }
  void PredictCanvas(PassJob& job, const Segment& segment, bool poisoned) {
    const std::vector<int32_t> sequence = Read(*segment.cache, segment.pos);
    const std::vector<int32_t> canvas = ScriptedCanvas(sequence);
    int& step = steps_[segment.cache];
    step = segment.soft.data == nullptr ? 0 : step + 1;
    std::vector<HeadRow>& rows = rows_.emplace_back();
    for (int64_t row = 0; row < segment.rows(); ++row) {
      const int32_t id = canvas[static_cast<size_t>(segment.Place(row))];
      rows.push_back({id, 1.0f, step < ScriptedDoubts(sequence) ? 1.0f : 0.0f, true});
    }
    if (poisoned) rows.back() = {0, NAN, NAN, false};
    job.predictions = {&kernels_, scratch_.get(), 0, rows, {soft_.data(), segment.rows(), 4, 4}};
  }

  Kernels& kernels_;
  int64_t canvases_;
  std::unique_ptr<HeadScratch> scratch_;
  std::vector<float> soft_ = std::vector<float>(kScriptedCanvas * 4);
  std::map<const KvCache*, int> steps_;
  std::list<std::vector<HeadRow>> rows_;
  std::list<std::vector<float>> logits_;
};

/// The parts of a Scheduler over scripted passes, with a clock that stands until it is moved.
struct ScriptedEngine {
  ScriptedEngine(const Tokenizer& tokenizer, int64_t slots)
      : model{ScriptedConfig(), {}, kernels, 1.0f}, passes(kernels, slots) {
    parts.answers.model = &model;
    parts.answers.tokenizer = &tokenizer;
    parts.answers.chunk_rows = kScriptedChunk;
    parts.answers.now = [this] { return time; };
    parts.executor = &passes;
    parts.slots = slots;
    parts.context_tokens = kScriptedContext;
  }
  ScriptedEngine(const ScriptedEngine&) = delete;

  ScriptedKernels kernels;
  Model model;
  ScriptedPasses passes;
  SchedulerParts parts;
  SteadyTime time{std::chrono::hours(1)};
};

}  // namespace dgemma::test
