// Cases of backward operations that tests of every backend share: random inputs and weights of a shape, a loss on the
// operation's output in float64 (tests/support/double_ops.h), and one run of the operation on a backend that returns
// every gradient by name. For a backend against another: `RunCase` on both, compare tensor by tensor.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "kernels/train_kernels.h"
#include "op_cases.h"

namespace dgemma::test {

/// A tensor of a case: rows of activations, packed matrices, those of deltas (float32 whatever the format of the others), or a vector
/// of weights. Values are dense and in plain order.
struct Tensor {
  enum class Kind : uint8_t { kRows, kMatrices, kDeltas, kVector };

  Kind kind = Kind::kRows;
  int64_t count = 1;
  int64_t out = 0;  ///< rows
  int64_t in = 0;
  std::vector<float> values;
};

using Tensors = std::map<std::string, Tensor>;
/// The same in float64, for the loss.
using DoubleTensors = std::map<std::string, std::vector<double>>;

/// A gradient or another result of an operation.
struct Gradient {
  std::vector<float> values;
  bool added = false;  ///< the operation adds to it: twice the calls, twice the values
};

/// By the name of the tensor they belong to; results that are no gradient ("row loss") have names of their own. Frozen
/// and unwanted ones are absent.
using Gradients = std::map<std::string, Gradient>;

/// Forward operations (they pack, and fill in what backward operations take from them) and their gradients on one kind
/// of memory.
struct TrainBackend {
  std::unique_ptr<Kernels> forward;
  std::unique_ptr<TrainKernels> train;
};

TrainBackend RefTrain();

/// Deltas on every matrix of a case: tensors "<name>.down" [count, rank, in] and "<name>.up" [count, out, rank].
struct CaseDeltas {
  int64_t rank = 0;  ///< 0: none
  int64_t encoder = 0, decoder = 0;

  static RowRole RoleOf(int64_t row) { return row % 3 == 1 || row % 7 == 2 ? RowRole::kDecoder : RowRole::kEncoder; }
  static std::vector<RowRole> Roles(int64_t rows);
  static float Scale(int64_t column) { return 0.5f + 0.25f * static_cast<float>(column % 4); }
  bool Counts(int64_t column, RowRole role) const {
    if (column < encoder) return role == RowRole::kEncoder;
    return column >= encoder + decoder || role == RowRole::kDecoder;
  }
};

/// One run of an operation.
struct TrainRun {
  TrainBackend& backend;
  bool trained = true;            ///< false: no gradients of weights are given, those of deltas aside
  bool deltas_trained = true;     ///< false: none of deltas
  bool rows_wanted = true;        ///< false: gradients of rows have no data, where the operation allows it
  int times = 1;                  ///< calls into the same gradients
  WeightType type = DType::kF32;  ///< of matrices; others than float32 need trained = false
};

struct TrainCase {
  std::string name;
  Tensors inputs;     ///< what the loss depends on
  int64_t depth = 1;  ///< terms of the longest sum, forward or backward: what float32 sums err by
  std::function<double(const DoubleTensors&)> loss;
  std::function<Gradients(const TrainRun&, const Tensors&)> gradients;
  std::vector<RowRole> roles{};  ///< of the rows; none without deltas
  std::set<std::string> flat{};  ///< inputs that the loss does not depend on: their gradient is 0
};

inline Gradients RunCase(const TrainCase& c, const TrainRun& run) { return c.gradients(run, c.inputs); }

/// R rows of D from a table of V; ids repeat.
TrainCase EmbedCase(int64_t rows, int64_t width, int64_t vocab, uint32_t seed);
enum class NormWeight : uint8_t { kPresent, kOnes };
TrainCase RmsNormCase(int64_t rows, int64_t width, NormWeight norm_weight, uint32_t seed);
TrainCase LinearCase(int64_t rows, int64_t in, int64_t out, uint32_t seed, const CaseDeltas& deltas = {});

/// Projection of one layer; without v, V is the raw K.
struct QkvCaseShape {
  int64_t rows, width;
  QkvShape heads;
  int64_t pairs;
  bool has_value;
};
TrainCase QkvCase(const QkvCaseShape& shape, uint32_t seed, const CaseDeltas& deltas = {});

/// A span of an attention case; `cache` and `local` index its stores, -1 is none.
struct AttendCaseSpan {
  int64_t rows;
  int cache;
  int64_t cache_begin, cache_end, pos, window;
  int local = -1;  ///< -1: causal
  int64_t local_rows = 0;
};
struct AttendCaseShape {
  std::string name;
  QkvShape heads;
  std::vector<int64_t> slots;  ///< of each store; multiples of kKeyBlock
  std::vector<AttendCaseSpan> spans;
};
TrainCase AttendCase(const AttendCaseShape& shape, uint32_t seed);

TrainCase GatedMlpCase(int64_t rows, int64_t width, int64_t hidden, uint32_t seed, const CaseDeltas& deltas = {});

struct ExpertCaseShape {
  int64_t rows, width, experts, active, hidden;
};
TrainCase RouteCase(const ExpertCaseShape& shape, uint32_t seed, const CaseDeltas& deltas = {});
/// The last expert stays without rows where active < experts.
TrainCase ExpertsCase(const ExpertCaseShape& shape, uint32_t seed, const CaseDeltas& deltas = {});
TrainCase JoinCase(int64_t rows, int64_t width, uint32_t seed);

/// Some rows without a target, some with weight 0, several with the same target. `deviation` of logits before the
/// softcap.
struct HeadCaseShape {
  int64_t rows, width, vocab;
  float softcap, deviation;
};
TrainCase CrossEntropyCase(const HeadCaseShape& shape, uint32_t seed);
TrainCase SoftEmbedCase(const HeadCaseShape& shape, uint32_t seed);

}  // namespace dgemma::test
