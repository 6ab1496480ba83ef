// See backend.h.
#include "engine/backend.h"

#include <sched.h>

#include <algorithm>

#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/cpu_train_kernels.h"
#include "kernels/cpu/machine_peak.h"
#include "kernels/ref/ref_kernels.h"

namespace dgemma {

int ThreadsFor(int wish) {
  if (wish > 0) return wish;
  cpu_set_t allowed;
  return sched_getaffinity(0, sizeof(allowed), &allowed) == 0 ? std::max(1, CPU_COUNT(&allowed)) : 1;
}

std::unique_ptr<Kernels> MakeKernels(const EngineOptions& options, const Config& config) {
  const auto eps = static_cast<float>(config.norm_eps);
  if (options.backend == Backend::kReference) return MakeRefKernels({Rounding::kFloat32, eps});
  if (options.backend == Backend::kReferenceBf16) return MakeRefKernels({Rounding::kBfloat16, eps});
  return MakeCpuKernels({ThreadsFor(options.threads), eps});
}

std::unique_ptr<TrainKernels> MakeTrainKernels(Kernels& kernels) { return MakeCpuTrainKernels(kernels); }

namespace {

CpuShape ShapeOf(const Config& config, std::span<const PlannedWeight> weights, int64_t rows, int64_t head_rows) {
  CpuShape shape;
  shape.rows = rows;
  shape.width = config.width;
  for (const LayerConfig& layer : config.layers) {
    shape.kv_width = std::max(shape.kv_width, layer.kv_heads * layer.head_size);
    shape.query_width = std::max(shape.query_width, config.heads * layer.head_size);
    shape.head_size = std::max(shape.head_size, layer.head_size);
    shape.group = std::max(shape.group, config.heads / layer.kv_heads);
  }
  shape.dense_width = config.hidden;
  shape.experts = config.experts;
  shape.active = config.active_experts;
  shape.expert_width = config.expert_hidden;
  shape.vocab = config.vocab;
  for (const PlannedWeight& weight : weights) {
    shape.grouped = shape.grouped || weight.format.grouped();
    shape.bf16 = shape.bf16 || weight.format.kind == WeightKind::kBf16;
    int64_t& rank = weight.spec.role == TensorRole::kExperts ? shape.expert_rank : shape.rank;
    rank = std::max(rank, weight.rank);
  }
  shape.head_rows = head_rows;
  return shape;
}

}  // namespace

int64_t PlannedScratchBytes(const EngineOptions& options, const Config& config, std::span<const PlannedWeight> weights,
                            int64_t rows, int64_t canvases) {
  const int64_t head_rows = canvases * config.canvas;
  if (options.backend != Backend::kCpu) return head_rows * config.vocab * static_cast<int64_t>(sizeof(float));
  return CpuScratchBytes(ShapeOf(config, weights, rows, head_rows), ThreadsFor(options.threads));
}

int64_t PlannedTrainScratchBytes(const EngineOptions& options, const Config& config,
                                 std::span<const PlannedWeight> weights, int64_t rows) {
  return CpuTrainScratchBytes(ShapeOf(config, weights, rows, rows), ThreadsFor(options.threads));
}

MachineRates MeasureMachine(int threads) {
  const MachinePeak peak = MeasureMachinePeak(threads);
  return {peak.target,           peak.threads,           peak.read_bytes_per_second,
          peak.int8_all_threads, peak.flops_all_threads, peak.bf16_all_threads};
}

}  // namespace dgemma
