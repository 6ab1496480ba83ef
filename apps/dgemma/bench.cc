// `dgemma bench`: what this machine does with a model: loading, reading a prompt, a denoising step, a commit, an
// autoregressive step. Uses the public interface only, so what it times is what an answer costs.
#include <fmt/format.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "base/try.h"
#include "model_source.h"
#include "numbers.h"
#include "progress_line.h"
#include "verbs.h"

namespace dgemma {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kTimedSteps = 16;
constexpr int64_t kTimedTokens = 16;

double MillisecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

struct Prefill {
  int64_t tokens = 0;
  double ms = 0;
};

struct Timings {
  double load_ms = 0;
  std::vector<Prefill> prefill;
  double ms_per_step = 0;
  double commit_ms = 0;
  double ar_ms_per_token = 0;
};

// When drafts arrive: the time between two of one canvas is a step, between canvases a step and a commit.
class DraftTimes final : public Listener {
 public:
  void OnDraft(const Draft& draft) override {
    const Clock::time_point now = Clock::now();
    if (last_canvas_ >= 0) {
      const double ms = std::chrono::duration<double, std::milli>(now - last_).count();
      (draft.canvas == last_canvas_ ? steps_ : between_).push_back(ms);
    }
    last_ = now;
    last_canvas_ = draft.canvas;
  }
  std::vector<double> steps_;
  std::vector<double> between_;

 private:
  Clock::time_point last_{};
  int32_t last_canvas_ = -1;
};

// A prompt of exactly that many tokens, made of ordinary words.
std::vector<int32_t> PromptOf(const Engine& engine, int64_t tokens) {
  std::vector<int32_t> ids;
  while (std::ssize(ids) < tokens) {
    const std::vector<int32_t> more = engine.Tokenize("count 3 to 9 and sort what is left over, then spell it; ");
    if (more.empty()) return {};
    ids.insert(ids.end(), more.begin(), more.end());
  }
  ids.resize(static_cast<size_t>(tokens));
  return ids;
}

class Bench {
 public:
  Bench(Engine& engine, Session& session, std::stop_token stop, int repetitions)
      : engine_(engine), session_(session), stop_(std::move(stop)), repetitions_(repetitions) {}

  Result<void> Run(Timings& timings) {
    for (const int64_t tokens : {128, 512, 2048}) {
      if (tokens + engine_.facts().canvas_tokens > engine_.facts().context_tokens) continue;
      DG_TRY(const double ms, TimePrefill(tokens));
      timings.prefill.push_back({.tokens = tokens, .ms = ms});
    }
    DG_CHECK_OK(TimeCanvases(timings));
    return TimeTokens(timings);
  }

 private:
  // Every step is taken: no early stop, no stop token.
  Request Forced(int64_t prompt_tokens) const {
    Request request;
    request.prompt_tokens = PromptOf(engine_, prompt_tokens);
    request.options = engine_.Defaults();
    request.options.stop_tokens.clear();
    request.options.confidence = 0;
    request.options.stability = 0;
    request.stop = stop_;
    return request;
  }

  Result<Answer> Ask(const Request& request, Listener* listener = nullptr) {
    session_.Reset();
    DG_TRY(Answer answer, session_.Generate(request, listener));
    if (answer.finish == FinishReason::kCancelled) return Fail(StatusCode::kCancelled, "interrupted");
    return answer;
  }

  Result<double> TimePrefill(int64_t tokens) {
    Request request = Forced(tokens);
    request.options.steps = 1;
    request.options.max_new_tokens = 1;
    std::vector<double> ms;
    for (int repetition = 0; repetition < repetitions_; ++repetition) {
      DG_TRY(const Answer answer, Ask(request));
      ms.push_back(answer.figures.prefill_seconds * 1e3);
    }
    return Median(std::move(ms));
  }

  // Two canvases after a short prompt, where the context has room for them.
  Result<void> TimeCanvases(Timings& timings) {
    const int64_t canvas = engine_.facts().canvas_tokens;
    Request request = Forced(16);
    request.options.steps = kTimedSteps;
    request.options.max_new_tokens = std::min(2 * canvas, engine_.facts().context_tokens - 16);
    DraftTimes times;
    for (int repetition = 0; repetition < repetitions_; ++repetition) {
      DG_CHECK_OK(Ask(request, &times));
    }
    timings.ms_per_step = Median(times.steps_);
    timings.commit_ms = std::max(0.0, Median(times.between_) - timings.ms_per_step);
    return {};
  }

  Result<void> TimeTokens(Timings& timings) {
    Request request = Forced(16);
    request.options.mode = DecodeMode::kAutoregressive;
    request.options.max_new_tokens = kTimedTokens;
    std::vector<double> ms;
    for (int repetition = 0; repetition < repetitions_; ++repetition) {
      DG_TRY(const Answer answer, Ask(request));
      const double seconds = answer.figures.total_seconds - answer.figures.prefill_seconds;
      ms.push_back(seconds * 1e3 / static_cast<double>(std::max<int64_t>(answer.figures.answer_tokens, 1)));
    }
    timings.ar_ms_per_token = Median(std::move(ms));
    return {};
  }

  Engine& engine_;
  Session& session_;
  std::stop_token stop_;
  int repetitions_;
};

int64_t PeakBytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

void PrintJson(Program& program, const Engine& engine, const Timings& timings) {
  boost::json::array prefill;
  for (const Prefill& entry : timings.prefill)
    prefill.push_back(boost::json::object{{"tokens", entry.tokens}, {"ms", entry.ms}});
  const boost::json::object object{{"model", engine.facts().name},
                                   {"backend", engine.facts().backend},
                                   {"dtype", engine.facts().dtype},
                                   {"load_ms", timings.load_ms},
                                   {"prefill", std::move(prefill)},
                                   {"ms_per_step", timings.ms_per_step},
                                   {"canvas_tokens", engine.facts().canvas_tokens},
                                   {"commit_ms", timings.commit_ms},
                                   {"ar_ms_per_token", timings.ar_ms_per_token},
                                   {"peak_rss_bytes", PeakBytes()},
                                   {"plan_bytes", engine.plan().Total()}};
  program.out.Write(boost::json::serialize(object) + "\n");
}

void PrintTable(Program& program, const Engine& engine, const Timings& timings) {
  const ModelFacts& facts = engine.facts();
  std::string table = fmt::format("{}: {:.1f} M parameters, {}, {}\n\n", facts.name,
                                  static_cast<double>(facts.parameters) / 1e6, facts.dtype, facts.backend);
  const auto row = [&](const std::string& what, double ms, const std::string& rate) {
    table += fmt::format("  {:<28} {:>10.2f} ms   {}\n", what, ms, rate);
  };
  const auto per_second = [](int64_t tokens, double ms) {
    return ms > 0 ? fmt::format("{:.0f} tok/s", static_cast<double>(tokens) * 1e3 / ms) : std::string();
  };
  row("load", timings.load_ms, "");
  for (const Prefill& entry : timings.prefill) {
    row(fmt::format("prompt of {} tokens", entry.tokens), entry.ms, per_second(entry.tokens, entry.ms));
  }
  row(fmt::format("denoising step of {}", facts.canvas_tokens), timings.ms_per_step, "");
  row("commit of a canvas", timings.commit_ms, "");
  row("autoregressive step", timings.ar_ms_per_token, per_second(1, timings.ar_ms_per_token));
  table +=
      fmt::format("\n  memory {} at its peak, {} planned\n", BytesText(PeakBytes()), BytesText(engine.plan().Total()));
  program.out.Write(table);
}

struct BenchArguments {
  ModelSource source;
  int repetitions = 3;
  bool json = false;
};

Result<void> RunBench(Program& program, BenchArguments& arguments) {
  // A commit of its own can be timed; merged into the next step it cannot.
  arguments.source.options.commit = CommitMode::kSeparate;
  Timings timings;
  const Clock::time_point begin = Clock::now();
  DG_TRY(const std::unique_ptr<Engine> engine, LoadModel(program, arguments.source));
  timings.load_ms = MillisecondsSince(begin);
  DG_TRY(const std::unique_ptr<Session> session, engine->NewSession());
  std::stop_source stop;
  {
    const Signals::Scope scope(program.signals, Stopping(stop));
    DG_CHECK_OK(Bench(*engine, *session, stop.get_token(), arguments.repetitions).Run(timings));
  }
  arguments.json ? PrintJson(program, *engine, timings) : PrintTable(program, *engine, timings);
  if (program.out.failed()) program.exit_code = kExitFailure;
  return {};
}

}  // namespace

void AddBench(CLI::App& app, Program& program) {
  CLI::App* verb = app.add_subcommand(
      "bench", "Times loading, prompts, denoising steps, commits and autoregressive steps of a model.");
  verb->footer(
      "Examples:\n  dgemma bench\n  dgemma bench DIR -t 8 --json\nMedians of -r repetitions; steps are forced (no "
      "early stop).");
  auto arguments = std::make_shared<BenchArguments>();
  verb->add_option("model", arguments->source.model, "the model's folder; without it the embedded model")
      ->check(NotEmpty)
      ->type_name("MODEL");
  verb->add_option_function<std::string>(
          "-r,--repetitions",
          [arguments](const std::string& text) {
            const auto value = ParseNumber<int>(text, 1, 1000);
            if (!value) throw CLI::ValidationError("--repetitions", value.error().message);
            arguments->repetitions = *value;
          },
          "how often each is timed (default 3)")
      ->type_name("N");
  verb->add_flag("--json", arguments->json, "one JSON object");
  AddLoadFlags(*verb, arguments->source, ModelFlag::kNo);
  AddCommonFlags(*verb, program);
  verb->callback([arguments, &program] {
    const auto done = RunBench(program, *arguments);
    if (!done) program.Fail("bench", done.error());
  });
}

}  // namespace dgemma
