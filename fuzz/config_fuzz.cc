// Any text as config.json and generation_config.json: no crash, a readable refusal, and from an accepted configuration a list of
// tensors and a plan of caches whose sizes fit 63 bits.
#include <algorithm>
#include <cstdint>

#include "expect.h"
#include "files/bytes.h"
#include "model/activations.h"
#include "model/config.h"
#include "model/kv_cache.h"
#include "model/rotary.h"
#include "model/tensor_list.h"

using dgemma::Expect;

namespace {

void ExpectReadable(const dgemma::Status& status) {
  Expect(!status.message.empty() && status.message.size() < 1000, "a short message");
  Expect(std::ranges::all_of(status.message, [](char byte) { return byte >= 0x20 && byte < 0x7f; }),
         "one printable line");
}

void UseConfig(const dgemma::Config& config) {
  Expect(!config.layers.empty() && config.layers.size() <= 1024 && !config.layers.back().sliding, "layers");
  Expect(config.active_experts <= config.experts, "active experts");
  for (const dgemma::LayerConfig& layer : config.layers) {
    Expect(config.heads % layer.kv_heads == 0 && layer.head_size % 2 == 0, "head geometry");
    const int64_t pairs = dgemma::RotaryPairs(config.Rope(layer), layer.head_size);
    Expect(pairs >= 1 && pairs <= layer.head_size / 2, "rotary pairs");
    const auto first = std::ranges::find(config.layers, layer.sliding, &dgemma::LayerConfig::sliding);
    Expect(first->head_size == layer.head_size, "one rotary table for a kind of layer");
  }
  __extension__ unsigned __int128 bytes = 0;
  for (const dgemma::TensorSpec& spec : dgemma::ListTensors(config)) {
    __extension__ unsigned __int128 values = 1;
    for (const uint64_t size : spec.shape) values *= size;
    Expect(values == spec.Values() && values > 0, "values of a tensor fit 64 bits");
    bytes += 4 * values;
  }
  Expect(bytes <= INT64_MAX, "the model's bytes fit 63 bits");
  Expect(dgemma::KvCache::PlannedBytes(config, config.max_positions, 65'536) > 0, "cache bytes");
  Expect(dgemma::Activations::PlannedBytes(config, 65'536 * 17, 16) > 0, "pass bytes");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const std::string_view text = dgemma::AsText(std::as_bytes(std::span(bytes, size)));
  if (const auto config = dgemma::ParseConfig(text))
    UseConfig(*config);
  else
    ExpectReadable(config.error());
  if (const auto generation = dgemma::ParseGenerationConfig(text, 262'144); !generation)
    ExpectReadable(generation.error());
  return 0;
}
