// Kernels that spoil one output of one operation of a pass for the rows of one sequence, as a defect of a backend or of
// memory would. PoisonedPasses, a PassRunner with a watched sequence, tells them whose rows are where. For host memory.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/pass_runner.h"

namespace dgemma::test {

enum class PoisonShape : uint8_t { kAllValues, kOneValue };

/// What goes in, and where: places count the calls of a pass, in a call its outputs, in an output the watched sequence's
/// segments.
struct Poison {
  float value = 0;
  PoisonShape shape = PoisonShape::kAllValues;
  size_t place = 0;
};

/// "canvas"; "settled canvas" where settled rows are left out.
inline std::string KindOf(const Segment& segment) {
  constexpr const char* kNames[] = {"prompt", "commit", "step", "canvas"};
  return (segment.places.empty() ? "" : "settled ") + std::string(kNames[static_cast<size_t>(segment.kind)]);
}

class PoisonedKernels final : public Kernels {
 public:
  explicit PoisonedKernels(std::unique_ptr<Kernels> inner) : inner_(std::move(inner)) {}

  /// A segment of a pass, and whether it belongs to the watched sequence.
  struct Watched {
    const Segment* segment;
    bool yes;
  };
  /// `segments` in the order of the pass's rows.
  void BeginPass(std::vector<Watched> segments, std::optional<Poison> poison) {
    segments_ = std::move(segments);
    poison_ = poison;
    places_.clear();
    total_rows_ = 0;
    for (const Watched& watched : segments_) total_rows_ += watched.segment->rows();
    in_pass_ = true;
    in_layers_ = false;
    embedded_ = gathered_ = 0;
  }
  void EndPass() { in_pass_ = false; }
  /// Every place of the last pass, by name: "Attend.out of commit".
  const std::vector<std::string>& places() const { return places_; }

  /// Remembers what is allocated from now on.
  void WatchMemory() { memory_.emplace(); }
  /// Whether that holds numbers only, where it still exists.
  bool MemoryIsFinite() const {
    return std::ranges::all_of(*memory_, [](const auto& block) {
      const std::shared_ptr<void> owner = block.first.lock();
      const auto* floats = static_cast<const float*>(owner.get());
      return owner == nullptr || std::all_of(floats, floats + block.second / sizeof(float),
                                             [](float value) { return std::isfinite(value); });
    });
  }

  std::string Description() const override { return inner_->Description(); }
  Rounding rounding() const override { return inner_->rounding(); }
  Result<Buffer> Allocate(int64_t bytes) override {
    Result<Buffer> buffer = inner_->Allocate(bytes);
    if (buffer && memory_) memory_->emplace_back(buffer->owner, static_cast<size_t>(bytes));
    return buffer;
  }
  Result<Weight> Pack(const StoredTensor& tensor, const WeightFormat& format) override {
    return inner_->Pack(tensor, format);
  }
  Result<Weight> PackVector(const StoredTensor& tensor) override { return inner_->PackVector(tensor); }
  int64_t PackedBytes(const WeightFormat& format, int64_t count, int64_t out, int64_t in) const override {
    return inner_->PackedBytes(format, count, out, in);
  }
  void Upload(std::span<const float> source, Matrix target) override {
    inner_->Upload(source, target);
    Spoil("Upload.rotary", target);
  }
  void Download(Matrix source, std::span<float> target) override { inner_->Download(source, target); }
  void Copy(Matrix source, Matrix target) override { inner_->Copy(source, target); }
  void Embed(std::span<const int32_t> ids, const Weight& table, float scale, Matrix out) override {
    inner_->Embed(ids, table, scale, out);
    ASSERT_EQ(ids.data(), segments_[embedded_].segment->tokens.data()) << "segments are laid out otherwise";
    ++embedded_;
    Spoil("Embed.out", out);
  }
  void RmsNorm(Matrix x, const Weight& weight, Matrix out) override {
    inner_->RmsNorm(x, weight, out);
    Spoil("RmsNorm.out", out);
  }
  void Linear(Matrix x, std::span<const RowRole> roles, const Weight& w, Matrix out) override {
    inner_->Linear(x, roles, w, out);
    Spoil("Linear.out", out);
  }
  void AddRmsNorm(Matrix x, Matrix sum) override {
    inner_->AddRmsNorm(x, sum);
    Spoil("AddRmsNorm.sum", sum);
  }
  void NormAdd(Matrix y, const Weight& weight, Matrix residual) override {
    inner_->NormAdd(y, weight, residual);
    Spoil("NormAdd.residual", residual);
  }
  void ProjectQkv(Matrix a, std::span<const RowRole> roles, const QkvWeights& w, const QkvShape& shape,
                  const Rotary& rotary, std::span<const KvTarget> target, Matrix q) override {
    inner_->ProjectQkv(a, roles, w, shape, rotary, target, q);
    in_layers_ = true;
    Spoil("ProjectQkv.q", q);
    for (const bool keys : {true, false}) {
      Spoil(keys ? "ProjectQkv.k" : "ProjectQkv.v", q.rows, target[0].store.kv_heads * shape.head_size,
            [&](int64_t row, int64_t col) -> float& {
              const auto& [store, slot] = target[static_cast<size_t>(row)];
              const int64_t head = col / shape.head_size, dim = col % shape.head_size;
              return keys ? store.k[store.KeyIndex(head, slot, dim)] : store.v[store.ValueIndex(head, slot, dim)];
            });
    }
  }
  void Attend(std::span<const AttentionSpan> spans, const QkvShape& shape, Matrix q, Matrix out) override {
    inner_->Attend(spans, shape, q, out);
    Spoil("Attend.out", out);
  }
  void GatedMlp(Matrix x, std::span<const RowRole> roles, const MlpWeights& w, Matrix out) override {
    inner_->GatedMlp(x, roles, w, out);
    Spoil("GatedMlp.out", out);
  }
  void Route(Matrix h, std::span<const RowRole> roles, const RouterWeights& w, int64_t active,
             Routes& routes) override {
    inner_->Route(h, roles, w, active, routes);
    Spoil("Route.weight", {routes.weight.data(), h.rows, active, active});
  }
  void Experts(Matrix x, std::span<const RowRole> roles, const ExpertWeights& w, const Routes& routes,
               Matrix out) override {
    inner_->Experts(x, roles, w, routes, out);
    Spoil("Experts.out", out);
  }
  void JoinBranches(Matrix dense, Matrix experts, const BranchNorms& norms, std::span<const float> scalar,
                    Matrix h) override {
    inner_->JoinBranches(dense, experts, norms, scalar, h);
    Spoil("JoinBranches.h", h);
  }
  std::unique_ptr<HeadScratch> MakeHeadScratch() override { return inner_->MakeHeadScratch(); }
  void Denoise(Matrix hidden, const Weight& table, const HeadParams& params, HeadScratch& scratch,
               std::span<HeadRow> rows, Matrix soft) override {
    inner_->Denoise(hidden, table, params, scratch, rows, soft);
    const auto row_of = [&](int64_t row) -> HeadRow& { return rows[static_cast<size_t>(row)]; };
    Spoil("Denoise.max", hidden.rows, 1, [&](int64_t row, int64_t) -> float& { return row_of(row).max; });
    Spoil("Denoise.entropy", hidden.rows, 1, [&](int64_t row, int64_t) -> float& { return row_of(row).entropy; });
    Spoil("Denoise.soft", soft);
  }
  void Sample(HeadScratch& scratch, std::span<const int32_t> rows, std::span<const double> uniform,
              std::span<int32_t> ids) override {
    inner_->Sample(scratch, rows, uniform, ids);
  }
  void Logits(Matrix hidden, const Weight& table, float softcap, Matrix out) override {
    inner_->Logits(hidden, table, softcap, out);
    Spoil("Logits.out", out);
  }
  void SoftEmbed(Matrix logits, const Weight& table, float scale, Matrix soft) override {
    inner_->SoftEmbed(logits, table, scale, soft);
  }

 private:
  using Value = std::function<float&(int64_t row, int64_t col)>;

  void Spoil(const char* output, Matrix out) {
    Spoil(output, out.rows, out.cols, [&](int64_t row, int64_t col) -> float& { return out.Row(row)[col]; });
  }

  /// One place for each segment of the watched sequence that has rows in this output.
  void Spoil(const std::string& output, int64_t rows, int64_t cols, const Value& value) {
    if (!in_pass_) return;
    int64_t begin = 0;
    for (const auto& [watched, count] : SegmentsIn(output, rows)) {
      if (watched->yes && count > 0) {
        if (poison_ && poison_->place == places_.size()) Spoil(begin, begin + count, cols, value);
        places_.push_back(output + " of " + KindOf(*watched->segment));
      }
      begin += count;
    }
    EXPECT_EQ(begin, rows) << output;
  }

  void Spoil(int64_t begin, int64_t end, int64_t cols, const Value& value) const {
    const bool one = poison_->shape == PoisonShape::kOneValue;
    for (int64_t row = one ? end - 1 : begin; row < end; ++row) {
      for (int64_t col = one ? cols / 2 : 0; col < (one ? cols / 2 + 1 : cols); ++col) value(row, col) = poison_->value;
    }
  }

  /// The segments whose rows an output has, and how many rows of each, in order.
  std::vector<std::pair<const Watched*, int64_t>> SegmentsIn(const std::string& output, int64_t rows) {
    std::vector<std::pair<const Watched*, int64_t>> found;
    const auto all = [&](auto&& rows_of) {
      for (const Watched& watched : segments_) found.emplace_back(&watched, rows_of(*watched.segment));
    };
    if (output.starts_with("Denoise")) {
      all([](const Segment& segment) { return segment.causal() ? 0 : segment.rows(); });
    } else if (output.starts_with("Logits")) {
      all([](const Segment& segment) { return segment.causal() ? segment.hidden_rows() : 0; });
    } else if (rows == total_rows_) {
      all([](const Segment& segment) { return segment.rows(); });
    } else if (!in_layers_) {  // inputs are embedded segment by segment
      found.emplace_back(&segments_[embedded_ - 1], rows);
    } else {  // and hidden states gathered
      while (segments_[gathered_].segment->hidden_rows() == 0) ++gathered_;
      found.emplace_back(&segments_[gathered_++], rows);
    }
    return found;
  }

  const std::unique_ptr<Kernels> inner_;
  std::vector<Watched> segments_;
  std::optional<Poison> poison_;
  std::vector<std::string> places_;
  std::optional<std::vector<std::pair<std::weak_ptr<void>, size_t>>> memory_;
  int64_t total_rows_ = 0;
  bool in_pass_ = false, in_layers_ = false;
  size_t embedded_ = 0, gathered_ = 0;
};

/// Passes of a PassRunner, one of them poisoned for the sequence whose prompt begins with `mark`.
class PoisonedPasses final : public PassExecutor {
 public:
  PoisonedPasses(PassRunner& runner, PoisonedKernels& kernels, int32_t mark)
      : runner_(runner), kernels_(kernels), mark_(mark) {}

  int64_t max_rows() const override { return runner_.max_rows(); }
  int64_t max_canvases() const override { return runner_.max_canvases(); }

  /// `pass` counts those of the watched sequence from 0; the next sequence whose prompt begins with the mark is watched.
  /// The places of all its passes are collected.
  void Watch(int64_t pass, std::optional<Poison> poison) {
    pass_ = pass;
    poison_ = poison;
    passes_ = 0;
    cache_ = nullptr;
    places_.clear();
  }
  /// Passes that the watched sequence has had.
  int64_t passes() const { return passes_; }
  /// Of each of its passes, the places.
  const std::vector<std::vector<std::string>>& places() const { return places_; }

  Result<void> Run(std::span<PassJob* const> jobs, std::stop_token stop) override {
    std::vector<PoisonedKernels::Watched> segments;
    bool watched = false;
    for (const bool canvas : {true, false}) {  // jobs with a canvas come first
      for (const PassJob* job : jobs) {
        if (job->has_canvas() != canvas) continue;
        const Segment& first = job->segments[0];
        if (cache_ == nullptr && first.pos == 0 && first.causal() && first.tokens[0] == mark_) cache_ = first.cache;
        for (const Segment& segment : job->segments) segments.push_back({&segment, segment.cache == cache_});
        watched |= first.cache == cache_;
      }
    }
    const bool poisoned = watched && passes_ == pass_;
    kernels_.BeginPass(std::move(segments), poisoned ? poison_ : std::nullopt);
    const Result<void> result = runner_.Run(jobs, std::move(stop));
    kernels_.EndPass();
    if (watched) {
      places_.push_back(kernels_.places());
      ++passes_;
    }
    return result;
  }

 private:
  PassRunner& runner_;
  PoisonedKernels& kernels_;
  const int32_t mark_;
  int64_t pass_ = 0, passes_ = 0;
  std::optional<Poison> poison_;
  const KvCache* cache_ = nullptr;
  std::vector<std::vector<std::string>> places_;
};

}  // namespace dgemma::test
