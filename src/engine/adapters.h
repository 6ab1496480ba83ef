// The adapters that EngineOptions name: read, checked against the model, attached to its weights.
#pragma once

#include <string>
#include <vector>

#include "dgemma/dgemma.h"
#include "model/adapter.h"

namespace dgemma {

/// Adapters of one engine, in the order of the options.
struct LoadedAdapters {
  std::vector<Adapter> adapters;
  std::vector<AdapterFacts> facts;

  /// Views of `adapters`, valid while they do not move.
  std::vector<AppliedAdapter> Applied() const;
};

/// Reads them. Errors: ReadAdapter's, beginning with the path; kInvalidArgument for a scale that is not finite and for
/// more than 64.
Result<LoadedAdapters> LoadAdapters(const EngineOptions& options, const Config& config);

}  // namespace dgemma
