// Walks the list of tensors; draws the first values.
#include "train/new_adapter.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/philox.h"
#include "files/messages.h"
#include "model/tensor_list.h"

namespace dgemma {
namespace {

constexpr int64_t kMostRank = 1024;

bool IsLinear(const TensorSpec& spec) {
  return spec.role == TensorRole::kMatrix || spec.role == TensorRole::kRouter || spec.role == TensorRole::kExperts;
}

/// The name as patterns see it.
std::string_view ShortName(const TensorSpec& spec) {
  std::string_view name = spec.name;
  constexpr std::string_view kPrefix = "model.decoder.", kSuffix = ".weight";
  if (name.starts_with(kPrefix)) name.remove_prefix(kPrefix.size());
  if (name.ends_with(kSuffix)) name.remove_suffix(kSuffix.size());
  return name;
}

Result<void> CheckOptions(const LoraOptions& options) {
  if (options.rank < 1 || options.rank > kMostRank)
    return Fail(StatusCode::kInvalidArgument, fmt::format("lora-rank: {} is not 1 to {}", options.rank, kMostRank));
  if (!(options.alpha >= 0 && std::isfinite(options.alpha)))
    return Fail(StatusCode::kInvalidArgument, "lora-alpha: must be 0 or more");
  return {};
}

AdapterDelta MakeDelta(const TensorSpec& spec, DeltaRole role, const LoraOptions& options, uint64_t seed,
                       uint32_t number) {
  AdapterDelta delta;
  delta.tensor = spec.name;
  delta.role = role;
  delta.count = spec.shape.size() == 3 ? static_cast<int64_t>(spec.shape[0]) : 1;
  delta.out = static_cast<int64_t>(spec.shape[spec.shape.size() - 2]);
  delta.in = static_cast<int64_t>(spec.shape.back());
  delta.rank = options.rank;
  const double rank = static_cast<double>(options.rank), alpha = options.alpha > 0 ? options.alpha : 2 * rank;
  delta.scale = static_cast<float>(alpha / (options.rank_stabilized ? std::sqrt(rank) : rank));
  delta.up.assign(static_cast<size_t>(delta.count * delta.out * delta.rank), 0.0f);
  const double bound = 1 / std::sqrt(static_cast<double>(delta.in));
  const int64_t values = delta.count * delta.rank * delta.in;
  delta.down.reserve(static_cast<size_t>(values));
  for (int64_t i = 0; i < values; ++i) {
    const DrawKey key{seed, number, static_cast<uint32_t>(i >> 32), static_cast<uint32_t>(i), Draw::kNewAdapter};
    delta.down.push_back(static_cast<float>((2 * UniformDouble(key) - 1) * bound));
  }
  return delta;
}

}  // namespace

bool MatchesPattern(std::string_view name, std::string_view pattern) {
  size_t at = 0, in_pattern = 0, star = std::string_view::npos, resume = 0;
  while (at < name.size()) {
    if (in_pattern < pattern.size() && pattern[in_pattern] == '*') {
      star = in_pattern++;
      resume = at;
    } else if (in_pattern < pattern.size() && pattern[in_pattern] == name[at]) {
      ++in_pattern;
      ++at;
    } else if (star != std::string_view::npos) {  // the last star takes one character more
      in_pattern = star + 1;
      at = ++resume;
    } else {
      return false;
    }
  }
  return std::ranges::all_of(pattern.substr(in_pattern), [](char c) { return c == '*'; });
}

Result<Adapter> NewAdapter(const Config& config, const LoraOptions& options, uint64_t seed) {
  if (const auto checked = CheckOptions(options); !checked) return std::unexpected(checked.error());
  Adapter adapter{"new", {}};
  std::vector<bool> used(options.targets.size());
  uint32_t number = 0;
  for (const TensorSpec& spec : ListTensors(config)) {
    ++number;
    if (!IsLinear(spec)) continue;
    bool wanted = false;
    for (size_t i = 0; i < options.targets.size(); ++i) {
      if (!MatchesPattern(ShortName(spec), options.targets[i])) continue;
      used[i] = wanted = true;
    }
    if (!wanted) continue;
    const bool decoder_only = spec.name.find(".self_conditioning.") != std::string::npos;
    if (options.separate_roles && !decoder_only)
      adapter.deltas.push_back(MakeDelta(spec, DeltaRole::kEncoder, options, seed, 2 * number));
    const DeltaRole role = options.separate_roles || decoder_only ? DeltaRole::kDecoder : DeltaRole::kBoth;
    adapter.deltas.push_back(MakeDelta(spec, role, options, seed, 2 * number + 1));
  }
  for (size_t i = 0; i < used.size(); ++i) {
    if (!used[i]) {
      return Fail(StatusCode::kInvalidArgument,
                  fmt::format("lora-targets: no linear layer matches {}", Quoted(options.targets[i])));
    }
  }
  if (adapter.deltas.empty()) return Fail(StatusCode::kInvalidArgument, "lora-targets: none given");
  return adapter;
}

int64_t AdapterValues(const Adapter& adapter) {
  int64_t values = 0;
  for (const AdapterDelta& delta : adapter.deltas) values += std::ssize(delta.down) + std::ssize(delta.up);
  return values;
}

}  // namespace dgemma
