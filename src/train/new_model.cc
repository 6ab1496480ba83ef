// Writes a safetensors file in memory, tensor by tensor, and opens it.
#include "train/new_model.h"

#include <fmt/format.h>

#include <cmath>
#include <memory>
#include <numbers>
#include <vector>

#include "base/philox.h"
#include "base/try.h"
#include "files/messages.h"
#include "model/config.h"
#include "model/tensor_list.h"
#include "text/tokenizer.h"

namespace dgemma {
namespace {

/// Two normal values from the four words of one counter (Box and Muller).
std::array<float, 2> NormalPair(uint64_t seed, uint32_t tensor, uint64_t pair) {
  const auto words = Philox4x32({static_cast<uint32_t>(pair), static_cast<uint32_t>(pair >> 32), tensor, 0x6e6577u},
                                {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  const auto uniform = [](uint32_t high, uint32_t low) {
    return (static_cast<double>((uint64_t{high} << 21) ^ (low >> 11)) + 0.5) * 0x1p-53;
  };
  const double radius = std::sqrt(-2 * std::log(uniform(words[0], words[1])));
  const double angle = 2 * std::numbers::pi * uniform(words[2], words[3]);
  return {static_cast<float>(radius * std::cos(angle)), static_cast<float>(radius * std::sin(angle))};
}

std::vector<float> RandomValues(const TensorSpec& spec, uint64_t seed, uint32_t tensor) {
  const bool plain = spec.role == TensorRole::kNorm || spec.role == TensorRole::kScalar || spec.shape.empty();
  std::vector<float> values(spec.Values(), 1.0f);
  if (plain) return values;
  const auto deviation = static_cast<float>(1 / std::sqrt(static_cast<double>(spec.shape.back())));
  for (size_t i = 0; i < values.size(); i += 2) {
    const auto [first, second] = NormalPair(seed, tensor, i / 2);
    values[i] = first * deviation;
    if (i + 1 < values.size()) values[i + 1] = second * deviation;
  }
  return values;
}

}  // namespace

Result<CheckpointFiles> NewModel(const std::string& config_json, const std::string& tokenizer_json, uint64_t seed) {
  DG_TRY(const Config config, At("config.json", ParseConfig(config_json)));
  DG_TRY(const Tokenizer tokenizer, At("tokenizer.json", Tokenizer::FromJson(tokenizer_json)));
  if (tokenizer.vocab_size() > config.vocab) {
    return Fail(StatusCode::kInvalidFile,
                fmt::format("tokenizer.json: has {} ids, the configuration's vocabulary only {}",
                            tokenizer.vocab_size(), config.vocab));
  }
  const auto memory = std::make_shared<std::vector<std::vector<float>>>();
  std::vector<TensorParts> tensors;
  for (const TensorSpec& spec : ListTensors(config)) {
    memory->push_back(RandomValues(spec, seed, static_cast<uint32_t>(memory->size())));
    const std::vector<float>& values = memory->back();
    const uint64_t rows = spec.shape.empty() ? 1 : spec.Values() / spec.shape.back();
    tensors.push_back({spec.name, spec.shape, {{DType::kF32, rows, std::as_bytes(std::span(values))}}});
  }
  Blob blob;
  blob.name = "new model";
  blob.keep_alive = memory;
  return CheckpointFromParts(std::move(blob), std::move(tensors),
                             {{"config.json", [config_json]() -> Result<std::string> { return config_json; }},
                              {"tokenizer.json", [tokenizer_json]() -> Result<std::string> { return tokenizer_json; }}},
                             {});
}

}  // namespace dgemma
