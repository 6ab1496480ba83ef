// From loaded models to reports: every pass run as often as it needs, then the machine itself.
#pragma once

#include <memory>
#include <vector>

#include "bench_passes.h"
#include "bench_report.h"
#include "program.h"

namespace dgemma {

struct MeasureOptions {
  std::vector<int64_t> prefill;  ///< prompt lengths; empty: 128 and 512, as far as the context goes
  int repeats = 0;               ///< of every pass; 0: three at least, for two seconds, but no more after five
  int threads = 1;               ///< with which the machine is measured
  SkipOptions skip;              ///< whose figures are wanted; off: none
};

/// Times every pass of the models in turns, so that a slow minute of the machine hits all of them. The machine is
/// measured last: its
/// buffers would hide the largest resident size of a small model. kInvalidArgument for a prompt beyond the context;
/// kCancelled.
Result<std::vector<BenchReport>> Measure(Program& program, std::vector<std::unique_ptr<PassBench>>& models,
                                         const MeasureOptions& options);

}  // namespace dgemma
