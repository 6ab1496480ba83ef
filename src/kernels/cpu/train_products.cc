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

void CpuTrainKernels::AddGradient(Matrix columns, Matrix dout, const Weight& dw) {
  const GradientJob job{columns, Panels(dout), 0, dout.rows, dw.buffer.Floats()};
  RunGradients({&job, 1});
}

void CpuTrainKernels::LinearBackward(Matrix x, const Weight& w, Matrix dout, const Weight& dw, Matrix dx) {
  if (dw.present()) AddGradient(Columns(x), dout, dw);
  if (dx.data == nullptr) return;
  const BackwardJob job{dout, PackedMatrix(w, 0), dx};
  RunBackward({&job, 1});
}

void CpuTrainKernels::GatedMlpBackward(Matrix x, const MlpWeights& w, Matrix dout, const MlpWeights& dw, Matrix dx) {
  const int64_t hidden = w.gate.out;
  MatrixRoom room(memory_.Floats(3 * MatrixFloats(x.rows, hidden)));
  const Matrix gate = room.Take(x.rows, hidden), up = room.Take(x.rows, hidden), dh = room.Take(x.rows, hidden);
  const ProductInput input = forward_.Input(x, {&w.gate, &w.up}, codes_);
  const LinearJob linear[] = {{input, PackedMatrix(w.gate, 0), gate}, {input, PackedMatrix(w.up, 0), up}};
  forward_.RunLinear(linear);
  const BackwardJob down{dout, PackedMatrix(w.down, 0), dh};
  RunBackward({&down, 1});
  auto gradient = [&](int64_t row) { train_.gated_gradient(gate.Row(row), up.Row(row), dh.Row(row), hidden, 1.0f); };
  forward_.RunRows(x.rows, 40 * hidden, gradient);
  if (dw.down.present()) AddGradient(Columns(dh), dout, dw.down);
  if (dw.gate.present() || dw.up.present()) {
    const Matrix columns = Columns(x);
    if (dw.gate.present()) AddGradient(columns, gate, dw.gate);
    if (dw.up.present()) AddGradient(columns, up, dw.up);
  }
  if (dx.data == nullptr) return;
  const BackwardJob first{gate, PackedMatrix(w.gate, 0), dx}, second{up, PackedMatrix(w.up, 0), dx, Start::kAdd};
  RunBackward({&first, 1});
  RunBackward({&second, 1});
}

}  // namespace dgemma
