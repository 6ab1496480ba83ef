// The figures of one `dgemma bench`: as JSON and back, as a table for people, and two of them compared.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "dgemma/dgemma.h"
#include "engine/pass_cost.h"

namespace dgemma {

struct PassFigures {
  std::string name;    ///< Name(PassToTime)
  int64_t tokens = 0;  ///< that the pass reads or writes for good; 0 for a canvas
  int64_t rows = 0;    ///< computed of a canvas some of whose rows may be left out; 0 for other passes
  double least_ms = 0;
  double median_ms = 0;
  int64_t repeats = 0;
  PassCost cost;
};

struct BenchReport {
  std::string model, dtype, backend;
  int64_t parameters = 0;
  int64_t canvas_tokens = 0;
  int64_t prompt_tokens = 0;  ///< cached before every pass that is no prompt
  MachineRates machine;
  double load_ms = 0;
  int64_t plan_bytes = 0;
  int64_t peak_bytes = 0;  ///< largest resident size of the process; 0 where two models shared it
  std::vector<PassFigures> passes;
  SkipOptions skip;  ///< off: nothing about skipping was measured

  const PassFigures* Find(std::string_view name) const;
};

/// A canvas in so many steps: the passes it takes and the tokens a second if all of them are wanted, with the commit
/// in a pass of its
/// own and merged with the next canvas's first step. All from least times.
struct Pace {
  int32_t steps = 0;
  double apart = 0;
  double merged = 0;
};

/// For 12, 16, 24 and 48 steps: C / (N step + commit), and C / ((N - 1) step + merged pass). Empty without these
/// passes.
std::vector<Pace> PacesOf(const BenchReport& report);

/// A canvas in so many steps with `skip`, if `left_out` of its C rows were settled from the first step on and the
/// others never. That is an assumption: how many settle depends on model and text. Which passes compute all rows is
/// what SettledRows does, with the last F full.
struct SkipPace {
  double left_out = 0;  ///< of the rows
  int32_t steps = 0;
  int32_t full_passes = 0;
  double computed = 0;           ///< rows of all passes, of steps * C
  double pass_ms = 0;            ///< of a pass that leaves rows out
  double tokens_per_second = 0;  ///< with the commit in a pass of its own, as Pace::apart
  double exact = 0;              ///< Pace::apart of as many steps
};

/// For every measured share and the steps of PacesOf. Empty without these passes.
std::vector<SkipPace> SkipPacesOf(const BenchReport& report);

enum class TableForm { kAligned, kMarkdown };

/// "this machine: reads 20.1 GB/s, 840 GOP/s int8, 410 GFLOP/s bfloat16, ..."
std::string MachineText(const MachineRates& machine);
std::string ReportTable(const BenchReport& report, TableForm form);
boost::json::object MachineJson(const MachineRates& machine);
std::string ReportJson(const BenchReport& report);
/// Reads what ReportJson wrote. Errors name the field.
Result<BenchReport> ReadReport(const std::string& path);

/// A pass that two reports have, by least times; a ratio above 1 means that the second needs less. Within 15 % it is a
/// tie.
struct Compared {
  std::string name;
  double first_ms = 0, second_ms = 0;

  double ratio() const { return first_ms / second_ms; }
  bool tie() const;
};

std::vector<Compared> Compare(const BenchReport& first, const BenchReport& second);
std::string ComparisonTable(const BenchReport& first, const BenchReport& second, TableForm form);
std::string ComparisonJson(const BenchReport& first, const BenchReport& second);

}  // namespace dgemma
