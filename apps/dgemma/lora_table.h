// What `dgemma lora info` says of an adapter: its modules, those of many layers in one row.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/adapter_files.h"

namespace dgemma {

/// Modules that differ in their layer only.
struct LoraRow {
  std::string module;  ///< "self_attn.q_proj"
  std::string kind;    ///< of the layers: "sliding", "full"; empty without a model, and outside the layers
  DeltaRole role = DeltaRole::kBoth;
  std::string shape;            ///< [out, in], of experts [E, out, in]; without a model those of A and B
  std::optional<int64_t> rank;  ///< without a model unknown
  std::optional<double> scale;  ///< the same
  std::vector<int64_t> layers;  ///< ascending; empty outside the layers
  int64_t pairs = 0;            ///< of matrices
  uint64_t values = 0;
};

/// Rows as the file has them, and as a model takes them.
std::vector<LoraRow> RowsOf(const OpenedAdapter& opened);
std::vector<LoraRow> RowsOf(const Adapter& adapter, const Config& config);

std::string LoraText(const OpenedAdapter& opened, const std::vector<LoraRow>& rows);
boost::json::object LoraJson(const OpenedAdapter& opened, const std::vector<LoraRow>& rows);

}  // namespace dgemma
