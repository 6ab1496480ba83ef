// Matrix products of the CPU backend: how rows and outputs are cut into tasks, and the dense gated feed-forward.
#include <algorithm>

#include "kernels/cpu/backend.h"

namespace dgemma {
namespace {

/// Rows cut into equal blocks of at most kRowBlock.
struct RowBlocks {
  int64_t rows;
  int64_t count;
  int64_t size;

  RowBlocks(int64_t rows_in, int64_t tile) : rows(rows_in), count((rows_in + kRowBlock - 1) / kRowBlock), size(0) {
    if (count > 0) size = std::min(kRowBlock, ((rows + count - 1) / count + tile - 1) / tile * tile);
  }
};

/// Panels of one task: enough work to be worth handing out, and enough tasks for all threads to finish together. A multiple of 4,
/// the panels that a tile of one row takes at once.
int64_t TaskPanels(int64_t panels, int64_t jobs, int threads) {
  const int64_t wanted = panels * jobs / (int64_t{8} * threads);
  return std::clamp<int64_t>(wanted / 4 * 4, 4, 16);
}

}  // namespace

ProductInput CpuKernels::Input(Matrix a, const Weight& w, GrowingBuffer& memory) {
  if (!w.format.grouped()) return {a, {}};
  const QuantizedRows codes = CodeRows(memory.Floats(CodeFloats(a.rows, a.cols)), a.rows, a.cols);
  auto quantize = [&](int64_t row) {
    int8_t* code = codes.code + row * codes.stride;
    codes.scale[row] = row_.quantize(a.Row(row), a.cols, code);
    std::fill(code + a.cols, code + codes.stride, int8_t{0});
    SumCodes(codes, row);
  };
  RunRows(a.rows, 4 * a.cols, quantize);
  return {a, codes};
}

void CpuKernels::MultiplyBlock(const ProductInput& a, const PackedMatrix& w, int64_t first_panel, Matrix c,
                               const std::byte* next) const {
  if (w.format.grouped()) {
    grouped_.multiply({a.codes, w.Panel(first_panel), w.format, w.in, c.cols, c.data, c.stride, next});
    return;
  }
  Product product;
  product.a = a.rows.data;
  product.a_stride = a.rows.stride;
  product.rows = a.Count();
  product.b = w.Panel(first_panel);
  product.format = w.panel_format();
  product.b_panel_stride = w.panel_stride();
  product.depth = w.in;
  product.cols = c.cols;
  product.c = c.data;
  product.c_stride = c.stride;
  product_.multiply(product);
}

void CpuKernels::RunLinear(std::span<const LinearJob> jobs) {
  int64_t panels = 0, work = 0, tasks = 0;
  for (const LinearJob& job : jobs) {
    panels = std::max(panels, job.w.PanelCount());
    work += 2 * job.a.Count() * job.w.out * job.w.in;
  }
  const int64_t step = TaskPanels(panels, static_cast<int64_t>(jobs.size()), pool_.threads());
  auto tasks_of = [&](const LinearJob& job) {
    return RowBlocks(job.a.Count(), product_.tile_rows).count * ((job.w.PanelCount() + step - 1) / step);
  };
  for (const LinearJob& job : jobs) tasks += tasks_of(job);
  auto multiply = [&](int64_t task, int) {
    size_t index = 0;
    for (; task >= tasks_of(jobs[index]); ++index) task -= tasks_of(jobs[index]);
    const LinearJob& job = jobs[index];
    const RowBlocks blocks(job.a.Count(), product_.tile_rows);
    const int64_t row = task % blocks.count * blocks.size, panel = task / blocks.count * step;
    const int64_t rows = std::min(blocks.size, job.a.Count() - row), col = panel * kPanel;
    if (rows <= 0) return;
    MultiplyBlock(job.a.Rows(row, rows), job.w, panel,
                  {job.c.Row(row) + col, rows, std::min(step * kPanel, job.w.out - col), job.c.stride});
  };
  Run(tasks, work, multiply);
}

void CpuKernels::Linear(Matrix x, const Weight& w, Matrix out) {
  const LinearJob job{Input(x, w, codes_), PackedMatrix(w, 0), out};
  RunLinear({&job, 1});
}

void CpuKernels::GatedBlocks(const GatedJob& job, RowRange rows, int64_t begin, int64_t end, float* scratch) const {
  const ProductInput a = job.a.Rows(rows.begin, rows.count);
  for (int64_t col = begin; col < end; col += kColumnBlock) {
    const int64_t cols = std::min(kColumnBlock, end - col);
    // The up half may begin inside a panel: the product covers whole panels from there, `skip` columns too many on the left.
    const int64_t first = job.up_begin + col, skip = first % kPanel;
    const Matrix gate{scratch, rows.count, cols, PaddedStride(kColumnBlock)};
    const Matrix up{scratch + rows.count * gate.stride, rows.count, skip + cols, PaddedStride(kColumnBlock + kPanel)};
    MultiplyBlock(a, job.gate, col / kPanel, gate, job.up.Panel(first / kPanel));
    MultiplyBlock(a, job.up, first / kPanel, up, col + cols < end ? job.gate.Panel((col + cols) / kPanel) : nullptr);
    for (int64_t row = 0; row < rows.count; ++row) {
      row_.gelu_multiply(gate.Row(row), up.Row(row) + skip, cols, job.out.Row(rows.begin + row) + col);
    }
  }
}

void CpuKernels::RunGated(std::span<const GatedJob> jobs) {
  int64_t work = 0, rows = 0, blocks = 0;
  for (const GatedJob& job : jobs) {
    work += 4 * job.a.Count() * job.hidden * job.gate.in;
    rows = std::max(rows, job.a.Count());
    blocks += (job.hidden + kColumnBlock - 1) / kColumnBlock;
  }
  // A thread that stays with one job for several blocks knows which weights it reads next.
  const int64_t task_cols = std::clamp<int64_t>(blocks / (int64_t{8} * pool_.threads()), 1, 6) * kColumnBlock;
  auto tasks_of = [&](const GatedJob& job) {
    return RowBlocks(job.a.Count(), product_.tile_rows).count * ((job.hidden + task_cols - 1) / task_cols);
  };
  int64_t tasks = 0;
  for (const GatedJob& job : jobs) tasks += tasks_of(job);
  const int64_t thread_floats = GatedFloats(rows);
  float* scratch = threads_.Floats(thread_floats * pool_.threads());
  auto run = [&](int64_t task, int thread) {
    size_t index = 0;
    for (; task >= tasks_of(jobs[index]); ++index) task -= tasks_of(jobs[index]);
    const GatedJob& job = jobs[index];
    const RowBlocks row_blocks(job.a.Count(), product_.tile_rows);
    const int64_t row = task % row_blocks.count * row_blocks.size, col = task / row_blocks.count * task_cols;
    const int64_t block_rows = std::min(row_blocks.size, job.a.Count() - row);
    if (block_rows <= 0) return;
    GatedBlocks(job, {row, block_rows}, col, std::min(job.hidden, col + task_cols), scratch + thread * thread_floats);
  };
  Run(tasks, work, run);
}

void CpuKernels::GatedMlp(Matrix x, const MlpWeights& w, Matrix out) {
  const int64_t hidden = w.gate.out, stride = PaddedStride(hidden);
  const Matrix activated{hidden_.Floats(x.rows * stride), x.rows, hidden, stride};
  const Weight& grouped = w.gate.format.grouped() ? w.gate : w.up;  // the one that needs codes, if any does
  const GatedJob gated{Input(x, grouped, codes_), PackedMatrix(w.gate, 0), PackedMatrix(w.up, 0), 0, hidden, activated};
  RunGated({&gated, 1});
  const LinearJob down{Input(activated, w.down, codes_), PackedMatrix(w.down, 0), out};
  RunLinear({&down, 1});
}

}  // namespace dgemma
