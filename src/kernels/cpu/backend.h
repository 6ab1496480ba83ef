// The CPU backend's class: the seam of kernels.h, the row steps its operations share, and the memory it keeps between calls.
// linear.cc, deltas.cc, attention.cc, experts.cc and head.cc hold the operations; product.cc, bf16_avx512.cc and rows.cc the vector code.
#pragma once

#include <array>
#include <functional>
#include <initializer_list>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/expert_groups.h"
#include "kernels/cpu/packed.h"
#include "kernels/cpu/product_input.h"
#include "kernels/cpu/product_tasks.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd.h"

namespace dgemma {

/// What the deltas of a weight add to a product with one of its matrices: u up^T. Absent without `u`.
struct DeltaTerm {
  DeltaTerm() = default;
  /// For rows that meet matrix `index` of w; `u` as FindDeltas gave it for them.
  DeltaTerm(const Weight& w, int64_t index, Matrix rows) : u(rows) {
    if (u.data != nullptr) up = PackedMatrix(w.low_rank->up, index);
  }
  DeltaTerm Rows(int64_t begin, int64_t count) const {
    DeltaTerm part = *this;
    if (u.data != nullptr) part.u = u.Rows(begin, count);
    return part;
  }

  Matrix u;         ///< [rows, rank]
  PackedMatrix up;  ///< [out, rank]
};

/// Of up to three weights that read the same rows, in their order: u [rows, rank]; without data for a weight that has no deltas.
using DeltaRows = std::array<Matrix, 3>;

/// c = a w^T for all rows and outputs of w, deltas included.
struct LinearJob {
  ProductInput a;
  PackedMatrix w;
  Matrix c;
  DeltaTerm delta = {};
};

/// out[rows, 0 .. hidden) = gelu(a gate^T) * (a up^T). gate starts at row 0 of its matrix, up at row `up_begin` of its own.
struct GatedJob {
  ProductInput a;
  PackedMatrix gate;
  PackedMatrix up;
  int64_t up_begin = 0;
  int64_t hidden = 0;
  Matrix out;
  DeltaTerm gate_delta = {};
  DeltaTerm up_delta = {};  ///< for all outputs of `up`'s matrix
};

struct CpuHeadScratch;

class CpuKernels final : public Kernels {
 public:
  explicit CpuKernels(const CpuOptions& options);

  /// Bytes of the buffers that this backend keeps now, without those of a HeadScratch.
  int64_t ScratchBytes() const {
    return kv_.bytes() + hidden_.bytes() + gathered_.bytes() + codes_.bytes() + deltas_.bytes() + threads_.bytes();
  }

  std::string Description() const override;
  Result<Buffer> Allocate(int64_t bytes) override;
  Result<Weight> Pack(const StoredTensor& tensor, const WeightFormat& format) override;
  Result<Weight> PackVector(const StoredTensor& tensor) override;
  int64_t PackedBytes(const WeightFormat& format, int64_t count, int64_t out, int64_t in) const override;
  void Upload(std::span<const float> source, Matrix target) override;
  void Download(Matrix source, std::span<float> target) override;
  void Copy(Matrix source, Matrix target) override;
  void Embed(std::span<const int32_t> ids, const Weight& table, float scale, Matrix out) override;
  void RmsNorm(Matrix x, const Weight& weight, Matrix out) override;
  void Linear(Matrix x, std::span<const RowRole> roles, const Weight& w, Matrix out) override;
  void AddRmsNorm(Matrix x, Matrix sum) override;
  void NormAdd(Matrix y, const Weight& weight, Matrix residual) override;
  void ProjectQkv(Matrix a, std::span<const RowRole> roles, const QkvWeights& w, const QkvShape& shape,
                  const Rotary& rotary, std::span<const KvTarget> target, Matrix q) override;
  void Attend(std::span<const AttentionSpan> spans, const QkvShape& shape, Matrix q, Matrix out) override;
  void GatedMlp(Matrix x, std::span<const RowRole> roles, const MlpWeights& w, Matrix out) override;
  void Route(Matrix h, std::span<const RowRole> roles, const RouterWeights& w, int64_t active, Routes& routes) override;
  void Experts(Matrix x, std::span<const RowRole> roles, const ExpertWeights& w, const Routes& routes,
               Matrix out) override;
  void JoinBranches(Matrix dense, Matrix experts, const BranchNorms& norms, std::span<const float> scalar,
                    Matrix h) override;
  std::unique_ptr<HeadScratch> MakeHeadScratch() override;
  void Denoise(Matrix hidden, const Weight& table, const HeadParams& params, HeadScratch& scratch,
               std::span<HeadRow> rows, Matrix soft) override;
  void Sample(HeadScratch& scratch, std::span<const int32_t> rows, std::span<const double> uniform,
              std::span<int32_t> ids) override;
  void Logits(Matrix hidden, const Weight& table, float softcap, Matrix out) override;
  void SoftEmbed(Matrix logits, const Weight& table, float scale, Matrix soft) override;

  // ---- what the operations here share with the backward ones (train_backend.h) -----------------------------------------------

  const ProductOps& product() const { return product_; }
  const RowOps& row_ops() const { return row_; }
  int threads() const { return pool_.threads(); }

  /// body(task, thread) for every task: on the pool, or inline where `work` (in rough floating-point operations) is too small to
  /// be worth waking threads.
  template <typename Body>
  void Run(int64_t tasks, int64_t work, Body& body) {
    constexpr int64_t kWorthWaking = 100000;
    if (work < kWorthWaking) {
      for (int64_t task = 0; task < tasks; ++task) body(task, 0);
    } else {
      pool_.ParallelFor(tasks, std::ref(body));
    }
  }

  /// body(row) for every row, several rows a task.
  template <typename Body>
  void RunRows(int64_t rows, int64_t work_per_row, Body& body) {
    const int64_t chunk = std::max<int64_t>(1, rows / (int64_t{8} * pool_.threads()));
    auto run = [&](int64_t task, int) {
      for (int64_t row = task * chunk; row < std::min(rows, (task + 1) * chunk); ++row) body(row);
    };
    Run((rows + chunk - 1) / chunk, rows * work_per_row, run);
  }

  /// `a` as products with these weights take it: what is no float32 is written to `memory`, once for all of them.
  ProductInput Input(Matrix a, std::initializer_list<const Weight*> readers, GrowingBuffer& memory);
  /// All rows of `a` times panels of w into c, where c's first column is output first_panel * 16. `next`: the panels that this
  /// thread reads after these.
  void MultiplyBlock(const ProductInput& a, const PackedMatrix& w, int64_t first_panel, Matrix c,
                     const std::byte* next = nullptr) const;
  /// Adds u up^T to c, whose first column is output first_panel * 16; nothing where there are no deltas.
  void AddDelta(const DeltaTerm& delta, int64_t first_panel, Matrix c) const;
  /// u = scale . mask . (x down^T) of every reader that has deltas, in memory from `room` (DeltaFloats); x is float32. `parts` says
  /// which rows meet which matrix; empty: all rows the only one. roles of the rows of x.
  DeltaRows FindDeltas(Matrix x, std::span<const RowRole> roles, std::span<const RowPart> parts,
                       std::initializer_list<const Weight*> readers, MatrixRoom& room);
  /// row [rank] . scale . mask, in place.
  void ScaleDelta(const LowRank& delta, RowRole role, float* row) const;
  /// Every job, all rows and columns.
  void RunLinear(std::span<const LinearJob> jobs);
  float NormScale(const float* x, int64_t size) const;
  /// out = x * (mean(x^2) + eps)^-1/2 * weight; weight null = ones; may alias.
  void NormRow(const float* x, int64_t size, const float* weight, float* out) const;

 private:
  /// FindDeltas in memory of this backend, valid until the next call.
  DeltaRows Deltas(Matrix x, std::span<const RowRole> roles, std::span<const RowPart> parts,
                   std::initializer_list<const Weight*> readers);
  void RunGated(std::span<const GatedJob> jobs);
  /// The task that the thread which runs `index` will run next, most likely; null at the end.
  const ProductTask* LaterTask(int64_t index) const {
    const auto later = static_cast<size_t>(index) + static_cast<size_t>(pool_.threads());
    return later < product_tasks_.size() ? &product_tasks_[later] : nullptr;
  }
  /// A task of a gated job, a column block at a time. `next`: as MultiplyBlock.
  void GatedBlocks(const GatedJob& job, const ProductTask& task, float* scratch, const std::byte* next) const;
  void StoreKeyValue(const KvTarget& to, const QkvShape& shape, const float* key, const float* value) const;

  /// Rows [begin, begin + rows) that meet matrix `index` of a reader of FindDeltas.
  struct DeltaTask {
    const LowRank* delta;
    int64_t index;
    int64_t begin;
    int64_t rows;
    Matrix u;  // of all rows
  };
  struct AttentionTask {
    const AttentionSpan* span;
    int64_t kv_head;
    int64_t begin;  // rows [begin, end) of the span
    int64_t end;
  };
  void AttendTask(const AttentionTask& task, const QkvShape& shape, Matrix q, Matrix out, float* scratch) const;

  /// Rows [row, row + rows) and columns [col, col + cols) of a soft embedding.
  struct SoftBlock {
    int64_t row;
    int64_t rows;
    int64_t col;
    int64_t cols;
  };

  /// The parts of one step of the sweep over the vocabulary, see head.cc.
  void SweepLogits(CpuHeadScratch& state, int64_t first_id, int64_t ids);
  void SweepProbabilities(CpuHeadScratch& state, int64_t first_id, int64_t ids, int64_t row) const;
  /// Fills state.live_union for the row block that begins at `first_row`.
  void FindLiveUnion(CpuHeadScratch& state, int64_t first_row) const;
  void SweepEmbeddings(CpuHeadScratch& state, int64_t first_id, int64_t ids, Matrix soft);
  void AddSoftBlock(const CpuHeadScratch& state, int64_t id, int64_t ids, const SoftBlock& block, Matrix soft,
                    float* scratch) const;
  /// Divides the sums of one row by its total.
  void FinishSoft(const CpuHeadScratch& state, int64_t row, float scale, Matrix soft) const;
  /// The picks of one tile, order[begin, end): recomputes its logits and walks them.
  void SampleTile(const CpuHeadScratch& state, std::span<const int64_t> picks, std::span<const int32_t> rows,
                  float* scratch, std::span<int32_t> ids) const;

  CpuOptions options_;
  ProductOps product_;
  GroupedOps grouped_;
  RowOps row_;
  ThreadPool pool_;
  GrowingBuffer kv_;                           // [R, 2 K Q]: projected keys and values; the router's inputs
  GrowingBuffer hidden_;                       // [R, F] or [R A, X]: activated hidden values
  GrowingBuffer gathered_;                     // [R A, D]: rows in the order of experts, then the experts' outputs
  GrowingBuffer codes_;                        // activations rounded or quantised for one operation
  GrowingBuffer deltas_;                       // of Deltas
  GrowingBuffer threads_;                      // scratch of each thread
  std::unique_ptr<HeadScratch> soft_scratch_;  // of SoftEmbed
  std::vector<AttentionTask> attention_tasks_;
  std::vector<ProductTask> product_tasks_;  // of the product that runs
  std::vector<LinearJob> linear_jobs_;
  std::vector<DeltaTask> delta_tasks_;
  std::vector<GatedJob> gated_jobs_;
  ExpertGroups groups_;
};

}  // namespace dgemma
