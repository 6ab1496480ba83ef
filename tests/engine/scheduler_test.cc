// The Scheduler on the embedded model and on scripted passes: answers are those of a session alone, whatever the
// company; limits, turns, prefixes, salts, threads.
#include "engine/scheduler.h"

#include <fmt/format.h>
#include <malloc.h>

#include <atomic>
#include <latch>

#include "engine/engine_impl.h"
#include "scripted_passes.h"

namespace dgemma::test {
namespace {

using std::chrono::milliseconds;

const std::string kStarter = DGEMMA_SOURCE_DIR "/models/starter";

std::unique_ptr<Engine> LoadStarter(int64_t sessions, int64_t chunk = 64) {
  EngineOptions options;
  options.threads = 2;
  options.sessions = sessions;
  options.context_tokens = 512;
  options.prefill_chunk_tokens = chunk;
  auto engine = Engine::Load(kStarter, options);
  EXPECT_TRUE(engine) << engine.error().message;
  return *std::move(engine);
}

/// Everything a request's listener sees, bit for bit.
class Transcript final : public RequestListener {
 public:
  void OnStart(int64_t, int64_t cached) override {
    ++starts;
    cached_tokens = cached;
    if (on_start) on_start();
  }
  void OnDraft(const Draft& draft) override {
    tokens.insert(tokens.end(), draft.tokens.begin(), draft.tokens.end());
    accepted.insert(accepted.end(), draft.accepted.begin(), draft.accepted.end());
    for (float value : draft.entropy) entropy.push_back(std::bit_cast<uint32_t>(value));
    ++drafts;
    if (on_draft) on_draft();
  }
  void OnText(std::string_view piece) override { text += piece; }
  void OnEnd(Result<Answer> result) override {
    EXPECT_FALSE(answer) << "ended twice";
    answer = std::move(result);
    ended = true;
    ended.notify_all();
  }
  bool SameAs(const Transcript& other) const {
    return tokens == other.tokens && accepted == other.accepted && entropy == other.entropy && text == other.text &&
           (*answer)->tokens == (*other.answer)->tokens && (*answer)->finish == (*other.answer)->finish;
  }

  std::vector<int32_t> tokens;
  std::vector<uint8_t> accepted;
  std::vector<uint32_t> entropy;
  std::string text;
  int drafts = 0, starts = 0;
  int64_t cached_tokens = -1;
  std::optional<Result<Answer>> answer;
  std::atomic<bool> ended = false;
  std::function<void()> on_draft, on_start;
};

Request Ask(const Engine& engine, const std::string& text, uint64_t seed = 0) {
  Request request;
  request.chat = {{"user", text}};
  request.options = engine.Defaults();
  request.options.seed = seed;
  return request;
}

/// Requests that differ in all that shapes a pass: prompt length, mode, canvases, steps, skipping.
std::vector<Request> MixedRequests(const Engine& engine) {
  std::vector<Request> requests;
  for (const char* text : {"upper cat", "count 3 to 9", "reverse stone", "sort d b a c"})
    requests.push_back(Ask(engine, text, requests.size()));
  requests[1].options.mode = DecodeMode::kAutoregressive;
  requests[2].options.stop_tokens.clear();
  requests[2].options.max_new_tokens = 110;
  requests[2].options.steps = 5;
  requests[2].options.skip.settled_steps = 2;
  Request lengthy = Ask(engine, "");
  lengthy.chat.clear();
  lengthy.prompt_tokens.assign(230, 333);
  lengthy.options.max_new_tokens = 60;
  lengthy.options.steps = 7;
  requests.push_back(lengthy);
  lengthy.options.mode = DecodeMode::kAutoregressive;
  lengthy.options.temperature = 0.7;
  lengthy.options.seed = 5;
  lengthy.options.max_new_tokens = 12;
  requests.push_back(lengthy);
  requests.push_back(Ask(engine, "upper cat", 77));
  requests.push_back(Ask(engine, "count 3 to 9", 78));
  requests.back().options.skip.settled_steps = 1;
  return requests;
}

std::shared_ptr<Transcript> Submit(Scheduler& scheduler, const Request& request, const std::string& salt = "",
                                   RequestId* id = nullptr) {
  auto transcript = std::make_shared<Transcript>();
  RequestSpec spec;
  spec.request = request;
  spec.salt = salt;
  spec.listener = transcript;
  const auto accepted = scheduler.Submit(std::move(spec));
  EXPECT_TRUE(accepted) << accepted.error().status.message;
  if (accepted && id != nullptr) *id = *accepted;
  return transcript;
}

void RunAll(Scheduler& scheduler) {
  while (scheduler.Step()) {
  }
}

/// Alone, in a session of its own.
std::shared_ptr<Transcript> Alone(Engine& engine, const Request& request) {
  auto transcript = std::make_shared<Transcript>();
  transcript->answer = (*engine.NewSession())->Generate(request, transcript.get());
  EXPECT_TRUE(*transcript->answer) << transcript->answer->error().message;
  return transcript;
}

TEST(Scheduler, AnswersAreThoseOfASessionAloneInAnyCompany) {
  const auto engine = LoadStarter(1);
  const std::vector<Request> requests = MixedRequests(*engine);
  std::vector<std::shared_ptr<Transcript>> alone;
  for (const Request& request : requests) alone.push_back(Alone(*engine, request));
  for (int64_t slots : {1, 2, 4, 8}) {
    for (int64_t chunk : {1, 48, 64}) {
      const auto busy = LoadStarter(slots, chunk);
      const auto scheduler = *Scheduler::Create(*busy, {});
      std::vector<std::shared_ptr<Transcript>> together;
      for (size_t i = 0; i < requests.size(); ++i)
        together.push_back(Submit(*scheduler, requests[i], fmt::format("user {}", i % 3)));
      RunAll(*scheduler);
      for (size_t i = 0; i < requests.size(); ++i)
        EXPECT_TRUE(together[i]->SameAs(*alone[i])) << slots << " slots, chunk " << chunk << ", request " << i;
      const SchedulerStats stats = scheduler->stats();
      EXPECT_EQ(stats.answered, std::ssize(requests));
      EXPECT_EQ(stats.active + stats.queued, 0);
    }
  }
}

TEST(Scheduler, EveryChunkSizeGivesTheSameAnswerAfterAPrefix) {
  Request first, second;
  std::shared_ptr<Transcript> reference;
  for (int64_t chunk = 1; chunk <= 65; chunk += chunk < 8 ? 1 : 8) {
    const auto engine = LoadStarter(2, chunk);
    first = Ask(*engine, "upper cat");
    second = Ask(*engine, "upper cat or two or three", 3);
    if (!reference) reference = Alone(*engine, second);
    const auto scheduler = *Scheduler::Create(*engine, {});
    Submit(*scheduler, first);
    RunAll(*scheduler);
    const auto continued = Submit(*scheduler, second);
    RunAll(*scheduler);
    EXPECT_GT(continued->cached_tokens, 0);
    EXPECT_TRUE(continued->SameAs(*reference)) << chunk;
  }
}

TEST(Scheduler, CancelAtEveryPassFreesTheSlotAndLeavesNeighboursAlone) {
  const auto engine = LoadStarter(2);
  Request request = MixedRequests(*engine)[4];  // four chunks of prompt, then two canvases of exactly seven steps
  request.options.confidence = 0;
  request.options.stop_tokens.clear();
  const auto reference = Alone(*engine, request);
  for (int at = 1; at <= 15; ++at) {
    const auto scheduler = *Scheduler::Create(*engine, {});
    RequestId victim_id = 0;
    const auto neighbour = Submit(*scheduler, request, "neighbour");
    const auto victim = Submit(*scheduler, request, "victim", &victim_id);
    for (int pass = 0; pass < at; ++pass) scheduler->Step();
    scheduler->Cancel(victim_id);
    EXPECT_EQ(scheduler->stats().active, 2);
    scheduler->Step();
    ASSERT_TRUE(victim->ended) << at;
    EXPECT_EQ((*victim->answer)->finish, FinishReason::kCancelled);
    EXPECT_EQ((*victim->answer)->text, victim->text);
    EXPECT_EQ(scheduler->stats().active, 1);
    RunAll(*scheduler);
    EXPECT_TRUE(neighbour->SameAs(*reference)) << at;
  }
}

TEST(Scheduler, AStoppedPassEndsWithinALayerWhenNobodyWantsIt) {
  const auto engine = LoadStarter(1);
  ScriptedEngine scripted(static_cast<EngineImpl&>(*engine).tokenizer(), 2);
  const auto scheduler = *Scheduler::Create(scripted.parts, {});
  Request request;
  request.prompt_tokens = {2, 300};
  request.options.stop_tokens = {kScriptedStop};
  RequestId first = 0, second = 0;
  const auto a = Submit(*scheduler, request, "", &first), b = Submit(*scheduler, request, "", &second);
  scripted.passes.on_pass = [&](std::span<PassJob* const> jobs) {
    EXPECT_EQ(jobs.size(), 2u);
    scheduler->Cancel(first);
    return PassFate::kRuns;
  };
  scheduler->Step();  // the second still wants the pass
  EXPECT_TRUE(a->ended);
  EXPECT_EQ(a->drafts, 1);
  EXPECT_EQ(b->drafts, 1);
  scripted.passes.on_pass = [&](std::span<PassJob* const>) {
    scheduler->Cancel(second);
    return PassFate::kRuns;
  };
  scheduler->Step();
  EXPECT_TRUE(b->ended);
  EXPECT_EQ(b->drafts, 1);  // this pass came to nothing
  EXPECT_EQ(scheduler->stats().cancelled, 2);
  EXPECT_EQ(scheduler->stats().failed_passes, 0);
}

TEST(Scheduler, ADeadlineKeepsWhatIsWritten) {
  const auto engine = LoadStarter(1);
  ScriptedEngine scripted(static_cast<EngineImpl&>(*engine).tokenizer(), 1);
  const auto scheduler = *Scheduler::Create(scripted.parts, {});
  scripted.passes.on_pass = [&](std::span<PassJob* const>) {
    scripted.time += milliseconds(10);
    return PassFate::kRuns;
  };
  auto transcript = std::make_shared<Transcript>();
  RequestSpec spec;
  spec.request.prompt_tokens = {2, 300};
  spec.request.options.max_new_tokens = -1;  // no stop token: until the context is full
  spec.timeout = milliseconds(95);
  spec.listener = transcript;
  ASSERT_TRUE(scheduler->Submit(spec));
  RunAll(*scheduler);
  ASSERT_TRUE(transcript->ended);
  const Answer& answer = **transcript->answer;
  EXPECT_EQ(answer.finish, FinishReason::kTimeout);
  EXPECT_STREQ(Name(answer.finish), "timeout");
  EXPECT_FALSE(answer.text.empty());
  EXPECT_EQ(answer.text, transcript->text);
  EXPECT_EQ(scheduler->stats().passes, 10);  // the first pass that began late was not run
  EXPECT_NEAR(answer.figures.total_seconds, 0.100, 1e-9);
}

/// Fills one slot with a request that only a cancellation ends, so that others queue up.
struct BusyScheduler {
  BusyScheduler(const Tokenizer& tokenizer, SchedulerOptions options) : engine(tokenizer, 1) {
    scheduler = *Scheduler::Create(engine.parts, options);
    Submit(*scheduler, Simple(), "busy", &busy);
    scheduler->Step();
  }
  static Request Simple() {
    Request request;
    request.prompt_tokens = {2, 300, 301};
    request.options.max_new_tokens = -1;
    return request;
  }
  std::expected<RequestId, Refusal> Try(const std::string& salt, std::shared_ptr<Transcript> transcript = nullptr,
                                        Request request = Simple()) {
    RequestSpec spec;
    spec.request = std::move(request);
    spec.salt = salt;
    spec.listener = std::move(transcript);
    return scheduler->Submit(std::move(spec));
  }

  ScriptedEngine engine;
  std::unique_ptr<Scheduler> scheduler;
  RequestId busy = 0;
};

TEST(Scheduler, TurnsGoRoundTheSalts) {
  const auto engine = LoadStarter(1);
  BusyScheduler busy(static_cast<EngineImpl&>(*engine).tokenizer(), {});
  std::string order;
  for (const char* name : {"a1", "a2", "a3", "b1", "b2", "c1"}) {
    const auto transcript = std::make_shared<Transcript>();
    transcript->on_start = [&order, name] { order += name; };
    Request request = BusyScheduler::Simple();
    request.options.max_new_tokens = 4;
    ASSERT_TRUE(busy.Try(std::string(1, name[0]), transcript, request));
  }
  busy.scheduler->Cancel(busy.busy);
  RunAll(*busy.scheduler);
  EXPECT_EQ(order, "a1b1c1a2b2a3");
}

TEST(Scheduler, RefusesByNumberByWorkByShareAndWhatNeverFits) {
  const auto engine = LoadStarter(1);
  const Tokenizer& tokenizer = static_cast<EngineImpl&>(*engine).tokenizer();
  SchedulerOptions options;
  options.queued_requests = 3;
  options.queued_per_salt = 2;
  BusyScheduler busy(tokenizer, options);
  ASSERT_TRUE(busy.Try("a"));
  ASSERT_TRUE(busy.Try("a"));
  auto refused = busy.Try("a");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, RefusalReason::kShareFull);
  ASSERT_TRUE(busy.Try("b"));
  refused = busy.Try("c");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, RefusalReason::kQueueFull);
  EXPECT_EQ(refused.error().status.code, StatusCode::kResourceExhausted);
  EXPECT_GE(refused.error().retry_after.count(), 1);
  EXPECT_EQ(busy.scheduler->stats().refused, 2);
  EXPECT_EQ(busy.scheduler->stats().queued, 3);

  const Request simple = BusyScheduler::Simple();
  const int64_t cost = CostInRows(simple.options, 3, ScriptedConfig(), kScriptedContext);
  EXPECT_EQ(cost, 3 + 24 * 48 * 8);  // 189 tokens of room are 24 canvases of 8
  options = {};
  options.queued_rows = 2 * cost + 1;
  BusyScheduler costly(tokenizer, options);
  ASSERT_TRUE(costly.Try("a"));
  ASSERT_TRUE(costly.Try("b"));
  refused = costly.Try("c");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, RefusalReason::kQueueFull);
  EXPECT_EQ(costly.scheduler->stats().queued_rows, 2 * cost);

  Request never = simple;
  never.prompt_tokens.assign(static_cast<size_t>(kScriptedContext - kScriptedCanvas), 300);
  ASSERT_TRUE(BusyScheduler(tokenizer, {}).Try("a", nullptr, never));
  never.prompt_tokens.push_back(300);
  refused = BusyScheduler(tokenizer, {}).Try("a", nullptr, never);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, RefusalReason::kTooLong);
  EXPECT_EQ(refused.error().status.code, StatusCode::kInvalidArgument);
  EXPECT_EQ(refused.error().retry_after.count(), 0);
  never = simple;
  never.options.steps = 0;
  refused = BusyScheduler(tokenizer, {}).Try("a", nullptr, never);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, RefusalReason::kInvalid);
  EXPECT_TRUE(refused.error().status.message.starts_with("steps"));
}

TEST(Scheduler, WaitingTooLongIsAnError) {
  const auto engine = LoadStarter(1);
  SchedulerOptions options;
  options.queue_timeout = milliseconds(100);
  BusyScheduler busy(static_cast<EngineImpl&>(*engine).tokenizer(), options);
  const auto transcript = std::make_shared<Transcript>();
  ASSERT_TRUE(busy.Try("a", transcript));
  busy.engine.time += milliseconds(99);
  busy.scheduler->Step();
  EXPECT_FALSE(transcript->ended);
  busy.engine.time += milliseconds(1);
  busy.scheduler->Step();
  ASSERT_TRUE(transcript->ended);
  ASSERT_FALSE(*transcript->answer);
  EXPECT_EQ(transcript->answer->error().code, StatusCode::kResourceExhausted);
  EXPECT_EQ(transcript->starts, 0);
  EXPECT_EQ(busy.scheduler->stats().expired_in_queue, 1);
}

TEST(Scheduler, FiguresTellOfAPassThatDoesNotEnd) {
  const auto engine = LoadStarter(1);
  BusyScheduler busy(static_cast<EngineImpl&>(*engine).tokenizer(), {});
  EXPECT_EQ(busy.scheduler->stats().stalled_seconds, 0);
  busy.engine.passes.on_pass = [&](std::span<PassJob* const>) {
    busy.engine.time += milliseconds(10'001);  // seen from another thread while the pass runs
    const SchedulerStats stats = busy.scheduler->stats();
    EXPECT_NEAR(stats.stalled_seconds, 10.001, 1e-6);
    EXPECT_NEAR(stats.last_pass_age_seconds, 10.001, 1e-6);
    return PassFate::kRuns;
  };
  busy.scheduler->Step();
  EXPECT_EQ(busy.scheduler->stats().stalled_seconds, 0);
  EXPECT_NEAR(busy.scheduler->stats().longest_pass_seconds, 10.001, 1e-6);
}

// ---- prefixes -------------------------------------------------------------------------------------------------------

TEST(Scheduler, AConversationFindsItsOwnTextAndNobodyElses) {
  const auto engine = LoadStarter(2);
  const auto scheduler = *Scheduler::Create(*engine, {});
  Request request = Ask(*engine, "count 3 to 9");
  const auto first = Submit(*scheduler, request, "alice");
  RunAll(*scheduler);
  EXPECT_EQ(first->cached_tokens, 0);
  request.chat.push_back({"assistant", first->text});
  request.chat.push_back({"user", "upper cat"});
  const auto other = Submit(*scheduler, request, "bob");
  RunAll(*scheduler);
  EXPECT_EQ(other->cached_tokens, 0);  // the same text under another salt
  const auto second = Submit(*scheduler, request, "alice");
  RunAll(*scheduler);
  EXPECT_GE(second->cached_tokens, (*first->answer)->figures.prompt_tokens);
  EXPECT_TRUE(second->SameAs(*other));
  EXPECT_TRUE(second->SameAs(*Alone(*engine, request)));
  EXPECT_EQ(scheduler->stats().cleared_slots, 0);
  const auto third = Submit(*scheduler, request, "carol");  // takes the slot that was not used for longest: bob's
  RunAll(*scheduler);
  EXPECT_EQ(third->cached_tokens, 0);
  EXPECT_TRUE(third->SameAs(*second));
  EXPECT_EQ(scheduler->stats().cleared_slots, 1);
}

TEST(Scheduler, AnOpeningThatIsStillBeingAnsweredIsCopiedAndTheConversationKeepsIts) {
  const auto engine = LoadStarter(3);
  const auto scheduler = *Scheduler::Create(*engine, {});
  Request first = Ask(*engine, "count 3 to 9"), second = first;
  for (Request* request : {&first, &second}) request->chat.front().text += " sort 50 14 33 and then reverse stone";
  first.options.stop_tokens.clear();
  first.options.max_new_tokens = 40;  // one canvas: the ring keeps the prompt
  second.chat.front().text += " upper cat";
  const auto lengthy = Submit(*scheduler, first, "alice");
  for (int pass = 0; pass < 2; ++pass) scheduler->Step();  // its prompt is read, its answer is not there
  ASSERT_FALSE(lengthy->answer);
  const auto stranger = Submit(*scheduler, second, "bob"), friendly = Submit(*scheduler, second, "alice");
  RunAll(*scheduler);
  EXPECT_EQ(stranger->cached_tokens, 0);
  EXPECT_GE(friendly->cached_tokens, 16);
  EXPECT_TRUE(friendly->SameAs(*stranger));
  EXPECT_TRUE(friendly->SameAs(*Alone(*engine, second)));
  EXPECT_TRUE(lengthy->SameAs(*Alone(*engine, first)));
  first.chat.push_back({"assistant", lengthy->text});
  first.chat.push_back({"user", "upper cat"});
  const auto next = Submit(*scheduler, first, "alice");
  RunAll(*scheduler);
  EXPECT_GT(next->cached_tokens, friendly->cached_tokens);  // its own text is still there
  EXPECT_TRUE(next->SameAs(*Alone(*engine, first)));
}

TEST(Scheduler, AnOpeningIsReadOnceForAllThatComeAtTheSameTime) {
  EngineOptions options;
  options.threads = 2;
  options.sessions = 3;
  options.prefill_chunk_tokens = 32;
  options.context_tokens = 512;
  const auto engine = *Engine::Load(kStarter, options);
  const auto scheduler = *Scheduler::Create(*engine, {});
  Request request = Ask(*engine, "");
  for (int i = 0; i < 12; ++i) request.chat.front().text += " sort 50 14 33 and reverse stone";
  request.options.max_new_tokens = 20;
  std::vector<std::shared_ptr<Transcript>> same;
  for (int i = 0; i < 3; ++i) same.push_back(Submit(*scheduler, request, "alice"));
  scheduler->Step();
  EXPECT_EQ(scheduler->stats().active, 1);
  EXPECT_EQ(scheduler->stats().queued, 2);
  const auto stranger = Submit(*scheduler, request, "bob");  // does not wait for what it may not copy
  scheduler->Step();
  EXPECT_EQ(scheduler->stats().active, 2);
  RunAll(*scheduler);
  const int64_t prompt = (*stranger->answer)->figures.prompt_tokens;
  ASSERT_GT(prompt, 4 * 32);
  EXPECT_EQ(stranger->cached_tokens, 0);
  EXPECT_EQ(same[0]->cached_tokens, 0);
  for (int i = 1; i < 3; ++i) EXPECT_GT(same[static_cast<size_t>(i)]->cached_tokens, prompt - 2 * 32);
  for (const auto& transcript : same) EXPECT_TRUE(transcript->SameAs(*stranger));
}

TEST(Scheduler, AThoughtThatIsLeftAwayCostsNothingWithinTheRewind) {
  for (const int64_t rewind : {0, 160}) {
    EngineOptions options;
    options.threads = 2;
    options.sessions = 2;
    options.context_tokens = 1024;  // more than a ring of any kind here
    options.prefill_chunk_tokens = 32;
    options.rewind_tokens = rewind;
    const auto engine = *Engine::Load(kStarter, options);
    const auto scheduler = *Scheduler::Create(*engine, {});
    Request request = Ask(*engine, "reverse stone");
    request.options.stop_tokens.clear();
    request.options.max_new_tokens = 200;  // five canvases, four of them in the cache
    request.options.steps = 2;
    const auto first = Submit(*scheduler, request);
    RunAll(*scheduler);
    request.chat.push_back({"assistant", ""});  // the answer does not appear again
    request.chat.push_back({"user", "upper cat"});
    const auto second = Submit(*scheduler, request);
    RunAll(*scheduler);
    const int64_t prompt = (*first->answer)->figures.prompt_tokens;
    if (rewind > 0) {
      EXPECT_GE(second->cached_tokens, prompt);
    } else {
      EXPECT_EQ(second->cached_tokens, 0);
    }
    EXPECT_TRUE(second->SameAs(*Alone(*engine, request)));
  }
}

// ---- threads and memory ---------------------------------------------------------------------------------------------

TEST(Scheduler, ManyThreadsSubmitCancelAndLook) {
  const auto engine = LoadStarter(4);
  const auto scheduler = *Scheduler::Create(*engine, {});
  scheduler->Start();
  const Request request = Ask(*engine, "upper cat");
  const auto reference = Alone(*LoadStarter(1), request);
  std::atomic<int> answered = 0, cancelled = 0;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < 6; ++i) {
        RequestId id = 0;
        const auto transcript = Submit(*scheduler, request, fmt::format("user {}", thread), &id);
        if (i % 3 == 2) scheduler->Cancel(id);
        EXPECT_LE(scheduler->stats().active, 4);
        transcript->ended.wait(false);
        const Answer& answer = **transcript->answer;
        if (answer.finish == FinishReason::kCancelled) {
          ++cancelled;
        } else {
          ++answered;
          EXPECT_TRUE(transcript->SameAs(*reference));
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GE(answered, 16);
  EXPECT_TRUE(scheduler->Drain(milliseconds(10'000)));
  EXPECT_FALSE(scheduler->stats().accepting);
  RequestSpec spec;
  spec.request = request;
  const auto refused = scheduler->Submit(spec);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, RefusalReason::kStopping);
}

TEST(Scheduler, DrainEndsWhatTakesTooLongAndStopEndsEverything) {
  const auto engine = LoadStarter(2);
  Request endless = Ask(*engine, "reverse stone");
  endless.options.stop_tokens.clear();
  endless.options.max_new_tokens = -1;
  endless.options.steps = 4096;
  endless.options.confidence = 0;
  SchedulerOptions options;
  options.queued_rows = int64_t{1} << 40;
  for (const bool drain : {true, false}) {
    const auto scheduler = *Scheduler::Create(*engine, options);
    scheduler->Start();
    std::vector<std::shared_ptr<Transcript>> transcripts;
    std::latch first_draft(1);
    for (int i = 0; i < 5; ++i) {
      auto transcript = std::make_shared<Transcript>();
      transcript->on_draft = [&first_draft, i, once = false]() mutable {
        if (!std::exchange(once, true) && i == 0) first_draft.count_down();
      };
      RequestSpec spec;
      spec.request = endless;
      spec.listener = transcript;
      ASSERT_TRUE(scheduler->Submit(spec));
      transcripts.push_back(transcript);
    }
    first_draft.wait();
    if (drain) {
      EXPECT_FALSE(scheduler->Drain(milliseconds(20)));
    } else {
      scheduler->Stop();
    }
    for (const auto& transcript : transcripts) {
      ASSERT_TRUE(transcript->ended);
      EXPECT_EQ((*transcript->answer)->finish, FinishReason::kCancelled);
    }
  }
}

TEST(Scheduler, MemoryDoesNotGrowOnceItIsWarm) {
  const auto engine = LoadStarter(3);
  const auto scheduler = *Scheduler::Create(*engine, {});
  const std::vector<Request> requests = MixedRequests(*engine);
  const auto round = [&] {
    for (size_t i = 0; i < requests.size(); ++i) {
      RequestSpec spec;
      spec.request = requests[i];
      spec.salt = fmt::format("user {}", i % 4);
      ASSERT_TRUE(scheduler->Submit(spec));
    }
    RunAll(*scheduler);
  };
  round();
  round();
  const size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
  for (int i = 0; i < 6; ++i) round();
  const size_t after = mallinfo2().uordblks + mallinfo2().hblkhd;
  EXPECT_LE(after, before + 4096);
}

TEST(Scheduler, NeedsAnEngineOfItsOwn) {
  EngineOptions options;
  options.sessions = 0;
  EXPECT_EQ(Engine::Load(kStarter, options).error().code, StatusCode::kInvalidArgument);
  options.sessions = 257;
  EXPECT_EQ(Engine::Load(kStarter, options).error().code, StatusCode::kInvalidArgument);
  const auto one = LoadStarter(1), four = LoadStarter(4);
  EXPECT_EQ(four->plan().Total() - four->plan().pass - (one->plan().Total() - one->plan().pass),
            3 * one->plan().cache_per_session);
}

}  // namespace
}  // namespace dgemma::test
