// The model's configuration as a GGUF file's metadata says it, both ways: keys to config.json and
// generation_config.json, and a Config to keys. Keys follow llama.cpp's converters for the architectures
// diffusion-gemma and gemma4.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dgemma/status.h"
#include "files/gguf.h"
#include "files/gguf_writer.h"
#include "model/config.h"

namespace dgemma {

/// config.json of a file. Per-layer geometry comes from attention.head_count_kv (one number, or one a layer) and
/// attention.sliding_window_pattern (one bool a layer, or a period whose last layer is full); the rotated share of full
/// layers from the tensor rope_freqs.weight, which `file` holds: 1 (or one common factor) for pairs that rotate, then
/// 1e20 and more. End-of-text ids are the key's and those of the tokens that end a turn or call a tool. A gemma4 file
/// gives model_type "gemma4". kInvalidFile names the key; kUnsupported for other architectures, split files and what
/// the model has not (shared K/V layers, per-layer embeddings, no experts).
Result<std::string> ConfigFromGguf(const GgufTable& table, std::span<const std::byte> file);

/// generation_config.json of a file: diffusion.eb_* (numbers, or texts that spell them) and token ids; absent keys stay
/// absent.
Result<std::string> GenerationConfigFromGguf(const GgufTable& table);

/// The keys of this configuration but those of the tokenizer.
void PutConfig(const Config& config, const GenerationConfig& generation, GgufMetadata& metadata);

/// What the tensor rope_freqs.weight holds: half a head of the full layers; empty where there are none.
std::vector<float> RopeFactors(const Config& config);

/// "diffusion-gemma", or "gemma4" for a causal-only model.
std::string_view GgufArchitecture(const Config& config);

}  // namespace dgemma
