// See bench_measure.h.
#include "bench_measure.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/try.h"
#include "engine/backend.h"
#include "progress_line.h"

namespace dgemma {
namespace {

/// At least three, for two seconds; what is slow ends after five.
bool Enough(const std::vector<double>& ms, int repeats) {
  if (repeats > 0) return std::ssize(ms) >= repeats;
  const double total = std::accumulate(ms.begin(), ms.end(), 0.0);
  return total >= 5'000 || (ms.size() >= 3 && total >= 2'000) || ms.size() >= 200;
}

double Median(std::vector<double> values) {
  std::ranges::sort(values);
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

int64_t PeakBytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

Result<std::vector<int64_t>> PrefillLengths(const MeasureOptions& options, const Engine& engine) {
  const int64_t context = engine.facts().context_tokens;
  std::vector<int64_t> lengths = options.prefill;
  if (lengths.empty()) {
    lengths = {128, 512};
    std::erase_if(lengths, [&](int64_t tokens) { return tokens > context; });
  }
  for (const int64_t tokens : lengths) {
    if (tokens > context)
      return Fail(StatusCode::kInvalidArgument,
                  fmt::format("--prefill: {} tokens exceed the context of {}", tokens, context));
  }
  return lengths;
}

}  // namespace

Result<std::vector<BenchReport>> Measure(Program& program, std::vector<std::unique_ptr<PassBench>>& models,
                                         const MeasureOptions& options) {
  ProgressLine line(program);
  std::stop_source stop;
  const Signals::Scope scope(program.signals, Stopping(stop));
  std::vector<BenchReport> reports(models.size());
  std::vector<std::vector<PassToTime>> passes;
  size_t most = 0;
  for (const auto& model : models) {
    DG_TRY(const std::vector<int64_t> prefill, PrefillLengths(options, model->engine()));
    passes.push_back(model->Passes(prefill));
    most = std::max(most, passes.back().size());
  }
  for (size_t index = 0; index < most; ++index) {
    std::vector<std::vector<double>> ms(models.size());
    for (bool enough = false; !enough;) {
      enough = true;
      for (size_t m = 0; m < models.size(); ++m) {
        if (index >= passes[m].size()) continue;
        line.Show(
            fmt::format("measuring {} ({} of {}), run {}", Name(passes[m][index]), index + 1, most, ms[m].size() + 1));
        DG_TRY(const double once, models[m]->Milliseconds(passes[m][index], stop.get_token()));
        ms[m].push_back(once);
        enough = enough && Enough(ms[m], options.repeats);
      }
    }
    for (size_t m = 0; m < models.size(); ++m) {
      if (index >= passes[m].size()) continue;
      const PassToTime& pass = passes[m][index];
      const int64_t tokens = pass.kind == PassKind::kToken ? 1 : pass.tokens;
      reports[m].passes.push_back({Name(pass), tokens, pass.rows, std::ranges::min(ms[m]), Median(ms[m]),
                                   std::ssize(ms[m]), models[m]->Cost(pass)});
    }
  }
  const int64_t peak_bytes = models.size() == 1 ? PeakBytes() : 0;
  line.Show("measuring the machine");
  const MachineRates machine = MeasureMachine(options.threads);
  for (size_t m = 0; m < models.size(); ++m) {
    const ModelFacts& facts = models[m]->engine().facts();
    BenchReport& report = reports[m];
    report.model = facts.name;
    report.dtype = facts.dtype;
    report.backend = facts.backend;
    report.parameters = facts.parameters;
    report.canvas_tokens = facts.canvas_tokens;
    report.prompt_tokens = models[m]->prompt_tokens();
    report.machine = machine;
    report.load_ms = models[m]->load_ms();
    report.skip = options.skip;
    const MemoryPlan plan = models[m]->engine().plan();
    report.plan_bytes = plan.Total() + (options.skip.settled_steps > 0 ? plan.skip_per_session : 0);
    report.peak_bytes = peak_bytes;
  }
  return reports;
}

}  // namespace dgemma
