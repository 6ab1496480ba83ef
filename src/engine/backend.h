// The only place that names concrete backends: from EngineOptions to Kernels, and what a backend needs besides the weights.
#pragma once

#include <memory>

#include "dgemma/dgemma.h"
#include "kernels/kernels.h"
#include "model/config.h"

namespace dgemma {

/// Threads to use: the wish, or one for each core this process may run on.
int ThreadsFor(int wish);

std::unique_ptr<Kernels> MakeKernels(const EngineOptions& options, const Config& config);

/// Bytes of the backend's own scratch for passes of `rows` rows with `canvases` canvases.
int64_t PlannedScratchBytes(const EngineOptions& options, const Config& config, int64_t rows, int64_t canvases);

}  // namespace dgemma
