// The list of tensors, once: names, shapes as formulas of the configuration, and what each is. Loading, checking, saving, the
// memory plan and `dgemma inspect` all walk it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "model/config.h"

namespace dgemma {

/// What a tensor is for; decides how it is packed and, later, quantised or trained.
enum class TensorRole : uint8_t {
  kEmbedding,  ///< token table, also the vocabulary head and the self-conditioning table
  kMatrix,     ///< linear layer [out, in]
  kRouter,     ///< the linear layer that chooses experts
  kExperts,    ///< linear layers [E, out, in]
  kNorm,       ///< RMSNorm weight or another vector
  kScalar,     ///< one number per layer
  kVision,     ///< part of the vision tower: listed and checked, not used yet
};

const char* Name(TensorRole role);

struct TensorSpec {
  std::string name;
  std::vector<uint64_t> shape;
  TensorRole role = TensorRole::kMatrix;

  uint64_t Values() const;
};

/// Every tensor of a checkpoint with this configuration, in layer order.
std::vector<TensorSpec> ListTensors(const Config& config);

/// Values of all of them.
int64_t ParameterCount(const Config& config);

/// True for names that other exports add and that mean storage already listed (tied copies such as lm_head.weight).
bool IsTiedName(std::string_view name);

}  // namespace dgemma
