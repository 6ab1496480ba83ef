// What a pass has to read and to compute, from the model's tensors and the rows of the pass alone, and how long a
// machine needs for
// that at least. For `dgemma bench`; pure functions, nothing is measured here.
//
// Counted are the weights of matrices, experts and the vocabulary table, and the cached keys and values; not counted
// are
// activations, norms, routing's choices and sampling, which are far below a per cent of a model of useful size.
#pragma once

#include <span>
#include <string>

#include "model/config.h"
#include "model/weights.h"

namespace dgemma {

/// Operations by the unit that does them; a multiply-add counts as two.
struct Operations {
  double integers = 0;  ///< int8 dot products: with weights in groups
  double floats = 0;    ///< float32: with float32 weights, in attention, in soft embeddings
  double bf16 = 0;      ///< of bfloat16 pairs: with bfloat16 weights, in attention of canvases with weights in groups

  Operations& operator+=(const Operations& other);
};

/// Rows of one pass, or of a prompt's passes one after the other.
struct PassRows {
  int64_t causal = 0;             ///< prompt, commit or step
  int64_t canvas = 0;             ///< denoised; sees the causal rows
  int64_t cached = 0;             ///< tokens in the cache before
  int64_t logits = 0;             ///< causal rows whose logits are wanted
  bool self_conditioning = true;  ///< the canvas has soft embeddings: every step but the first
};

struct PassCost {
  double weight_bytes = 0;      ///< matrices outside experts and vocabulary, read once
  double expert_bytes = 0;      ///< of the experts that the rows are expected to use, if each row draws its own evenly
  double vocabulary_bytes = 0;  ///< the table, once, where logits are wanted; soft embeddings follow in the same sweep
  double cache_bytes = 0;       ///< keys and values of cached positions that some row sees, float32
  Operations operations;        ///< without soft embeddings
  Operations soft;              ///< of dense soft embeddings; how much of them is computed depends on the probabilities

  double Bytes() const { return weight_bytes + expert_bytes + vocabulary_bytes + cache_bytes; }
  PassCost& operator+=(const PassCost& other);
};

/// The cost of one pass. Rows without wanted hidden states leave the last layer after its keys and values, as Forward
/// does.
PassCost CostOfPass(const Config& config, std::span<const PlannedWeight> weights, const PassRows& rows);

/// Experts of one layer that `rows` rows are expected to use: E (1 - (1 - A / E)^rows).
double ExpectedExperts(const Config& config, int64_t rows);

/// What a machine can do at most, measured (MeasureMachine in backend.h); per second, with all threads.
struct MachineRates {
  std::string target;  ///< instruction set that the CPU backend chooses here
  int threads = 1;
  double bytes = 0;     ///< sequential reads of memory
  double integers = 0;  ///< operations of int8 dot products
  double floats = 0;    ///< float32 operations
  double bf16 = 0;      ///< products of bfloat16 pairs; the float32 rate where the processor has none
};

/// Seconds that the operations take at the machine's peak, one kind after the other.
double SecondsAtPeak(const Operations& operations, const MachineRates& machine);

/// The least seconds of a pass: the longer of reading its bytes and computing its operations; soft embeddings are left
/// out.
double LeastSeconds(const PassCost& cost, const MachineRates& machine);

}  // namespace dgemma
