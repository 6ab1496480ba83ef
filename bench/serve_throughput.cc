// Throughput and waiting times of several answers at once, in one process: for 1, 4 and 8 requests at a time, with
// whole canvases, short answers on few steps, and autoregressive ones. Prints a table, or JSON with --json. Figures
// compare only on an otherwise idle machine.
//   serve_throughput MODEL [--json] [--threads N] [--rounds N] [--prompt-tokens N]
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <string>
#include <vector>

#include "engine/scheduler.h"

namespace dgemma {
namespace {

using Clock = std::chrono::steady_clock;

double Seconds(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

struct Arguments {
  std::string model;
  bool json = false;
  int threads = 0;
  int rounds = 3;  // requests of each place, one after the other
  int64_t prompt_tokens = 64;
};

/// A kind of request: how its passes look.
struct Workload {
  const char* name;
  DecodeMode mode;
  int64_t max_new_tokens;
  int32_t steps;
};

/// Times of all requests of a run.
struct Times {
  std::vector<double> first;    ///< from Submit to the text of the first canvas, or to the first token
  std::vector<double> between;  ///< texts of canvases, or tokens (the mean of an answer)
  int64_t tokens = 0;
};

double Percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(share * static_cast<double>(values.size() - 1) + 0.5)];
}

/// Counts ends, so that the main thread can wait for all of them.
class Latch {
 public:
  void Add() {
    const std::lock_guard lock(mutex_);
    ++open_;
  }
  void CountDown() {
    const std::lock_guard lock(mutex_);
    if (--open_ == 0) zero_.notify_all();
  }
  void Wait() {
    std::unique_lock lock(mutex_);
    zero_.wait(lock, [&] { return open_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable zero_;
  int open_ = 0;
};

/// One place of a run: submits its next request when the last has ended, from the engine thread. All calls come from
/// that thread.
class Place final : public RequestListener {
 public:
  Place(Scheduler& scheduler, Times& times, Latch& latch, Request request, int rounds)
      : scheduler_(scheduler), times_(times), latch_(latch), request_(std::move(request)), rounds_(rounds) {}

  void Submit(std::shared_ptr<Place> self) {
    request_.prompt_tokens[0] += 8;  // nothing of the prompt is in a cache
    RequestSpec spec;
    spec.request = request_;
    spec.salt = "bench";
    spec.listener = std::move(self);
    self_ = spec.listener;
    ++request_.options.seed;
    asked_ = Clock::now();
    marked_ = false;
    const auto id = scheduler_.Submit(std::move(spec));
    if (!id) {
      fmt::print(stderr, "{}\n", id.error().status.message);
      std::exit(1);
    }
  }

  /// The last draft of a canvas is its text.
  void OnDraft(const Draft& draft) override {
    if (draft.step == draft.steps) Mark();
  }
  /// One pass after this, an autoregressive answer has its first token.
  void OnPrefill(int64_t done, int64_t total) override {
    if (request_.options.mode == DecodeMode::kAutoregressive && done == total) Mark();
  }
  void OnEnd(Result<Answer> answer) override {
    if (!answer) {
      fmt::print(stderr, "{}\n", answer.error().message);
      std::exit(1);
    }
    times_.tokens += answer->figures.answer_tokens;
    if (request_.options.mode == DecodeMode::kAutoregressive) {
      times_.between.push_back(Seconds(last_, Clock::now()) / static_cast<double>(answer->figures.answer_tokens));
    }
    if (--rounds_ > 0) return Submit(std::static_pointer_cast<Place>(self_.lock()));
    latch_.CountDown();
  }

 private:
  void Mark() {
    const Clock::time_point now = Clock::now();
    if (!marked_)
      times_.first.push_back(Seconds(asked_, now));
    else
      times_.between.push_back(Seconds(last_, now));
    marked_ = true;
    last_ = now;
  }

  Scheduler& scheduler_;
  Times& times_;
  Latch& latch_;
  Request request_;
  int rounds_;
  std::weak_ptr<RequestListener> self_;
  Clock::time_point asked_, last_;
  bool marked_ = false;
};

struct Row {
  std::string workload;
  int64_t at_once = 0;
  double tokens_per_second = 0;
  double rows_per_pass = 0;
  double pass_ms = 0;
  Times times;
};

Request RequestOf(const Engine& engine, const Workload& workload, int64_t prompt_tokens, int32_t place) {
  Request request;
  const auto ordinary = static_cast<int32_t>(engine.facts().vocabulary / 2);
  request.prompt_tokens.assign(static_cast<size_t>(prompt_tokens), ordinary);
  request.prompt_tokens[0] = ordinary + place;
  request.options = engine.Defaults();
  request.options.mode = workload.mode;
  request.options.max_new_tokens = workload.max_new_tokens;
  request.options.steps = workload.steps;
  request.options.stop_tokens.clear();  // exact lengths
  request.options.confidence = 0;       // exact numbers of steps
  request.options.seed = 1000 * static_cast<uint64_t>(place);
  return request;
}

Row Measure(Engine& engine, const Workload& workload, int64_t at_once, const Arguments& arguments) {
  const auto scheduler = Scheduler::Create(engine, {});
  if (!scheduler) {
    fmt::print(stderr, "{}\n", scheduler.error().message);
    std::exit(1);
  }
  Row row{.workload = workload.name, .at_once = at_once, .times = {}};
  Latch latch;
  std::vector<std::shared_ptr<Place>> places;
  for (int64_t i = 0; i < at_once; ++i) {
    latch.Add();
    places.push_back(std::make_shared<Place>(
        **scheduler, row.times, latch, RequestOf(engine, workload, arguments.prompt_tokens, static_cast<int32_t>(i)),
        arguments.rounds));
    places.back()->Submit(places.back());
  }
  const Clock::time_point begin = Clock::now();
  (*scheduler)->Start();
  latch.Wait();
  const double seconds = Seconds(begin, Clock::now());
  (*scheduler)->Stop();
  const SchedulerStats stats = (*scheduler)->stats();
  row.tokens_per_second = static_cast<double>(row.times.tokens) / seconds;
  row.rows_per_pass = static_cast<double>(stats.rows) / static_cast<double>(stats.passes);
  row.pass_ms = 1000 * stats.pass_seconds_total / static_cast<double>(stats.passes);
  return row;
}

void Print(const std::vector<Row>& rows, const Engine& engine, bool json) {
  if (!json) {
    fmt::print("{}, {}\n", engine.facts().name, engine.facts().backend);
    fmt::print(
        "| workload | at once | tokens/s | ms/pass | rows/pass | first text p50, p95 ms | between p50, p95 ms |\n");
    fmt::print("|---|---|---|---|---|---|---|\n");
  }
  std::string separator = json ? "[" : "";
  for (const Row& row : rows) {
    const auto ms = [](const std::vector<double>& values, double share) { return 1000 * Percentile(values, share); };
    const std::vector<double>&first = row.times.first, &between = row.times.between;
    if (json) {
      fmt::print(
          R"({}{{"workload":"{}","at_once":{},"tokens_per_second":{:.1f},"pass_ms":{:.3f},"rows_per_pass":{:.1f},)"
          R"("first_text_ms":{{"p50":{:.3f},"p95":{:.3f}}},"between_ms":{{"p50":{:.3f},"p95":{:.3f}}}}})",
          separator, row.workload, row.at_once, row.tokens_per_second, row.pass_ms, row.rows_per_pass, ms(first, 0.5),
          ms(first, 0.95), ms(between, 0.5), ms(between, 0.95));
      separator = ",\n";
    } else {
      fmt::print("| {} | {} | {:.1f} | {:.2f} | {:.1f} | {:.1f}, {:.1f} | {:.1f}, {:.1f} |\n", row.workload,
                 row.at_once, row.tokens_per_second, row.pass_ms, row.rows_per_pass, ms(first, 0.5), ms(first, 0.95),
                 ms(between, 0.5), ms(between, 0.95));
    }
  }
  if (json) fmt::print("]\n");
}

int Run(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const auto number = [&] { return ++i < argc ? std::atoi(argv[i]) : 0; };
    if (argument == "--json")
      arguments.json = true;
    else if (argument == "--threads")
      arguments.threads = number();
    else if (argument == "--rounds")
      arguments.rounds = number();
    else if (argument == "--prompt-tokens")
      arguments.prompt_tokens = number();
    else
      arguments.model = argument;
  }
  if (arguments.model.empty() || arguments.rounds < 1 || arguments.prompt_tokens < 1) {
    fmt::print(stderr, "usage: serve_throughput MODEL [--json] [--threads N] [--rounds N] [--prompt-tokens N]\n");
    return 2;
  }
  std::vector<Row> rows;
  std::unique_ptr<Engine> last;
  for (const int64_t at_once : {1, 4, 8}) {
    EngineOptions options;
    options.threads = arguments.threads;
    options.sessions = at_once;
    options.context_tokens = 1024;
    auto engine = Engine::Load(arguments.model, options);
    if (!engine) {
      fmt::print(stderr, "{}\n", engine.error().message);
      return 1;
    }
    last = std::move(*engine);
    const int64_t canvas = last->facts().canvas_tokens;
    for (const Workload& workload : {Workload{"canvases, 16 steps", DecodeMode::kDiffusion, 3 * canvas, 16},
                                     Workload{"canvases, 4 steps", DecodeMode::kDiffusion, 3 * canvas, 4},
                                     Workload{"autoregressive", DecodeMode::kAutoregressive, canvas, 1}})
      rows.push_back(Measure(*last, workload, at_once, arguments));
  }
  Print(rows, *last, arguments.json);
  return 0;
}

}  // namespace
}  // namespace dgemma

int main(int argc, char** argv) { return dgemma::Run(argc, argv); }
