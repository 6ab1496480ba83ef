// Any allocation of the service between a request's first byte and its answer's last may fail: that request fails, and
// nobody else's. A program of its own, because operator new is replaced. DGEMMA_STORM=40 tries every allocation instead
// of a sample.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>

#include "raw_client.h"
#include "support/counted_new.h"
#include "wire_scripted.h"

namespace dgemma {
namespace {

using namespace test;

std::string Chat(const std::string& more) {
  return Post(
      "/v1/chat/completions",
      R"({"messages":[{"role":"user","content":"[think]a plan[/think]the answer, on some canvases"}])" + more + "}");
}

bool Lives(const ScriptedServer& server) {
  for (int tries = 0; tries < 50; ++tries) {
    RawClient client(server.port());
    const RawResponse response = client.Ask(Chat(""), "POST");
    if (response.status == 200)
      return response.body.find(R"("content":"the answer, on some canvases")") != std::string::npos;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));  // the one before is still on its way out
  }
  return false;
}

TEST(AllocationFailure, AnyOneOfTheServiceIsSurvived) {
  const Uncounted own_thread;
  const bool all = std::getenv("DGEMMA_STORM") != nullptr;
  ScriptedServer server({.slots = 1, .limits = {.head_ms = 500, .linger_ms = 50, .queue_requests = 1}});
  ASSERT_TRUE(Lives(server));
  int64_t failures = 0, unanswered = 0;
  for (const std::string more : {"", R"(,"stream":true,"diffusion":{"frames":true,"max_fps":0})"}) {
    int64_t needed = 1;
    for (int64_t number = 0; number < needed; number += all || number < 50 ? 1 : 29) {
      FailAllocation(number);
      RawClient client(server.port());
      client.SetPatience(3000);
      const RawResponse response = client.Ask(Chat(more), "POST");
      unanswered += response.status == 0;
      client.Close();
      const int64_t made = Allocations();
      FailAllocation(-1);
      if (made > number) {
        needed = number + 30;
        ++failures;
      }
      ASSERT_LT(number, 100'000) << "no end";
      ASSERT_TRUE(Lives(server)) << number << more;
    }
  }
  EXPECT_GT(failures, 100) << "nothing was made to fail";
  EXPECT_LT(2 * unanswered, failures) << "most of those who fail are told";
  // Nothing is left of the failed ones.
  for (int waited = 0; waited < 5000 && server.scheduler->stats().active + server.scheduler->stats().queued > 0;
       ++waited)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const SchedulerStats stats = server.scheduler->stats();
  EXPECT_EQ(stats.active + stats.queued + stats.queued_rows, 0);
  EXPECT_EQ(stats.stalled_seconds, 0) << "a request that never ends";
  EXPECT_EQ(stats.submitted,
            stats.answered + stats.cancelled + stats.timed_out + stats.expired_in_queue + stats.failed);
}

TEST(ServiceMemory, ALongTextsTokensCostTheirTextOnly) {
  const Uncounted own_thread;
  const ScriptedServer server;
  RawClient client(server.port());
  const std::string body = R"({"with_pieces":true,"content":")" + std::string(200'000, 'a') + R"("})";
  const size_t before = LiveBytes();
  ResetPeak();
  const RawResponse response = client.Ask(Post("/tokenize", body), "POST");
  ASSERT_EQ(response.status, 200);
  EXPECT_LT(PeakBytes() - before, 10 * body.size() + 5 * response.body.size());
}

}  // namespace
}  // namespace dgemma
