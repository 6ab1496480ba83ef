// Times every heavy operation of a backend on its own, with random weights in the shapes and formats of a model: one
// layer of each
// kind, no checkpoint read. The bound of an operation is that of its arithmetic.
#pragma once

#include <string>
#include <vector>

#include "bench_report.h"
#include "dgemma/dgemma.h"
#include "engine/pass_cost.h"
#include "model/config.h"

namespace dgemma {

/// kProcess counts the time that this process really ran: with one thread, figures that other work disturbs little.
enum class OpClock { kWall, kProcess };

struct OpsToTime {
  Config config;
  WeightFormat matrices, experts, table;
  int64_t cached_tokens = 128;
  std::string only;  ///< operations whose name contains this
  int repeats = 9;
  OpClock clock = OpClock::kWall;
};

struct OpTiming {
  std::string name;
  Operations operations;
  double least_ms = 0;
  double median_ms = 0;
};

/// The formats of a model's first matrix, first experts and its table.
void TakeFormats(std::span<const PlannedWeight> weights, OpsToTime& ops);

/// Operations on a whole canvas of rows unless their name says otherwise. kResourceExhausted when memory is short.
Result<std::vector<OpTiming>> TimeOps(const OpsToTime& ops, const EngineOptions& options);

std::string OpsTable(const std::vector<OpTiming>& timings, const MachineRates& machine, TableForm form);
std::string OpsJson(const std::vector<OpTiming>& timings, const MachineRates& machine);

}  // namespace dgemma
