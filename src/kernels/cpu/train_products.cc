// The two products of a backward pass, and the operations that are made of them alone: dx = dout w reads blocks of the packed
// weights transposed, dw += dout^T x writes sums over rows straight into panels.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/train_backend.h"
#include "kernels/cpu/train_scratch.h"

namespace dgemma {

Matrix CpuTrainKernels::Columns(Matrix x) {
  const Matrix columns{columns_.Floats(MatrixFloats(x.cols, x.rows)), x.cols, x.rows, PaddedStride(x.rows)};
  auto transpose = [&](int64_t task, int) {
    const int64_t col = task * kColumnBlock;
    train_.transpose(x.data + col, x.stride, x.rows, std::min(kColumnBlock, x.cols - col), columns.Row(col),
                     columns.stride);
  };
  forward_.Run((x.cols + kColumnBlock - 1) / kColumnBlock, x.rows * x.cols, transpose);
  return columns;
}

RowPanels CpuTrainKernels::Panels(Matrix x) {
  const RowPanels panels{panels_.Floats(PanelsFloats(x.rows, x.cols)), x.rows, x.cols};
  auto copy = [&](int64_t row) {
    for (int64_t col = 0; col < x.cols; col += kPanel) {
      const int64_t width = std::min(kPanel, x.cols - col);
      float* to = panels.data + col * x.rows + row * kPanel;
      std::memcpy(to, x.Row(row) + col, static_cast<size_t>(width) * sizeof(float));
      std::fill(to + width, to + kPanel, 0.0f);
    }
  };
  forward_.RunRows(x.rows, x.cols, copy);
  return panels;
}

void CpuTrainKernels::RunBackward(std::span<const BackwardJob> jobs) {
  tasks_.clear();
  int64_t work = 0;
  for (size_t job = 0; job < jobs.size(); ++job) {
    const Matrix& dx = jobs[job].dx;
    CutJob(job, RowBlocks(dx.rows, forward_.product().tile_rows), dx.cols, kColumnBlock, tasks_);
    work += 2 * dx.rows * dx.cols * jobs[job].w.out;
  }
  float* scratch = threads_.Floats(kBackwardFloats * forward_.threads());
  const LiveIds all = LiveIds().set();
  auto multiply = [&](int64_t index, int thread) {
    const ProductTask& task = tasks_[static_cast<size_t>(index)];
    const BackwardJob& job = jobs[task.job];
    float* block = scratch + thread * kBackwardFloats;
    for (int64_t row = 0; row < job.w.out; row += kBackwardDepth) {
      const int64_t depth = std::min(kBackwardDepth, job.w.out - row);
      WidenBlock(forward_.product(), job.w, {row, depth, task.begin, task.end - task.begin}, all, block);
      Product product;
      product.a = job.dout.Row(task.rows.begin) + row;
      product.a_stride = job.dout.stride;
      product.rows = task.rows.count;
      product.b = block;
      product.b_panel_stride = (depth + kPanel - 1) / kPanel * kPanel * kPanel;
      product.depth = depth;
      product.cols = task.end - task.begin;
      product.c = job.dx.Row(task.rows.begin) + task.begin;
      product.c_stride = job.dx.stride;
      product.start = row == 0 ? job.start : Start::kAdd;
      forward_.product().multiply(product);
    }
  };
  forward_.Run(static_cast<int64_t>(tasks_.size()), work, multiply);
}

void CpuTrainKernels::RunGradients(std::span<const GradientJob> jobs) {
  tasks_.clear();
  int64_t work = 0;
  for (size_t job = 0; job < jobs.size(); ++job) {
    const GradientJob& one = jobs[job];
    CutJob(job, RowBlocks(one.columns.rows, forward_.product().tile_rows), one.dout.cols, kColumnBlock, tasks_);
    work += 2 * one.rows * one.columns.rows * one.dout.cols;
  }
  auto multiply = [&](int64_t index, int) {
    const ProductTask& task = tasks_[static_cast<size_t>(index)];
    const GradientJob& job = jobs[task.job];
    const int64_t in = job.columns.rows;
    Product product;
    product.a = job.columns.Row(task.rows.begin) + job.row;
    product.a_stride = job.columns.stride;
    product.rows = task.rows.count;
    product.b = job.dout.data + task.begin * job.dout.rows + job.row * kPanel;
    product.b_panel_stride = job.dout.rows * kPanel;
    product.depth = job.rows;
    product.cols = (task.end - task.begin + kPanel - 1) / kPanel * kPanel;  // padding gets sums of zeros
    product.c = job.dw + task.begin * in + task.rows.begin * kPanel;
    product.c_stride = kPanel;
    product.c_panel_stride = in * kPanel;
    product.start = Start::kAdd;
    forward_.product().multiply(product);
  };
  forward_.Run(static_cast<int64_t>(tasks_.size()), work, multiply);
}

void CpuTrainKernels::AddGradient(Matrix columns, std::span<const RowPart> parts, Matrix dout, const Weight& dw) {
  const RowPanels panels = Panels(dout);
  gradient_jobs_.clear();
  for (const RowPart& part : parts) {
    float* to = dw.buffer.Floats() + part.index * PanelsFloats(dw.in, dw.out);
    gradient_jobs_.push_back({columns, panels, part.begin, part.rows, to});
  }
  RunGradients(gradient_jobs_);
}

MatrixRoom CpuTrainKernels::DeltaRoom(int64_t rows, std::initializer_list<const Weight*> weights) {
  const int64_t floats = 2 * DeltaFloats(rows, weights);
  return MatrixRoom(floats == 0 ? nullptr : deltas_.Floats(floats));
}

void CpuTrainKernels::FindDeltaGradients(const BackwardRows& rows, std::span<BackwardProduct> products,
                                         MatrixRoom& room) {
  for (BackwardProduct& product : products) {
    if (product.delta() == nullptr) continue;
    const LowRank& delta = *product.delta();
    product.du = room.Take(product.dout.rows, delta.rank());
    backward_jobs_.clear();
    for (const RowPart& part : rows.parts) {
      backward_jobs_.push_back({product.dout.Rows(part.begin, part.rows), PackedMatrix(delta.up, part.index),
                                product.du.Rows(part.begin, part.rows)});
    }
    RunBackward(backward_jobs_);
    auto scale = [&](int64_t row) { forward_.ScaleDelta(delta, RoleOf(rows.roles, row), product.du.Row(row)); };
    forward_.RunRows(product.du.rows, delta.rank(), scale);
  }
}

void CpuTrainKernels::AddGradients(Matrix x, std::span<const RowPart> parts,
                                   std::span<const BackwardProduct> products) {
  bool reads_x = false;
  for (const BackwardProduct& product : products) {
    if (product.trains_up()) AddGradient(Columns(product.u), parts, product.dout, product.dw.low_rank->up);
    reads_x = reads_x || product.dw.present() || product.trains_down();
  }
  if (!reads_x) return;
  const Matrix columns = Columns(x);
  for (const BackwardProduct& product : products) {
    if (product.dw.present()) AddGradient(columns, parts, product.dout, product.dw);
    if (product.trains_down()) AddGradient(columns, parts, product.du, product.dw.low_rank->down);
  }
}

void CpuTrainKernels::FindInputGradient(std::span<const RowPart> parts, std::span<const BackwardProduct> products,
                                        Matrix dx) {
  Start start = Start::kZero;
  const auto run = [&](Matrix dout, const Weight& w) {
    backward_jobs_.clear();
    for (const RowPart& part : parts) {
      backward_jobs_.push_back(
          {dout.Rows(part.begin, part.rows), PackedMatrix(w, part.index), dx.Rows(part.begin, part.rows), start});
    }
    RunBackward(backward_jobs_);
    start = Start::kAdd;
  };
  for (const BackwardProduct& product : products) {
    run(product.dout, product.w);
    if (product.delta() != nullptr) run(product.du, product.delta()->down);
  }
}

void CpuTrainKernels::LinearBackward(Matrix x, std::span<const RowRole> roles, const Weight& w, Matrix dout,
                                     const Weight& dw, Matrix dx) {
  const RowPart all{0, 0, x.rows};
  BackwardProduct product(w, dw, dout);
  MatrixRoom deltas = DeltaRoom(x.rows, {&w});
  if (product.trains_up()) product.u = forward_.FindDeltas(x, roles, {}, {&w}, deltas)[0];
  FindDeltaGradients({roles, {&all, 1}}, {&product, 1}, deltas);
  AddGradients(x, {&all, 1}, {&product, 1});
  if (dx.data != nullptr) FindInputGradient({&all, 1}, {&product, 1}, dx);
}

void CpuTrainKernels::GatedMlpBackward(Matrix x, std::span<const RowRole> roles, const MlpWeights& w, Matrix dout,
                                       const MlpWeights& dw, Matrix dx) {
  const int64_t hidden = w.gate.out;
  const RowPart all{0, 0, x.rows};
  const BackwardRows rows{roles, {&all, 1}};
  MatrixRoom room(memory_.Floats(3 * MatrixFloats(x.rows, hidden)));
  const Matrix gate = room.Take(x.rows, hidden), up = room.Take(x.rows, hidden), dh = room.Take(x.rows, hidden);
  MatrixRoom deltas = DeltaRoom(x.rows, {&w.gate, &w.up, &w.down});
  const ProductInput input = forward_.Input(x, {&w.gate, &w.up}, codes_);
  const DeltaRows u = forward_.FindDeltas(x, roles, {}, {&w.gate, &w.up}, deltas);
  const LinearJob linear[] = {{input, PackedMatrix(w.gate, 0), gate, {w.gate, 0, u[0]}},
                              {input, PackedMatrix(w.up, 0), up, {w.up, 0, u[1]}}};
  forward_.RunLinear(linear);
  BackwardProduct down(w.down, dw.down, dout);
  FindDeltaGradients(rows, {&down, 1}, deltas);
  FindInputGradient(rows.parts, {&down, 1}, dh);
  auto gradient = [&](int64_t row) { train_.gated_gradient(gate.Row(row), up.Row(row), dh.Row(row), hidden, 1.0f); };
  forward_.RunRows(x.rows, 40 * hidden, gradient);  // dh is now the hidden values, gate and up their gradients
  if (down.trains_up()) down.u = forward_.FindDeltas(dh, roles, {}, {&w.down}, deltas)[0];
  AddGradients(dh, rows.parts, {&down, 1});
  BackwardProduct both[] = {{w.gate, dw.gate, gate}, {w.up, dw.up, up}};
  for (size_t i = 0; i < 2; ++i) both[i].u = u[i];
  FindDeltaGradients(rows, both, deltas);
  AddGradients(x, rows.parts, both);
  if (dx.data != nullptr) FindInputGradient(rows.parts, both, dx);
}

}  // namespace dgemma
