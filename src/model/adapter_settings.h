// adapter_config.json: what PEFT writes beside an adapter's matrices. Text to values, pure; adapter_files.h has the
// rest.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dgemma/status.h"
#include "model/adapter_pattern.h"

namespace dgemma {

/// Highest rank that is read: limits what a file may cost.
constexpr int64_t kMostAdapterRank = 1024;

struct AdapterSettings {
  int64_t rank = 0;                                           ///< r; 0: as the matrices have it (GGUF)
  double alpha = 0;                                           ///< lora_alpha
  bool rank_stabilized = false;                               ///< use_rslora
  std::vector<std::pair<NamePattern, int64_t>> rank_pattern;  ///< the first that matches counts
  std::vector<std::pair<NamePattern, double>> alpha_pattern;
  std::string base_model;  ///< base_model_name_or_path, for people
  /// Written by a PEFT before 0.19, which took the two sizes of an expert's parameter the other way round.
  bool old_parameters = false;

  /// The rank that a module of this name ("model.decoder.layers.0.self_attn.q_proj") must have.
  int64_t RankOf(std::string_view module) const;
  /// What its product of matrices is multiplied with: alpha / rank, or alpha / sqrt(rank).
  double ScaleOf(std::string_view module, int64_t rank) const;
};

/// kUnsupported, naming the field, for what is not a plain LoRA: another peft_type, bias, modules_to_save, use_dora,
/// fan_in_fan_out, trainable tokens, first values that change the base weights (pissa, olora, corda, loftq), and the
/// like. kInvalidFile for fields out of range: r in 1..kMostAdapterRank, finite alphas, at most 4,096 patterns of 512
/// bytes, 4 KiB of them with operators.
Result<AdapterSettings> ParseAdapterSettings(std::string_view text);

}  // namespace dgemma
