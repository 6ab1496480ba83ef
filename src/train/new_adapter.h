// A fresh adapter for training: which linear layers get low-rank deltas, and their first values.
#pragma once

#include <string>
#include <vector>

#include "model/adapter.h"

namespace dgemma {

/// What a LoRA run trains.
struct LoraOptions {
  int64_t rank = 0;              ///< r; 0: no adapter
  double alpha = 0;              ///< deltas are scaled with alpha / r; 0: 2 r
  bool rank_stabilized = false;  ///< scale alpha / sqrt(r) (arXiv:2312.03732)
  bool separate_roles = false;   ///< one delta for encoder rows and one for decoder rows, instead of one for both
  /// Linear layers by name without "model.decoder." and ".weight"; `*` stands for anything: "layers.*.self_attn.*_proj".
  std::vector<std::string> targets = {"layers.*.self_attn.*_proj", "layers.*.mlp.*_proj"};
};

/// Whether `name` matches `pattern`, in which `*` stands for any characters. Time: the product of the lengths at most.
bool MatchesPattern(std::string_view name, std::string_view pattern);

/// Deltas that change nothing yet: down uniform in +-1/sqrt(in) (as PEFT: kaiming_uniform with a = sqrt(5)), up zero. Values depend on
/// seed and tensor only. kInvalidArgument for options out of range, and for a pattern that no linear layer matches, naming it.
Result<Adapter> NewAdapter(const Config& config, const LoraOptions& options, uint64_t seed);

/// Values that such an adapter has: what is trained.
int64_t AdapterValues(const Adapter& adapter);

}  // namespace dgemma
