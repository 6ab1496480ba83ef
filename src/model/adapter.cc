// Sorts the deltas of all adapters by tensor and role, and packs what stands on one tensor into one LowRank.
#include "model/adapter.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>
#include <unordered_map>

#include "base/try.h"
#include "files/messages.h"

namespace dgemma {
namespace {

struct DeltaIndex {
  size_t adapter = 0, delta = 0;
};

const AdapterDelta& DeltaAt(std::span<const AppliedAdapter> adapters, DeltaIndex at) {
  return adapters[at.adapter].adapter->deltas[at.delta];
}

/// Deltas by tensor, in the order of their columns.
using DeltasByTensor = std::map<std::string, std::vector<DeltaIndex>>;

DeltasByTensor SortDeltas(std::span<const AppliedAdapter> adapters) {
  DeltasByTensor sorted;
  for (size_t adapter = 0; adapter < adapters.size(); ++adapter) {
    const auto& deltas = adapters[adapter].adapter->deltas;
    for (size_t delta = 0; delta < deltas.size(); ++delta) sorted[deltas[delta].tensor].push_back({adapter, delta});
  }
  for (auto& [tensor, indices] : sorted)
    std::ranges::sort(indices, {},
                      [&](DeltaIndex at) { return std::tuple(DeltaAt(adapters, at).role, at.adapter, at.delta); });
  return sorted;
}

int64_t RankOf(std::span<const AppliedAdapter> adapters, std::span<const DeltaIndex> indices) {
  int64_t rank = 0;
  for (const DeltaIndex at : indices) rank += DeltaAt(adapters, at).rank;
  return rank;
}

bool IsLinear(TensorRole role) {
  return role == TensorRole::kMatrix || role == TensorRole::kRouter || role == TensorRole::kExperts;
}

std::unexpected<Status> Bad(const AdapterDelta& delta, std::string_view rule) {
  return Fail(StatusCode::kInvalidArgument, fmt::format("{}: {}", Quoted(delta.tensor), rule));
}

Result<void> CheckAgainst(const AdapterDelta& delta, const TensorSpec* spec) {
  if (spec == nullptr) return Bad(delta, "an adapter changes it, but the model has no such tensor");
  if (!IsLinear(spec->role))
    return Bad(delta,
               fmt::format("is no linear layer ({}); adapters change matrices, routers and experts", Name(spec->role)));
  const auto size = [&](size_t from_end) { return static_cast<int64_t>(spec->shape[spec->shape.size() - from_end]); };
  const int64_t count = spec->shape.size() == 3 ? size(3) : 1;
  if (delta.count != count || delta.out != size(2) || delta.in != size(1)) {
    return Bad(delta, fmt::format("the adapter's [{}, {}, {}] differs from the model's [{}, {}, {}]", delta.count,
                                  delta.out, delta.in, count, size(2), size(1)));
  }
  if (delta.rank < 1 || std::ssize(delta.down) != count * delta.rank * delta.in ||
      std::ssize(delta.up) != count * delta.out * delta.rank)
    return Bad(delta, fmt::format("matrices of {} and {} values are none of rank {}", delta.down.size(),
                                  delta.up.size(), delta.rank));
  if (!std::isfinite(delta.scale)) return Bad(delta, "its scale is not finite");
  if (!HasTwoRoles(delta.tensor) && delta.role == DeltaRole::kEncoder) return Bad(delta, "the encoder does not use it");
  return {};
}

/// The deltas of one weight side by side.
Result<LowRank> PackDeltas(std::span<const AppliedAdapter> adapters, std::span<const DeltaIndex> indices,
                           Kernels& kernels) {
  const AdapterDelta& first = DeltaAt(adapters, indices.front());
  const int64_t count = first.count, out = first.out, in = first.in, rank = RankOf(adapters, indices);
  LowRank packed;
  std::vector<float> down(static_cast<size_t>(count * rank * in)), up(static_cast<size_t>(count * out * rank));
  int64_t column = 0;
  for (const DeltaIndex at : indices) {
    const AdapterDelta& delta = DeltaAt(adapters, at);
    packed.encoder += delta.role == DeltaRole::kEncoder ? delta.rank : 0;
    packed.decoder += delta.role == DeltaRole::kDecoder ? delta.rank : 0;
    packed.scale.insert(packed.scale.end(), static_cast<size_t>(delta.rank), delta.scale * adapters[at.adapter].scale);
    for (int64_t index = 0; index < count; ++index) {
      std::copy_n(delta.down.begin() + index * delta.rank * in, delta.rank * in,
                  down.begin() + (index * rank + column) * in);
      for (int64_t row = index * out; row < (index + 1) * out; ++row)
        std::copy_n(delta.up.begin() + row * delta.rank, delta.rank, up.begin() + row * rank + column);
    }
    column += delta.rank;
  }
  DG_TRY(packed.down,
         kernels.Pack(OneRun(DType::kF32, count, rank, in, std::as_bytes(std::span(down))), kFloat32Weights));
  DG_TRY(packed.up, kernels.Pack(OneRun(DType::kF32, count, out, rank, std::as_bytes(std::span(up))), kFloat32Weights));
  return packed;
}

}  // namespace

const char* Name(DeltaRole role) {
  return role == DeltaRole::kEncoder ? "encoder" : role == DeltaRole::kDecoder ? "decoder" : "both";
}

bool HasTwoRoles(std::string_view tensor) { return !tensor.starts_with("model.decoder.self_conditioning."); }

Result<void> CheckDelta(const AdapterDelta& delta, const Config& config) {
  const std::vector<TensorSpec> specs = ListTensors(config);
  const auto spec = std::ranges::find(specs, delta.tensor, &TensorSpec::name);
  return CheckAgainst(delta, spec == specs.end() ? nullptr : &*spec);
}

Result<void> AttachAdapters(std::span<const AppliedAdapter> adapters, const Config& config, Weights& weights,
                            Kernels& kernels) {
  const std::vector<NamedWeight> named = NameWeights(config, weights);
  std::unordered_map<std::string_view, const NamedWeight*> by_name;
  for (const NamedWeight& weight : named) by_name.emplace(weight.spec.name, &weight);
  for (const AppliedAdapter& applied : adapters) {
    if (!std::isfinite(applied.scale))
      return Fail(StatusCode::kInvalidArgument, fmt::format("{}: its scale is not finite", applied.adapter->name));
    for (const AdapterDelta& delta : applied.adapter->deltas) {
      const auto found = by_name.find(delta.tensor);
      DG_CHECK_OK(CheckAgainst(delta, found == by_name.end() ? nullptr : &found->second->spec));
    }
  }
  for (const NamedWeight& weight : named) weight.weight->low_rank = nullptr;
  for (const auto& [tensor, indices] : SortDeltas(adapters)) {
    DG_TRY(LowRank packed, At(tensor, PackDeltas(adapters, indices, kernels)));
    by_name.at(tensor)->weight->low_rank = std::make_shared<LowRank>(std::move(packed));
  }
  return {};
}

std::vector<AttachedDelta> FindDeltas(std::span<const AppliedAdapter> adapters, const Config& config,
                                      Weights& weights) {
  const DeltasByTensor sorted = SortDeltas(adapters);
  std::vector<AttachedDelta> attached;
  for (const NamedWeight& named : NameWeights(config, weights)) {
    const auto found = sorted.find(named.spec.name);
    if (found == sorted.end()) continue;
    int64_t column = 0;
    for (const DeltaIndex at : found->second) {
      attached.push_back({at.adapter, at.delta, named.weight, column});
      column += DeltaAt(adapters, at).rank;
    }
  }
  return attached;
}

int64_t PlanAdapters(std::span<const AppliedAdapter> adapters, const Kernels& kernels,
                     std::span<PlannedWeight> weights) {
  int64_t bytes = 0;
  for (const auto& [tensor, indices] : SortDeltas(adapters)) {
    const AdapterDelta& delta = DeltaAt(adapters, indices.front());
    const int64_t rank = RankOf(adapters, indices);
    bytes += kernels.PackedBytes(kFloat32Weights, delta.count, rank, delta.in) +
             kernels.PackedBytes(kFloat32Weights, delta.count, delta.out, rank);
    const auto weight = std::ranges::find(weights, tensor, [](const PlannedWeight& w) { return w.spec.name; });
    if (weight != weights.end()) weight->rank = rank;
  }
  return bytes;
}

}  // namespace dgemma
