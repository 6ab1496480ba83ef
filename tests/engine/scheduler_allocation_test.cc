// Every allocation between Submit and OnEnd may fail, one at a time: the request is refused or ends once, the process
// lives, no slot is lost and the next request is answered right. A program of its own, because it replaces operator
// new.
#include <fstream>
#include <new>
#include <sstream>

#include "scripted_passes.h"
#include "support/counted_new.h"

namespace dgemma::test {
namespace {

/// Scripted passes whose own allocations never fail.
class SteadyPasses final : public PassExecutor {
 public:
  explicit SteadyPasses(PassExecutor& passes) : passes_(passes) {}
  int64_t max_rows() const override { return passes_.max_rows(); }
  int64_t max_canvases() const override { return passes_.max_canvases(); }
  Result<void> Run(std::span<PassJob* const> jobs, std::stop_token stop) override {
    const Uncounted pause;
    return passes_.Run(jobs, std::move(stop));
  }

 private:
  PassExecutor& passes_;
};

class Ending final : public RequestListener {
 public:
  void OnEnd(Result<Answer> result) override {
    const Uncounted pause;
    ++ends;
    answer = std::move(result);
  }
  int ends = 0;
  std::optional<Result<Answer>> answer;
};

RequestSpec Spec(DecodeMode mode, std::shared_ptr<Ending> ending) {
  RequestSpec spec;
  spec.request.prompt_tokens = {2, 300, 301, 302, 303, 304, 305, 306, 307, 308, 309};
  spec.request.options.mode = mode;
  spec.request.options.max_new_tokens = 20;
  spec.request.options.stop_tokens = {kScriptedStop};
  spec.salt = "the name of a client that does not fit into a short string";
  spec.listener = std::move(ending);
  return spec;
}

/// As the engine thread does it.
void RunAll(Scheduler& scheduler) {
  for (bool worked = true; worked;) {
    try {
      worked = scheduler.Step();
    } catch (const std::bad_alloc&) {
    }
  }
}

TEST(SchedulerAllocation, AnyOneMayFail) {
  std::ifstream file(DGEMMA_SOURCE_DIR "/models/starter/tokenizer.json", std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  const Tokenizer tokenizer = *Tokenizer::FromJson(text.str());
  for (const DecodeMode mode : {DecodeMode::kDiffusion, DecodeMode::kAutoregressive}) {
    ScriptedEngine engine(tokenizer, 2);
    SteadyPasses steady(engine.passes);
    engine.parts.executor = &steady;
    const auto scheduler = *Scheduler::Create(engine.parts, {});
    const Expected expected =
        ExpectedAnswer(Spec(mode, nullptr).request.prompt_tokens, Spec(mode, nullptr).request.options);
    int64_t needed = 1, refused = 0, failed = 0;
    for (int64_t fail_at = 0; fail_at < needed; ++fail_at) {
      const auto ending = std::make_shared<Ending>();
      RequestSpec spec = Spec(mode, ending);
      FailAllocation(fail_at);
      const auto id = scheduler->Submit(std::move(spec));
      RunAll(*scheduler);
      needed = std::max(needed, Allocations() + 1);  // the last round runs without a failure
      FailAllocation(-1);
      ASSERT_EQ(ending->ends, id ? 1 : 0) << fail_at;
      refused += !id;
      if (id && !*ending->answer) {
        ++failed;
        EXPECT_EQ(ending->answer->error().code, StatusCode::kResourceExhausted);
      } else if (id) {
        EXPECT_EQ((*ending->answer)->tokens, expected.tokens) << fail_at;
      }
      EXPECT_EQ(scheduler->stats().active + scheduler->stats().queued + scheduler->stats().queued_rows, 0);

      const auto next = std::make_shared<Ending>();
      ASSERT_TRUE(scheduler->Submit(Spec(mode, next)));
      RunAll(*scheduler);
      ASSERT_EQ(next->ends, 1);
      ASSERT_TRUE(*next->answer) << fail_at;
      EXPECT_EQ((*next->answer)->tokens, expected.tokens) << fail_at;
    }
    EXPECT_GT(needed, 30);
    EXPECT_GT(refused, 3);
    EXPECT_GT(failed, 10);
  }
}

}  // namespace
}  // namespace dgemma::test
