// Matrix products of the CPU backend: how rows and outputs are cut into tasks, and the dense gated feed-forward.
#include <algorithm>

#include "kernels/cpu/backend.h"

namespace dgemma {
namespace {

/// Units of a job's columns that one task takes: tasks enough for all threads to finish together, each large enough to be worth
/// handing out.
int64_t TaskUnits(int64_t units, int threads, int64_t least, int64_t most) {
  return std::clamp(units / (int64_t{32} * threads) / least * least, least, most);
}

}  // namespace

ProductInput CpuKernels::Input(Matrix a, std::initializer_list<const Weight*> readers, GrowingBuffer& memory) {
  ProductInput input{a, {}, {}};
  const auto any = [&](auto reads) {
    return std::ranges::any_of(readers, [&](const Weight* w) { return w->present() && reads(w->format); });
  };
  const bool as_pairs = any([](const WeightFormat& format) { return format.kind == WeightKind::kBf16; });
  const bool as_codes = any([](const WeightFormat& format) { return format.grouped(); });
  if (!as_pairs && !as_codes) return input;
  const int64_t pair_floats = as_pairs ? PairFloats(a.rows, a.cols) : 0;
  float* room = memory.Floats(pair_floats + (as_codes ? CodeFloats(a.rows, a.cols) : 0));
  if (as_pairs) input.pairs = PairRows(room, a.rows, a.cols);
  const bool by_groups = any([](const WeightFormat& format) { return format.grouped() && !format.row_scale; });
  const CodeSums sums = by_groups ? CodeSums::kGroups : CodeSums::kRow;
  if (as_codes) input.codes = CodeRows(room + pair_floats, a.rows, a.cols, sums);
  auto prepare = [&](int64_t row) {
    if (as_pairs) {
      auto* values = reinterpret_cast<uint16_t*>(input.pairs.Row(row));
      row_.round_bf16(a.Row(row), a.cols, values);
      if (a.cols % 2 != 0) values[a.cols] = 0;
    }
    if (as_codes) CodeRow(row_, a.Row(row), a.cols, input.codes, row);
  };
  RunRows(a.rows, 4 * a.cols, prepare);
  return input;
}

void CpuKernels::MultiplyBlock(const ProductInput& a, const PackedMatrix& w, int64_t first_panel, Matrix c,
                               const std::byte* next) const {
  if (w.format.grouped()) {
    grouped_.multiply({a.codes, w.Panel(first_panel), w.format, w.in, c.cols, c.data, c.stride, next});
    return;
  }
  const Matrix& rows = w.format.kind == WeightKind::kBf16 ? a.pairs : a.rows;
  Product product;
  product.a = rows.data;
  product.a_stride = rows.stride;
  product.rows = a.Count();
  product.b = w.Panel(first_panel);
  product.format = w.panel_format();
  product.b_panel_stride = w.panel_stride();
  product.depth = rows.cols;
  product.cols = c.cols;
  product.c = c.data;
  product.c_stride = c.stride;
  product_.multiply(product);
}

void CpuKernels::RunLinear(std::span<const LinearJob> jobs) {
  int64_t panels = 0, work = 0;
  for (const LinearJob& job : jobs) {
    panels += job.w.PanelCount() * RowBlocks(job.a.Count(), product_.tile_rows).count;
    work += 2 * job.a.Count() * job.w.out * job.w.in;
  }
  // At least 4 panels, which a tile of one row takes at once.
  const int64_t task_cols = TaskUnits(panels, pool_.threads(), 2, 64) * kPanel;
  product_tasks_.clear();
  for (size_t job = 0; job < jobs.size(); ++job) {
    CutJob(job, RowBlocks(jobs[job].a.Count(), product_.tile_rows), jobs[job].w.out, task_cols, product_tasks_);
  }
  auto multiply = [&](int64_t index, int) {
    const ProductTask& task = product_tasks_[static_cast<size_t>(index)];
    const LinearJob& job = jobs[task.job];
    const ProductTask* later = LaterTask(index);
    const Matrix c{job.c.Row(task.rows.begin) + task.begin, task.rows.count, task.end - task.begin, job.c.stride};
    MultiplyBlock(job.a.Rows(task.rows.begin, task.rows.count), job.w, task.begin / kPanel, c,
                  later == nullptr ? nullptr : jobs[later->job].w.Panel(later->begin / kPanel));
    AddDelta(job.delta.Rows(task.rows.begin, task.rows.count), task.begin / kPanel, c);
  };
  Run(static_cast<int64_t>(product_tasks_.size()), work, multiply);
}

void CpuKernels::Linear(Matrix x, std::span<const RowRole> roles, const Weight& w, Matrix out) {
  const DeltaRows u = Deltas(x, roles, {}, {&w});
  const LinearJob job{Input(x, {&w}, codes_), PackedMatrix(w, 0), out, {w, 0, u[0]}};
  RunLinear({&job, 1});
}

void CpuKernels::GatedBlocks(const GatedJob& job, const ProductTask& task, float* scratch,
                             const std::byte* next) const {
  const ProductInput a = job.a.Rows(task.rows.begin, task.rows.count);
  const DeltaTerm gate_delta = job.gate_delta.Rows(task.rows.begin, task.rows.count),
                  up_delta = job.up_delta.Rows(task.rows.begin, task.rows.count);
  for (int64_t col = task.begin; col < task.end; col += kColumnBlock) {
    const int64_t cols = std::min(kColumnBlock, task.end - col);
    // The up half may begin inside a panel: the product covers whole panels from there, `skip` columns too many on the left.
    const int64_t first = job.up_begin + col, skip = first % kPanel;
    const Matrix gate{scratch, a.Count(), cols, PaddedStride(kColumnBlock)};
    const Matrix up{scratch + a.Count() * gate.stride, a.Count(), skip + cols, PaddedStride(kColumnBlock + kPanel)};
    MultiplyBlock(a, job.gate, col / kPanel, gate, job.up.Panel(first / kPanel));
    MultiplyBlock(a, job.up, first / kPanel, up, col + cols < task.end ? job.gate.Panel((col + cols) / kPanel) : next);
    AddDelta(gate_delta, col / kPanel, gate);
    AddDelta(up_delta, first / kPanel, up);
    for (int64_t row = 0; row < a.Count(); ++row) {
      row_.gelu_multiply(gate.Row(row), up.Row(row) + skip, cols, job.out.Row(task.rows.begin + row) + col);
    }
  }
}

void CpuKernels::RunGated(std::span<const GatedJob> jobs) {
  int64_t work = 0, rows = 0, blocks = 0;
  for (const GatedJob& job : jobs) {
    work += 4 * job.a.Count() * job.hidden * job.gate.in;
    rows = std::max(rows, job.a.Count());
    blocks += (job.hidden + kColumnBlock - 1) / kColumnBlock * RowBlocks(job.a.Count(), product_.tile_rows).count;
  }
  const int64_t task_cols = TaskUnits(blocks, pool_.threads(), 1, 16) * kColumnBlock;
  product_tasks_.clear();
  for (size_t job = 0; job < jobs.size(); ++job) {
    CutJob(job, RowBlocks(jobs[job].a.Count(), product_.tile_rows), jobs[job].hidden, task_cols, product_tasks_);
  }
  const int64_t thread_floats = GatedFloats(rows);
  float* scratch = threads_.Floats(thread_floats * pool_.threads());
  auto run = [&](int64_t index, int thread) {
    const ProductTask& task = product_tasks_[static_cast<size_t>(index)];
    const ProductTask* later = LaterTask(index);
    GatedBlocks(jobs[task.job], task, scratch + thread * thread_floats,
                later == nullptr ? nullptr : jobs[later->job].gate.Panel(later->begin / kPanel));
  };
  Run(static_cast<int64_t>(product_tasks_.size()), work, run);
}

void CpuKernels::GatedMlp(Matrix x, std::span<const RowRole> roles, const MlpWeights& w, Matrix out) {
  const int64_t hidden = w.gate.out, stride = PaddedStride(hidden);
  const Matrix activated{hidden_.Floats(x.rows * stride), x.rows, hidden, stride};
  DeltaRows u = Deltas(x, roles, {}, {&w.gate, &w.up});
  const GatedJob gated{Input(x, {&w.gate, &w.up}, codes_),
                       PackedMatrix(w.gate, 0),
                       PackedMatrix(w.up, 0),
                       0,
                       hidden,
                       activated,
                       {w.gate, 0, u[0]},
                       {w.up, 0, u[1]}};
  RunGated({&gated, 1});
  u = Deltas(activated, roles, {}, {&w.down});
  const LinearJob down{Input(activated, {&w.down}, codes_), PackedMatrix(w.down, 0), out, {w.down, 0, u[0]}};
  RunLinear({&down, 1});
}

}  // namespace dgemma
