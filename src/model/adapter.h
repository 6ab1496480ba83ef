// Adapters: low-rank changes of a model's linear layers, as files have them and as a model carries them. Read and
// written by adapter_files.h, attached to weights here, merged by adapter_merge.h.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dgemma/status.h"
#include "model/config.h"
#include "model/weights.h"

namespace dgemma {

/// The rows that a delta counts for. The tied layers play two roles, and an adapter may change each on its own.
enum class DeltaRole : uint8_t { kEncoder, kDecoder, kBoth };

/// "encoder", "decoder", "both"
const char* Name(DeltaRole role);

/// One change of one tensor of the list: W[i] += scale up[i] down[i] for each of its `count` matrices.
struct AdapterDelta {
  std::string tensor;  ///< name in ListTensors: "model.decoder.layers.3.self_attn.q_proj.weight"
  /// Of self-conditioning, which encoder rows never pass, kDecoder.
  DeltaRole role = DeltaRole::kBoth;
  int64_t count = 1, rank = 0, out = 0, in = 0;
  float scale = 1;          ///< alpha / r, or alpha / sqrt(r) with rank-stabilised LoRA
  std::vector<float> down;  ///< [count, rank, in]: lora_A
  std::vector<float> up;    ///< [count, out, rank]: lora_B

  int64_t Values() const { return std::ssize(down) + std::ssize(up); }
};

/// All deltas of an adapter, in the order of the list of tensors, the encoder's before the decoder's. Two roles whose
/// matrices and scales are equal bit by bit are one delta with kBoth.
struct Adapter {
  std::string name;  ///< of its folder or file, for people
  std::vector<AdapterDelta> deltas;
};

/// An adapter and how strongly it is applied.
struct AppliedAdapter {
  const Adapter* adapter = nullptr;
  float scale = 1;
};

/// True for tensors that both roles read; self-conditioning belongs to the decoder alone.
bool HasTwoRoles(std::string_view tensor);

/// kInvalidArgument, naming the tensor, unless the delta fits a linear layer of the list: an embedding, norm, scalar or
/// vision tensor takes none. Matrices, routers and experts do, those of self-conditioning among them. Sizes must agree,
/// the scale be finite.
Result<void> CheckDelta(const AdapterDelta& delta, const Config& config);

/// Packs the deltas and hangs them on the weights they change (Weight::low_rank), replacing what was there. All
/// adapters together, since those that change one weight share its LowRank: encoder columns first, then decoder, then
/// both, each in the order given. kInvalidArgument as CheckDelta.
Result<void> AttachAdapters(std::span<const AppliedAdapter> adapters, const Config& config, Weights& weights,
                            Kernels& kernels);

/// Where the columns of one delta stand in the LowRank of its weight after AttachAdapters.
struct AttachedDelta {
  size_t adapter = 0;  ///< index in the span given to AttachAdapters
  size_t delta = 0;    ///< index in that adapter
  Weight* weight = nullptr;
  int64_t column = 0;  ///< first of the delta's `rank` columns
};

/// The same walk, for training and for reading trained values back. Deltas of tensors that are not in the list are left
/// out.
std::vector<AttachedDelta> FindDeltas(std::span<const AppliedAdapter> adapters, const Config& config, Weights& weights);

/// Notes in `weights` the ranks that they will carry, for the memory plan of a pass. Returns the bytes that
/// AttachAdapters allocates.
int64_t PlanAdapters(std::span<const AppliedAdapter> adapters, const Kernels& kernels,
                     std::span<PlannedWeight> weights);

}  // namespace dgemma
