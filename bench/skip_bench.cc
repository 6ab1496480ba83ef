// What leaving out settled rows costs and saves on the tasks of the embedded model: right answers, answers equal to
// exact ones, passes, computed rows and processor time of one thread, for settings as --skip takes them. Prints the
// table of docs/SPEED.md.
//   skip_bench models/starter tests/data/starter/accuracy.json 2,8 2,8,2 3,8
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "dgemma/dgemma.h"

namespace dgemma {
namespace {

constexpr int64_t kManyPasses = 6;  // of an exact answer that is not settled at once
constexpr int kRounds = 5;          // the best counts

struct Task {
  std::string prompt;
  std::string expected;
};

struct Outcome {
  std::string text;
  bool right = false;
  Figures figures;
  double seconds = 0;
};

/// Time the process really ran: other work on the machine disturbs it little.
double CpuSeconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

std::vector<Task> ReadTasks(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  std::vector<Task> tasks;
  for (const boost::json::value& item : boost::json::parse(text.str()).at("answers").as_array()) {
    tasks.push_back({std::string(item.at("prompt").as_string()), std::string(item.at("expected").as_string())});
  }
  return tasks;
}

std::vector<Outcome> Answer(Engine& engine, const std::vector<Task>& tasks, SkipOptions skip) {
  const auto session = *engine.NewSession();
  std::vector<Outcome> outcomes;
  uint64_t seed = 0;
  for (const Task& task : tasks) {
    Request request;
    request.chat = {{"user", task.prompt, ""}};
    request.options = engine.Defaults();
    request.options.seed = seed++;
    request.options.skip = skip;
    const double begin = CpuSeconds();
    const auto answer = session->Generate(request);
    if (!answer) {
      fmt::print(stderr, "{}\n", answer.error().message);
      std::exit(1);
    }
    outcomes.push_back({answer->text, answer->text == task.expected, answer->figures, CpuSeconds() - begin});
  }
  return outcomes;
}

struct Sums {
  int64_t answers = 0, right = 0, equal = 0, passes = 0, rows = 0, full_rows = 0;
  double seconds = 0;
};

/// Over the answers whose exact form took at least `passes` passes.
Sums SumUp(const std::vector<Outcome>& outcomes, const std::vector<Outcome>& exact, int64_t passes) {
  Sums sums;
  for (size_t i = 0; i < outcomes.size(); ++i) {
    if (exact[i].figures.denoise_passes < passes) continue;
    ++sums.answers;
    sums.right += outcomes[i].right;
    sums.equal += outcomes[i].text == exact[i].text;
    sums.passes += outcomes[i].figures.denoise_passes;
    sums.rows += outcomes[i].figures.denoise_rows;
    sums.full_rows += exact[i].figures.full_rows;
    sums.seconds += outcomes[i].seconds;
  }
  return sums;
}

std::string Cells(const Sums& sums, const Sums& exact) {
  const auto each = [&](int64_t count) { return static_cast<double>(count) / static_cast<double>(sums.answers); };
  return fmt::format(" {} | {} | {:.2f} | {:.0f} % | {:.2f} |", sums.right, sums.equal, each(sums.passes),
                     100 * static_cast<double>(sums.rows) / static_cast<double>(sums.full_rows),
                     exact.seconds / sums.seconds);
}

/// Outcomes of every setting; settings take turns in each round, and the best time of an answer counts.
std::vector<std::vector<Outcome>> BestOf(Engine& engine, const std::vector<Task>& tasks,
                                         const std::vector<SkipOptions>& settings) {
  std::vector<std::vector<Outcome>> best(settings.size());
  for (int round = 0; round < kRounds; ++round) {
    for (size_t setting = 0; setting < settings.size(); ++setting) {
      const std::vector<Outcome> outcomes = Answer(engine, tasks, settings[setting]);
      if (best[setting].empty()) best[setting] = outcomes;
      for (size_t i = 0; i < outcomes.size(); ++i)
        best[setting][i].seconds = std::min(best[setting][i].seconds, outcomes[i].seconds);
    }
  }
  return best;
}

int Run(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "usage: skip_bench MODEL ACCURACY.json [S,R,F ...]\n");
    return 2;
  }
  EngineOptions options;
  options.threads = 1;
  const auto engine = Engine::Load(argv[1], options);
  if (!engine) {
    fmt::print(stderr, "{}\n", engine.error().message);
    return 1;
  }
  const std::vector<Task> tasks = ReadTasks(argv[2]);
  std::vector<SkipOptions> settings(1);
  for (int i = 3; i < argc; ++i) {
    SkipOptions skip;
    if (std::sscanf(argv[i], "%d,%d,%d", &skip.settled_steps, &skip.refresh_every, &skip.full_passes) < 1) return 2;
    settings.push_back(skip);
  }
  const auto outcomes = BestOf(**engine, tasks, settings);
  const std::vector<Outcome>& exact = outcomes[0];
  const Sums all = SumUp(exact, exact, 0), many = SumUp(exact, exact, kManyPasses);
  fmt::print("{} answers, {} of them with {} passes or more; for both: right, as exact, passes, rows, times faster\n",
             all.answers, many.answers, kManyPasses);
  for (size_t i = 0; i < settings.size(); ++i) {
    const SkipOptions& skip = settings[i];
    const std::string name =
        i == 0 ? "exact" : fmt::format("{},{},{}", skip.settled_steps, skip.refresh_every, skip.full_passes);
    fmt::print("| {} |{}{}\n", name, Cells(SumUp(outcomes[i], exact, 0), all),
               Cells(SumUp(outcomes[i], exact, kManyPasses), many));
  }
  return 0;
}

}  // namespace
}  // namespace dgemma

int main(int argc, char** argv) { return dgemma::Run(argc, argv); }
