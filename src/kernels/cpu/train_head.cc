// The vocabulary side of training on the CPU, in steps of kSweepIds ids and two sweeps: the first finds every row's maximum and sum,
// the second computes the logits again and turns them into gradients. Rows x vocabulary never exists.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/train_backend.h"
#include "kernels/cpu/train_scratch.h"

namespace dgemma {
namespace {

/// Calls step(first id, ids) for the whole vocabulary.
template <typename Step>
void ForEachStep(int64_t vocab, Step step) {
  for (int64_t id = 0; id < vocab; id += kSweepIds) step(id, std::min(kSweepIds, vocab - id));
}

/// Where a target lies among `ids` ids from first_id on, -1 when elsewhere.
int64_t PlaceOf(int32_t target, int64_t first_id, int64_t ids) {
  return target >= first_id && target < first_id + ids ? target - first_id : -1;
}

}  // namespace

SoftmaxScale SoftmaxSum::Scale() const {
  return {max, finite ? static_cast<float>(1 / sum) : std::numeric_limits<float>::quiet_NaN()};
}

void CpuTrainKernels::SomeLogits(const ProductInput& hidden, const PackedMatrix& table, int64_t id, Matrix logits) {
  const LinearJob job{hidden, table.Outputs(id, logits.cols), logits};
  forward_.RunLinear({&job, 1});
}

void CpuTrainKernels::SumLogits(const ProductInput& hidden, const PackedMatrix& table, float softcap,
                                std::span<const int32_t> target, Matrix logits) {
  softmax_.assign(static_cast<size_t>(hidden.Count()), {});
  ForEachStep(table.out, [&](int64_t id, int64_t ids) {
    SomeLogits(hidden, table, id, logits.Cols(ids));
    auto sum = [&](int64_t row) {
      const auto index = static_cast<size_t>(row);
      SoftmaxSum& found = softmax_[index];
      float* z = logits.Row(row);
      const LogitStats stats = row_.temper(z, ids, softcap, 1.0f);
      found.finite = found.finite && stats.finite;
      if (!found.finite) return;
      const int64_t place = target.empty() ? -1 : PlaceOf(target[index], id, ids);
      if (place >= 0) found.target = z[place];
      if (id == 0 || stats.max > found.max) {
        if (id > 0) found.sum *= std::exp(static_cast<double>(found.max) - static_cast<double>(stats.max));
        found.max = stats.max;
        found.argmax = static_cast<int32_t>(id + (std::find(z, z + ids, stats.max) - z));
      }
      found.sum += static_cast<double>(row_.exponentiate(z, ids, found.max).sum);
    };
    forward_.RunRows(hidden.Count(), 30 * ids, sum);
  });
}

void CpuTrainKernels::CrossEntropy(Matrix hidden, const Weight& table, float softcap, std::span<const int32_t> target,
                                   std::span<const float> weight, std::span<LossRow> rows, Matrix dhidden,
                                   const Weight& dtable) {
  // Rows that have a target are gathered; the others cost nothing, and what they hold reaches nothing.
  target_rows_.clear();
  targets_.clear();
  for (int64_t row = 0; row < hidden.rows; ++row) {
    rows[static_cast<size_t>(row)] = {};
    if (target[static_cast<size_t>(row)] < 0) continue;
    target_rows_.push_back(row);
    targets_.push_back(target[static_cast<size_t>(row)]);
  }
  const auto count = static_cast<int64_t>(targets_.size());
  if (dhidden.data != nullptr) Zero(dhidden);
  if (count == 0) return;
  MatrixRoom room(memory_.Floats(CrossEntropyFloats(count, hidden.cols)));
  const Matrix states = room.Take(count, hidden.cols), dstates = room.Take(count, hidden.cols),
               logits = room.Take(count, kSweepIds);
  for (int64_t i = 0; i < count; ++i) {
    std::copy_n(hidden.Row(target_rows_[static_cast<size_t>(i)]), hidden.cols, states.Row(i));
  }
  const PackedMatrix embedding(table, 0);
  const ProductInput input = forward_.Input(states, {&table}, codes_);
  SumLogits(input, embedding, softcap, targets_, logits);
  for (size_t i = 0; i < softmax_.size(); ++i) {
    const SoftmaxSum& found = softmax_[i];
    const double loss = std::log(found.sum) + static_cast<double>(found.max) - static_cast<double>(found.target);
    rows[static_cast<size_t>(target_rows_[i])] = {
        found.finite ? static_cast<float>(loss) : std::numeric_limits<float>::quiet_NaN(),
        found.finite && found.argmax == targets_[i], found.finite};
  }
  if (dhidden.data == nullptr && !dtable.present()) return;

  const Matrix columns = dtable.present() ? Columns(states) : Matrix{};
  ForEachStep(table.out, [&](int64_t id, int64_t ids) {
    const Matrix dz = logits.Cols(ids);
    SomeLogits(input, embedding, id, dz);
    auto gradient = [&](int64_t row) {
      const auto index = static_cast<size_t>(row);
      const float share = weight[static_cast<size_t>(target_rows_[index])];
      float* z = dz.Row(row);
      row_.softcap(z, ids, softcap);
      const int64_t place = PlaceOf(targets_[index], id, ids);
      const double wanted = place >= 0 ? static_cast<double>(z[place]) : 0.0;
      const SoftmaxSum& softmax = softmax_[index];
      train_.logit_gradient(z, ids, softmax.Scale(), share, softcap);
      if (place < 0 || !softmax.finite) return;
      const double p = std::exp(wanted - static_cast<double>(softmax.max)) / softmax.sum;
      const double tanh = wanted / static_cast<double>(softcap);
      z[place] = static_cast<float>((p - 1) * static_cast<double>(share) * (1 - tanh * tanh));
    };
    forward_.RunRows(count, 30 * ids, gradient);
    if (dhidden.data != nullptr) {
      const BackwardJob job{dz, embedding.Outputs(id, ids), dstates, id == 0 ? Start::kZero : Start::kAdd};
      RunBackward({&job, 1});
    }
    if (dtable.present()) {
      const GradientJob job{columns, Panels(dz), 0, count, dtable.buffer.Floats() + id * dtable.in};
      RunGradients({&job, 1});
    }
  });
  for (int64_t i = 0; i < count && dhidden.data != nullptr; ++i) {
    std::copy_n(dstates.Row(i), hidden.cols, dhidden.Row(target_rows_[static_cast<size_t>(i)]));
  }
}

void CpuTrainKernels::SoftEmbedBackward(Matrix hidden, const Weight& table, float softcap, float scale, Matrix dsoft,
                                        const Weight& dtable) {
  if (!dtable.present()) return;
  const PackedMatrix embedding(table, 0);
  const ProductInput input = forward_.Input(hidden, {&table}, codes_);
  const Matrix logits = MatrixRoom(memory_.Floats(MatrixFloats(hidden.rows, kSweepIds))).Take(hidden.rows, kSweepIds);
  SumLogits(input, embedding, softcap, {}, logits);
  const Matrix columns = Columns(dsoft);
  ForEachStep(table.out, [&](int64_t id, int64_t ids) {
    const Matrix p = logits.Cols(ids);
    SomeLogits(input, embedding, id, p);
    auto probabilities = [&](int64_t row) {
      const SoftmaxScale softmax = softmax_[static_cast<size_t>(row)].Scale();
      row_.softcap(p.Row(row), ids, softcap);
      row_.exponentiate(p.Row(row), ids, softmax.max);
      row_.scale(p.Row(row), ids, softmax.inverse_sum * scale, nullptr, p.Row(row));
    };
    forward_.RunRows(hidden.rows, 30 * ids, probabilities);
    const GradientJob job{columns, Panels(p), 0, hidden.rows, dtable.buffer.Floats() + id * dtable.in};
    RunGradients({&job, 1});
  });
}

}  // namespace dgemma
