// Deterministic simulation of the Scheduler: one thread, virtual time, scripted passes, a seed for everything that
// happens. Requests come, are cancelled, cancel each other inside passes and callbacks, run late; passes are slow,
// fail, throw or hold NaN for one answer. After every event the invariants hold. DGEMMA_SIMULATIONS=N runs seeds 0..N-1
// instead of 10,000, DGEMMA_SIMULATION_SEED=S one seed.
#include <fmt/format.h>

#include <cstdlib>
#include <fstream>
#include <random>
#include <set>
#include <sstream>

#include "scripted_passes.h"

namespace dgemma::test {
namespace {

using std::chrono::milliseconds;

const Tokenizer& StarterTokenizer() {
  static const Tokenizer tokenizer = [] {
    std::ifstream file(DGEMMA_SOURCE_DIR "/models/starter/tokenizer.json", std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    return *Tokenizer::FromJson(text.str());
  }();
  return tokenizer;
}

class Simulation;

/// One request and what became of it.
class Client final : public RequestListener {
 public:
  Client(Simulation& simulation, std::vector<int32_t> prompt, GenerateOptions options)
      : simulation_(simulation), prompt_(std::move(prompt)), options_(std::move(options)) {}

  void OnStart(int64_t prompt_tokens, int64_t cached_tokens) override;
  void OnPrefill(int64_t, int64_t) override { TookPart(); }
  void OnDraft(const Draft&) override;
  void OnText(std::string_view text) override { text_ += text; }
  void OnEnd(Result<Answer> answer) override;

  void PassWent() { ++passes_without_; }
  bool started() const { return started_; }
  bool ended() const { return ended_; }
  int64_t passes_without() const { return options_.mode == DecodeMode::kDiffusion ? passes_without_ : 0; }
  const std::vector<int32_t>& prompt() const { return prompt_; }
  const GenerateOptions& options() const { return options_; }

  RequestId id = 0;
  std::string salt;
  bool cancelled = false;
  SteadyTime deadline, queue_deadline;
  std::stop_source stop;
  std::vector<int32_t> tokens;  // of the answer

 private:
  void TookPart();

  Simulation& simulation_;
  std::vector<int32_t> prompt_;
  GenerateOptions options_;
  std::string text_;
  bool started_ = false, ended_ = false;
  int64_t passes_without_ = 0;
};

/// What many simulations reached.
struct Totals {
  int64_t answered = 0, cancelled = 0, timed_out = 0, expired = 0, failed = 0, refused = 0, reused = 0, cleared = 0;

  void Add(const SchedulerStats& stats) {
    answered += stats.answered;
    cancelled += stats.cancelled;
    timed_out += stats.timed_out;
    expired += stats.expired_in_queue;
    failed += stats.failed;
    refused += stats.refused;
    reused += stats.cached_tokens;
    cleared += stats.cleared_slots;
  }
};

class Simulation {
 public:
  Totals totals;

  explicit Simulation(uint64_t seed) : random_(seed), slots_(Draw(1, 4)), engine_(StarterTokenizer(), slots_) {
    options_.queued_requests = Draw(1, 6);
    options_.queued_per_salt = Draw(0, 1) ? Draw(1, options_.queued_requests) : 0;
    options_.timeout = milliseconds(Draw(500, 60'000));
    options_.queue_timeout = milliseconds(Draw(100, 20'000));
    fault_rate_ = Draw(0, 2) == 0 ? 20 : 0;
    engine_.passes.on_pass = [this](std::span<PassJob* const> jobs) { return OnPass(jobs); };
    engine_.passes.poison = [this](const PassJob& job) { return Poison(job); };
    engine_.parts.rewind_tokens = Draw(0, 1) ? Draw(0, 100) : 0;
    scheduler_ = *Scheduler::Create(engine_.parts, options_);
  }

  /// A short text of all that happened, for comparing runs.
  std::string Run() {
    const int64_t events = Draw(20, 60);
    for (int64_t event = 0; event < events && !testing::Test::HasFailure(); ++event) {
      Event();
      CheckInvariants();
    }
    if (Draw(0, 1)) {
      for (int round = 0; scheduler_->Step() && !testing::Test::HasFailure(); ++round) {
        CheckInvariants();
        EXPECT_LT(round, 100'000) << "never idle";
      }
    }
    scheduler_->Stop();
    CheckInvariants();
    for (const auto& client : clients_) EXPECT_TRUE(client->ended()) << "request " << client->id;
    const SchedulerStats stats = scheduler_->stats();
    EXPECT_EQ(stats.active + stats.queued + stats.queued_rows, 0);
    EXPECT_EQ(stats.submitted,
              stats.answered + stats.cancelled + stats.timed_out + stats.expired_in_queue + stats.failed);
    EXPECT_EQ(stats.failed, injected_);  // each fault failed whom it met, and nobody else
    totals.Add(stats);
    return log_;
  }

  // ---- called by clients --------------------------------------------------------------------------------------------

  SteadyTime now() const { return engine_.time; }
  void Log(std::string_view what, RequestId id) { log_ += fmt::format("{}{} ", what, id); }
  /// Sometimes a listener cancels somebody.
  void MaybeCancel() {
    if (Draw(0, 40) == 0) CancelSomebody();
  }
  void CheckFailure(const Status& status, const Client& client) {
    if (status.message.starts_with("queue:")) {
      EXPECT_FALSE(client.started());
      EXPECT_GE(now(), client.queue_deadline);
    } else {
      EXPECT_TRUE(client.started()) << status.message;
    }
  }
  void CountPass() {
    for (const auto& client : clients_) {
      if (client->started() && !client->ended()) client->PassWent();
    }
  }
  /// The longest prefix of a prompt that an earlier request with this salt has read or written.
  int64_t MostReusable(const Client& asking) const {
    int64_t most = 0;
    for (const auto& client : clients_) {
      if (client.get() == &asking || !client->started() || client->salt != asking.salt) continue;
      std::vector<int32_t> text = client->prompt();
      const Expected expected = ExpectedAnswer(text, client->options());
      text.insert(text.end(), expected.tokens.begin(), expected.tokens.end());
      const auto common = std::mismatch(text.begin(), text.end(), asking.prompt().begin(), asking.prompt().end());
      most = std::max<int64_t>(most, common.first - text.begin());
    }
    return most;
  }

 private:
  int64_t Draw(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random_); }

  void Event() {
    const int64_t kind = Draw(0, 9);
    if (kind < 4) return Submit();
    if (kind == 4) return CancelSomebody();
    if (kind == 5) engine_.time += milliseconds(Draw(0, 3000));
    scheduler_->Step();
  }

  void Submit() {
    const auto salt = static_cast<size_t>(Draw(0, 2));
    std::vector<int32_t> prompt = NextPrompt(salt);
    RequestSpec spec;
    GenerateOptions& options = spec.request.options;
    options.mode = Draw(0, 3) == 0 ? DecodeMode::kAutoregressive : DecodeMode::kDiffusion;
    options.max_new_tokens = Draw(0, 9) == 0 ? -1 : Draw(1, 40);
    options.stop_tokens = {kScriptedStop};
    options.steps = 8;
    options.seed = static_cast<uint64_t>(Draw(0, 1000));
    if (Draw(0, 3) == 0) options.skip.settled_steps = 1;
    if (Draw(0, 3) == 0) spec.timeout = milliseconds(Draw(1, 5000));
    if (Draw(0, 3) == 0) spec.queue_timeout = milliseconds(Draw(1, 3000));
    auto client = std::make_shared<Client>(*this, prompt, options);
    client->salt = fmt::format("user {}", salt);
    client->deadline = now() + (spec.timeout.count() > 0 ? spec.timeout : options_.timeout);
    client->queue_deadline = now() + (spec.queue_timeout.count() > 0 ? spec.queue_timeout : options_.queue_timeout);
    spec.request.prompt_tokens = prompt;
    spec.request.stop = client->stop.get_token();
    spec.salt = client->salt;
    spec.listener = client;
    const bool too_long =
        std::ssize(prompt) + (options.mode == DecodeMode::kDiffusion ? kScriptedCanvas : 1) > kScriptedContext;
    const SchedulerStats before = scheduler_->stats();
    const auto id = scheduler_->Submit(std::move(spec));
    if (id) {
      EXPECT_LT(before.queued, options_.queued_requests);
      EXPECT_FALSE(too_long);
      client->id = *id;
      clients_.push_back(std::move(client));
      Log("+", *id);
    } else {
      CheckRefusal(id.error(), before, too_long);
    }
  }

  void CheckRefusal(const Refusal& refusal, const SchedulerStats& before, bool too_long) {
    switch (refusal.reason) {
      case RefusalReason::kQueueFull:
        EXPECT_EQ(before.queued, options_.queued_requests);
        EXPECT_GE(refusal.retry_after.count(), 1);
        break;
      case RefusalReason::kShareFull:
        EXPECT_GE(before.queued, options_.queued_per_salt);
        break;
      case RefusalReason::kTooLong:
        EXPECT_TRUE(too_long);
        EXPECT_EQ(refusal.retry_after.count(), 0);
        break;
      default:
        ADD_FAILURE() << refusal.status.message;
    }
    log_ += "refused ";
  }

  /// A new conversation of this user, or one that goes on: an earlier prompt, its answer, and something else. Sometimes
  /// the earlier one is another user's: the same text, which must not be found.
  std::vector<int32_t> NextPrompt(size_t salt) {
    std::vector<int32_t> prompt = {2, static_cast<int32_t>(400 + salt)};
    std::vector<const Client*> earlier;
    const bool others = Draw(0, 2) == 0;
    for (const auto& client : clients_) {
      if (client->ended() && (others || client->salt == fmt::format("user {}", salt))) earlier.push_back(client.get());
    }
    if (!earlier.empty() && Draw(0, 2) > 0) {
      const Client& last = *earlier[static_cast<size_t>(Draw(0, std::ssize(earlier) - 1))];
      prompt = last.prompt();
      prompt.insert(prompt.end(), last.tokens.begin(), last.tokens.end());
      if (Draw(0, 3) == 0) prompt.resize(static_cast<size_t>(Draw(1, std::ssize(prompt))));
    }
    for (int64_t more = Draw(0, 40); more > 0; --more) prompt.push_back(static_cast<int32_t>(Draw(300, 499)));
    return prompt;
  }

  void CancelSomebody() {
    if (clients_.empty()) return;
    Client& client = *clients_[static_cast<size_t>(Draw(0, std::ssize(clients_) - 1))];
    client.cancelled = true;
    if (Draw(0, 2) == 0)
      client.stop.request_stop();
    else
      scheduler_->Cancel(client.id);
    scheduler_->Cancel(9'999'999);
    Log("x", client.id);
  }

  PassFate OnPass(std::span<PassJob* const> jobs) {
    CountPass();
    engine_.time += milliseconds(Draw(0, 30) == 0 ? Draw(100, 4000) : Draw(1, 20));
    if (Draw(0, 15) == 0) CancelSomebody();
    // A fault counts only if the pass is not cancelled under it, so it never comes together with a cancellation.
    const bool cancelling = std::any_of(clients_.begin(), clients_.end(),
                                        [](const auto& client) { return client->cancelled && !client->ended(); });
    if (fault_rate_ == 0 || cancelling || Draw(0, fault_rate_) > 0) return PassFate::kRuns;
    injected_ += std::ssize(jobs);
    log_ += "fault ";
    return Draw(0, 1) ? PassFate::kFails : PassFate::kThrows;
  }

  bool Poison(const PassJob& job) {
    const bool predicted = job.has_canvas() || job.segments.back().hidden == HiddenRows::kLast;
    if (fault_rate_ == 0 || !predicted || Draw(0, fault_rate_) > 0) return false;
    ++injected_;
    return true;
  }

  void CheckInvariants() {
    const SchedulerStats stats = scheduler_->stats();
    const int64_t open = std::count_if(clients_.begin(), clients_.end(), [](const auto& c) { return !c->ended(); });
    EXPECT_EQ(stats.active + stats.queued, open);
    EXPECT_LE(stats.active, stats.slots);
    EXPECT_EQ(stats.slots, slots_);
    EXPECT_LE(stats.queued, options_.queued_requests);
    for (const auto& client : clients_) {
      if (client->started() && !client->ended()) {
        EXPECT_LT(client->passes_without(), slots_) << "starved";
      }
    }
  }

  std::mt19937_64 random_;
  int64_t slots_;
  ScriptedEngine engine_;
  SchedulerOptions options_;
  std::unique_ptr<Scheduler> scheduler_;
  std::vector<std::shared_ptr<Client>> clients_;
  int64_t fault_rate_ = 0, injected_ = 0;
  std::string log_;
};

void Client::OnStart(int64_t prompt_tokens, int64_t cached_tokens) {
  EXPECT_FALSE(started_);
  EXPECT_EQ(prompt_tokens, std::ssize(prompt_));
  EXPECT_LE(cached_tokens, simulation_.MostReusable(*this));
  started_ = true;
  simulation_.Log(fmt::format(">{}/", cached_tokens), id);
  simulation_.MaybeCancel();
}

void Client::TookPart() {
  EXPECT_TRUE(started_ && !ended_);
  passes_without_ = 0;
}

void Client::OnDraft(const Draft&) {
  TookPart();
  simulation_.MaybeCancel();
}

void Client::OnEnd(Result<Answer> answer) {
  EXPECT_FALSE(ended_) << "ended twice";
  ended_ = true;
  if (!answer) {
    simulation_.Log("!", id);
    return simulation_.CheckFailure(answer.error(), *this);
  }
  simulation_.Log(Name(answer->finish), id);
  const Expected expected = ExpectedAnswer(prompt_, options_);
  tokens = answer->tokens;
  EXPECT_EQ(answer->text, text_);
  if (answer->finish == FinishReason::kCancelled || answer->finish == FinishReason::kTimeout) {
    ASSERT_LE(tokens.size(), expected.tokens.size());
    EXPECT_TRUE(std::equal(tokens.begin(), tokens.end(), expected.tokens.begin()));
    if (answer->finish == FinishReason::kTimeout) {
      EXPECT_GE(simulation_.now(), deadline);
    }
  } else {
    EXPECT_EQ(tokens, expected.tokens);
    EXPECT_EQ(answer->finish, expected.finish);
  }
}

int64_t Number(const char* variable, int64_t otherwise) {
  const char* text = std::getenv(variable);
  return text != nullptr ? std::atoll(text) : otherwise;
}

TEST(SchedulerSimulation, InvariantsHoldWhateverHappens) {
  const int64_t one = Number("DGEMMA_SIMULATION_SEED", -1);
  if (one >= 0) {
    Simulation(static_cast<uint64_t>(one)).Run();
    return;
  }
  const int64_t seeds = Number("DGEMMA_SIMULATIONS", 10'000);
  Totals totals;
  for (int64_t seed = 0; seed < seeds; ++seed) {
    Simulation simulation(static_cast<uint64_t>(seed));
    simulation.totals = totals;
    simulation.Run();
    totals = simulation.totals;
    ASSERT_FALSE(HasFailure()) << "DGEMMA_SIMULATION_SEED=" << seed;
  }
  for (const auto& [what, count] :
       std::initializer_list<std::pair<const char*, int64_t>>{{"answered", totals.answered},
                                                              {"cancelled", totals.cancelled},
                                                              {"timed_out", totals.timed_out},
                                                              {"expired", totals.expired},
                                                              {"failed", totals.failed},
                                                              {"refused", totals.refused},
                                                              {"tokens_reused", totals.reused},
                                                              {"slots_cleared", totals.cleared}}) {
    EXPECT_GT(count, seeds / 100) << what;  // the simulation reaches all of it
    RecordProperty(what, std::to_string(count));
    fmt::print("{} {}\n", what, count);
  }
}

TEST(SchedulerSimulation, ASeedGivesTheSameRun) {
  std::set<std::string> runs;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    const std::string run = Simulation(seed).Run();
    EXPECT_EQ(Simulation(seed).Run(), run) << seed;
    runs.insert(run);
  }
  EXPECT_GT(runs.size(), 95u);
}

}  // namespace
}  // namespace dgemma::test
