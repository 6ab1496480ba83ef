// GGUF's names of the tensors in model/tensor_list.h, both ways. The one place that knows them; shapes are the same but
// for the order in which files write dimensions.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dgemma {

/// Divisors of the rotary frequencies of full layers: no tensor of ours, see model/gguf_config.h.
inline constexpr std::string_view kGgufRopeFactors = "rope_freqs.weight";

/// Names under which a file may hold the tensor, the usual one first; empty for tensors that GGUF files do not hold
/// (vision). The encoder's scalar may lie under the decoder's name: files of autoregressive models have one scalar a
/// layer.
std::vector<std::string> GgufNames(std::string_view name);

/// The two halves (gate, up) of a layer's experts.gate_up_proj where a file keeps them apart; nothing for other
/// tensors.
std::optional<std::pair<std::string, std::string>> GgufHalves(std::string_view name);

/// True for tensors of a file that mean nothing beyond what the list has: rotary factors, a tied head.
bool IsGgufExtra(std::string_view gguf_name);

}  // namespace dgemma
