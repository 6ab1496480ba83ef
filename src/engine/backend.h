// The only place that names concrete backends: from EngineOptions to Kernels, and what a backend needs besides the weights.
#pragma once

#include <memory>
#include <span>

#include "dgemma/dgemma.h"
#include "engine/pass_cost.h"
#include "kernels/kernels.h"
#include "kernels/train_kernels.h"
#include "model/config.h"
#include "model/weights.h"

namespace dgemma {

/// Threads to use: the wish, or one for each core this process may run on.
int ThreadsFor(int wish);

std::unique_ptr<Kernels> MakeKernels(const EngineOptions& options, const Config& config);

/// The gradients of a CPU backend's operations; `kernels` must outlive them.
std::unique_ptr<TrainKernels> MakeTrainKernels(Kernels& kernels);

/// Bytes of the backend's own scratch for passes of `rows` rows with `canvases` canvases over these weights.
int64_t PlannedScratchBytes(const EngineOptions& options, const Config& config, std::span<const PlannedWeight> weights,
                            int64_t rows, int64_t canvases);

/// The same of the gradients of passes of `rows` rows, beside the forward passes' own.
int64_t PlannedTrainScratchBytes(const EngineOptions& options, const Config& config,
                                 std::span<const PlannedWeight> weights, int64_t rows);

/// Measures what this machine can do at most with so many threads. Takes about half a second and a quarter of a gigabyte.
MachineRates MeasureMachine(int threads);

}  // namespace dgemma
