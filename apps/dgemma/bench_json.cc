// Reports as JSON objects, and back.
#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include "base/try.h"
#include "bench_report.h"
#include "files/json.h"
#include "files/mapped_file.h"
#include "files/messages.h"
#include "json_text.h"
#include "model/json_fields.h"

namespace dgemma {
namespace {

constexpr uint64_t kMostBytes = 1 << 20;
constexpr IntRange kCount{0, int64_t{1} << 60};
constexpr IntRange kSteps{1, 4096};  // as SkipOptions
constexpr IntRange kRows{0, 1 << 20};
constexpr RealRange kAmount{0, 1e24};
constexpr RealRange kPositive{1e-12, 1e24};

boost::json::object PassJson(const PassFigures& pass, const MachineRates& machine) {
  const PassCost& cost = pass.cost;
  const double seconds = pass.least_ms / 1e3;
  boost::json::object object{{"name", pass.name},
                             {"tokens", pass.tokens},
                             {"least_ms", pass.least_ms},
                             {"median_ms", pass.median_ms},
                             {"repeats", pass.repeats},
                             {"bytes", cost.Bytes()},
                             {"weight_bytes", cost.weight_bytes},
                             {"expert_bytes", cost.expert_bytes},
                             {"vocabulary_bytes", cost.vocabulary_bytes},
                             {"cache_bytes", cost.cache_bytes},
                             {"int8_operations", cost.operations.integers},
                             {"float32_operations", cost.operations.floats},
                             {"bfloat16_operations", cost.operations.bf16},
                             {"dense_soft_embedding_operations", cost.soft.floats},
                             {"bound_ms", 1e3 * LeastSeconds(cost, machine)},
                             {"share_of_reads", cost.Bytes() / seconds / machine.bytes},
                             {"share_of_peak", SecondsAtPeak(cost.operations, machine) / seconds},
                             {"share_of_bound", LeastSeconds(cost, machine) / seconds}};
  if (pass.rows > 0) object["canvas_rows"] = pass.rows;
  return object;
}

boost::json::object SkipJson(const BenchReport& report) {
  boost::json::array paces;
  for (const SkipPace& pace : SkipPacesOf(report)) {
    paces.push_back(boost::json::object{{"assumed_share_of_rows_left_out", pace.left_out},
                                        {"ms_a_pass", pace.pass_ms},
                                        {"steps", pace.steps},
                                        {"full_passes", pace.full_passes},
                                        {"share_of_rows_computed", pace.computed},
                                        {"tokens_per_second", pace.tokens_per_second},
                                        {"exact_tokens_per_second", pace.exact}});
  }
  return {{"settled_steps", report.skip.settled_steps},
          {"refresh_every", report.skip.refresh_every},
          {"full_passes", report.skip.full_passes},
          {"canvases", std::move(paces)}};
}

PassFigures ReadPass(JsonFields fields) {
  PassFigures pass;
  pass.name = fields.Text("name", "");
  pass.tokens = fields.Int("tokens", kCount, {});
  pass.rows = fields.Int("canvas_rows", kRows, 0);
  pass.least_ms = fields.Real("least_ms", kPositive, {});
  pass.median_ms = fields.Real("median_ms", kPositive, {});
  pass.repeats = fields.Int("repeats", kCount, {});
  pass.cost.weight_bytes = fields.Real("weight_bytes", kAmount, {});
  pass.cost.expert_bytes = fields.Real("expert_bytes", kAmount, {});
  pass.cost.vocabulary_bytes = fields.Real("vocabulary_bytes", kAmount, {});
  pass.cost.cache_bytes = fields.Real("cache_bytes", kAmount, {});
  pass.cost.operations.integers = fields.Real("int8_operations", kAmount, {});
  pass.cost.operations.floats = fields.Real("float32_operations", kAmount, {});
  pass.cost.operations.bf16 = fields.Real("bfloat16_operations", kAmount, {});
  pass.cost.soft.floats = fields.Real("dense_soft_embedding_operations", kAmount, {});
  return pass;
}

Result<BenchReport> ParseReport(const std::string& text) {
  DG_TRY(const boost::json::value value, ParseJson(text));
  if (!value.is_object()) return Fail(StatusCode::kInvalidFile, "must be an object that `dgemma bench --json` wrote");
  std::optional<Status> failure;
  JsonFields fields(&value.as_object(), "", failure);
  BenchReport report;
  report.model = fields.Text("model", "");
  report.dtype = fields.Text("dtype", "");
  report.backend = fields.Text("backend", "");
  report.parameters = fields.Int("parameters", kCount, {});
  report.canvas_tokens = fields.Int("canvas_tokens", kRows, {});
  report.prompt_tokens = fields.Int("prompt_tokens", kCount, {});
  report.load_ms = fields.Real("load_ms", kAmount, {});
  report.plan_bytes = fields.Int("plan_bytes", kCount, {});
  report.peak_bytes = fields.Int("peak_rss_bytes", kCount, 0);
  JsonFields machine = fields.Section("machine");
  report.machine = {machine.Text("target", ""),
                    static_cast<int>(machine.Int("threads", {1, 1024}, {})),
                    machine.Real("read_bytes_per_second", kPositive, {}),
                    machine.Real("int8_operations_per_second", kPositive, {}),
                    machine.Real("float32_operations_per_second", kPositive, {}),
                    machine.Real("bfloat16_operations_per_second", kPositive, {})};
  JsonFields skip = fields.Section("skipping");
  if (fields.Has("skipping")) {
    report.skip = {static_cast<int32_t>(skip.Int("settled_steps", kSteps, {})),
                   static_cast<int32_t>(skip.Int("refresh_every", kSteps, {})),
                   static_cast<int32_t>(skip.Int("full_passes", kSteps, {}))};
  }
  const boost::json::value* passes = value.as_object().if_contains("passes");
  if (passes == nullptr || !passes->is_array()) fields.Refuse("passes", "must be a list");
  if (failure) return std::unexpected(*failure);
  for (const boost::json::value& pass : passes->as_array())
    report.passes.push_back(ReadPass({pass.is_object() ? &pass.as_object() : nullptr, "passes", failure}));
  if (failure) return std::unexpected(*failure);
  return report;
}

}  // namespace

boost::json::object MachineJson(const MachineRates& machine) {
  return {{"target", machine.target},
          {"threads", machine.threads},
          {"read_bytes_per_second", machine.bytes},
          {"int8_operations_per_second", machine.integers},
          {"float32_operations_per_second", machine.floats},
          {"bfloat16_operations_per_second", machine.bf16}};
}

std::string ReportJson(const BenchReport& report) {
  boost::json::array passes, paces;
  for (const PassFigures& pass : report.passes) passes.push_back(PassJson(pass, report.machine));
  for (const Pace& pace : PacesOf(report)) {
    paces.push_back(boost::json::object{
        {"steps", pace.steps}, {"tokens_per_second", pace.apart}, {"merged_tokens_per_second", pace.merged}});
  }
  boost::json::object object{{"model", report.model},
                             {"backend", report.backend},
                             {"dtype", report.dtype},
                             {"parameters", report.parameters},
                             {"canvas_tokens", report.canvas_tokens},
                             {"prompt_tokens", report.prompt_tokens},
                             {"machine", MachineJson(report.machine)},
                             {"load_ms", report.load_ms},
                             {"passes", std::move(passes)},
                             {"canvases", std::move(paces)},
                             {"plan_bytes", report.plan_bytes}};
  if (report.skip.settled_steps > 0) object["skipping"] = SkipJson(report);
  if (report.peak_bytes > 0) object["peak_rss_bytes"] = report.peak_bytes;
  return JsonText(object) + "\n";
}

Result<BenchReport> ReadReport(const std::string& path) {
  DG_TRY(const std::string text, ReadWholeFile(path, kMostBytes));
  return At(path, ParseReport(text));
}

std::string ComparisonJson(const BenchReport& first, const BenchReport& second) {
  boost::json::array passes;
  for (const Compared& row : Compare(first, second)) {
    passes.push_back(boost::json::object{{"name", row.name},
                                         {"first_ms", row.first_ms},
                                         {"second_ms", row.second_ms},
                                         {"ratio", row.ratio()},
                                         {"tie", row.tie()}});
  }
  const boost::json::object object{{"first", first.model}, {"second", second.model}, {"passes", std::move(passes)}};
  return JsonText(object) + "\n";
}

}  // namespace dgemma
