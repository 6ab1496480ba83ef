// The two lists.
#include "train/trained_weights.h"

#include <memory>

namespace dgemma {
namespace {

TensorSpec SpecOf(const std::string& tensor, const char* suffix, const Weight& matrix) {
  TensorSpec spec{tensor + suffix, {}, TensorRole::kMatrix};
  if (matrix.count > 1) spec.shape.push_back(static_cast<uint64_t>(matrix.count));
  spec.shape.push_back(static_cast<uint64_t>(matrix.out));
  spec.shape.push_back(static_cast<uint64_t>(matrix.in));
  return spec;
}

}  // namespace

ListTrained TrainWeights(const Config& config, Weights& weights) {
  return [&config, &weights](Weights& gradients) {
    const std::vector<NamedWeight> places = NameWeights(config, gradients);
    std::vector<TrainedWeight> trained;
    for (NamedWeight& named : NameWeights(config, weights)) {
      const size_t index = trained.size();
      trained.push_back({std::move(named.spec), named.weight, places[index].weight});
    }
    return trained;
  };
}

ListTrained TrainAdapters(const Config& config, Weights& weights) {
  return [&config, &weights](Weights& gradients) {
    const std::vector<NamedWeight> places = NameWeights(config, gradients);
    const std::vector<NamedWeight> named = NameWeights(config, weights);
    std::vector<TrainedWeight> trained;
    for (size_t i = 0; i < named.size(); ++i) {
      const auto& deltas = named[i].weight->low_rank;
      if (deltas == nullptr) continue;
      const auto gradient = std::make_shared<LowRank>();
      gradient->scale = deltas->scale;
      gradient->encoder = deltas->encoder;
      gradient->decoder = deltas->decoder;
      places[i].weight->low_rank = gradient;
      trained.push_back({SpecOf(named[i].spec.name, ".lora_A", deltas->down), &deltas->down, &gradient->down});
      trained.push_back({SpecOf(named[i].spec.name, ".lora_B", deltas->up), &deltas->up, &gradient->up});
    }
    return trained;
  };
}

}  // namespace dgemma
