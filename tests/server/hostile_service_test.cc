// The service among clients that hurt it or spy on each other: disconnects, overload, secrets, text of other keys,
// readers that do not read, the drain. DGEMMA_STORM=N multiplies the rounds (5 is what a release runs).
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <random>
#include <thread>

#include "raw_client.h"
#include "server/exchange.h"
#include "wire_schema.h"
#include "wire_scripted.h"

namespace dgemma {
namespace {

using namespace test;
using std::chrono::milliseconds;

int Times(int rounds) {
  const char* text = std::getenv("DGEMMA_STORM");
  return rounds * std::max(1, text == nullptr ? 1 : std::atoi(text));
}

bool Eventually(const std::function<bool()>& holds) {
  for (int waited = 0; waited < 10'000; ++waited) {
    if (holds()) return true;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return false;
}

std::string Chat(const std::string& text, const std::string& more = "") {
  const json::object message{{"role", "user"}, {"content", text}};
  return R"({"messages":[)" + json::serialize(message) + "]" + more + "}";
}
std::string Bearer(const std::string& key) { return key.empty() ? "" : "Authorization: Bearer " + key + "\r\n"; }
std::string PostChat(const std::string& text, const std::string& more = "", const std::string& key = "") {
  return Post("/v1/chat/completions", Chat(text, more), Bearer(key));
}

std::string ContentOf(const RawResponse& response) {
  if (response.status != 200) return fmt::format("status {}: {}", response.status, response.body);
  if (response.fields.at("content-type") != "text/event-stream") {
    return std::string(Parsed(response.body).at("choices").at(0).at("message").at("content").get_string());
  }
  std::string content;
  for (const SseEventRead& event : ReadSse(response.body)) {
    if (event.data == "[DONE]") continue;
    const json::value chunk = Parsed(event.data);
    const json::object* delta = chunk.at("choices").at(0).as_object().at("delta").if_object();
    if (delta != nullptr && delta->contains("content")) content += delta->at("content").get_string().c_str();
  }
  return content;
}

size_t Descriptors() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

/// A text that no other request has, with words that are found again.
std::string Canary(const std::string& owner, int number) { return fmt::format("{}-canary-{:05}", owner, number); }

// ---- disconnects ----------------------------------------------------------------------------------------------------

TEST(DisconnectStorm, FreesEverythingAndLeavesNeighboursAlone) {
  ScriptedServer server(
      {.slots = 4, .limits = {.linger_ms = 50, .connections_per_address = 1000, .keep_alive_requests = 1'000'000}});
  RawClient steady(server.port());
  const std::string text = "the steady client's answer, which takes several canvases";
  const auto ask = [&] { return ContentOf(steady.Ask(PostChat(text, R"(,"stream":true,"seed":1)"), "POST")); };
  ASSERT_EQ(ask(), text);
  const size_t before = Descriptors();
  server.passes->milliseconds = 1;
  std::atomic<bool> over = false;
  std::jthread storm([&] {
    std::mt19937 random(11);
    const auto below = [&](size_t bound) { return std::uniform_int_distribution<size_t>(0, bound - 1)(random); };
    for (int round = 0; round < Times(2000); ++round) {
      RawClient client(server.port());
      const std::string request =
          PostChat(std::string(1 + below(200), 's'), below(2) == 0 ? R"(,"stream":true)" : R"(,"n":2)");
      client.Send(request.substr(0, below(4) == 0 ? below(request.size()) : request.size()));
      client.SetPatience(static_cast<int>(below(12)));
      (void)client.ReadAll(1 + below(3000));
      below(2) == 0 ? client.Reset() : client.Close();
    }
    over = true;
  });
  int answers = 0;
  while (!over) {
    ASSERT_EQ(ask(), text) << answers;
    ++answers;
  }
  storm.join();
  EXPECT_GT(answers, 3);
  const auto stats = [&] { return server.scheduler->stats(); };
  EXPECT_TRUE(Eventually([&] { return stats().active + stats().queued + stats().queued_rows == 0; }));
  const SchedulerStats end = stats();
  EXPECT_EQ(end.submitted, end.answered + end.cancelled + end.timed_out + end.expired_in_queue + end.failed);
  EXPECT_GT(end.cancelled, 20);
  EXPECT_EQ(end.failed, 0);
  EXPECT_TRUE(Eventually([&] { return server.server->connections() == 1; }));
  EXPECT_TRUE(Eventually([&] { return Descriptors() == before; }));
  // All four slots still work.
  std::vector<RawClient> four;
  for (int number = 0; number < 4; ++number) {
    four.emplace_back(server.port());
    four.back().Send(PostChat(Canary("slot", number)));
  }
  for (int number = 0; number < 4; ++number) {
    EXPECT_EQ(ContentOf(four[static_cast<size_t>(number)].Read()), Canary("slot", number));
  }
}

// ---- overload -------------------------------------------------------------------------------------------------------

TEST(Overload, TenTimesShedsAndAnswersTheRest) {
  ScriptedServer server({.slots = 2, .limits = {.connections_per_address = 1000, .queue_requests = 6}});
  server.passes->milliseconds = 2;
  constexpr int kClients = 80;  // ten times what answers and waits
  std::atomic<int> answered = 0, refused = 0;
  std::vector<std::thread> clients;
  for (int number = 0; number < kClients; ++number) {
    clients.emplace_back([&, number] {
      RawClient client(server.port());
      for (int round = 0; round < 8; ++round) {
        const std::string text = Canary("load", number * 100 + round);
        const RawResponse response = client.Ask(PostChat(text), "POST");
        if (response.status == 429) {
          ++refused;
          EXPECT_TRUE(response.fields.contains("retry-after"));
          ExpectShape(Parsed(response.body), kError);
        } else {
          ++answered;
          EXPECT_EQ(ContentOf(response), text);
        }
      }
    });
  }
  RawClient watcher(server.port());
  for (int again = 0; again < 20; ++again) {
    EXPECT_EQ(watcher.Ask(Get("/health")).status, 200);
    EXPECT_LE(server.scheduler->stats().queued, 6);
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(answered + refused, kClients * 8);
  EXPECT_GT(answered, 8);
  EXPECT_GT(refused, answered) << "this was no overload";
  const SchedulerStats stats = server.scheduler->stats();
  EXPECT_EQ(stats.answered, answered);
  EXPECT_EQ(stats.refused, refused);
  EXPECT_EQ(stats.expired_in_queue + stats.failed + stats.cancelled, 0);
}

TEST(Overload, ARefusalNeedsNeitherParsingNorTheEngine) {
  ScriptedServer server({.slots = 1, .limits = {.queue_requests = 1}});
  server.passes->frozen = true;
  RawClient first(server.port()), second(server.port()), third(server.port());
  first.Send(PostChat("runs"));
  ASSERT_TRUE(Eventually([&] { return server.scheduler->stats().active == 1; }));
  second.Send(PostChat("waits"));
  ASSERT_TRUE(Eventually([&] { return server.scheduler->stats().queued == 1; }));
  for (const char* path : {"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/api/chat",
                           "/api/generate", "/completion"}) {
    EXPECT_EQ(third.Ask(Post(path, "not even JSON"), "POST").status, 429) << path;
  }
  server.passes->frozen = false;
  EXPECT_EQ(ContentOf(first.Read()), "runs");
  EXPECT_EQ(ContentOf(second.Read()), "waits");
  EXPECT_EQ(third.Ask(Post("/v1/messages", "not even JSON"), "POST").status, 400);
}

TEST(Overload, WhatOneKeyLetsReadDoesNotHoldUpAnother) {
  const ScriptedServer server({.slots = 1, .keys = {{"ann", "key-of-ann"}, {"bob", "key-of-bob"}}});
  const std::string long_text = R"({"content":")" + std::string(1'900'000, 'a') + R"("})";
  std::vector<RawClient> crowd;
  for (int number = 0; number < 20; ++number) {
    crowd.emplace_back(server.port());
    crowd.back().Send(Post("/tokenize", long_text, Bearer("key-of-ann")));
  }
  RawClient other(server.port());
  EXPECT_EQ(other.Ask(Post("/tokenize", R"({"content":"a"})", Bearer("key-of-bob")), "POST").status, 200);
  int answered = 0;
  for (const RawClient& client : crowd) {
    pollfd one{.fd = client.descriptor(), .events = POLLIN, .revents = 0};
    answered += ::poll(&one, 1, 0);
  }
  EXPECT_LT(answered, 20);
}

// ---- the drain ------------------------------------------------------------------------------------------------------

TEST(Draining, WhatWaitsIsRefusedAtOnceWhatRunsFinishes) {
  ScriptedServer server({.slots = 1, .limits = {.linger_ms = 50}});
  server.passes->milliseconds = 10;
  RawClient running(server.port()), waiting(server.port()), streaming(server.port());
  const std::string text(400, 'r');
  running.Send(PostChat(text));
  ASSERT_TRUE(Eventually([&] { return server.scheduler->stats().active == 1; }));
  waiting.Send(PostChat("waits"));
  streaming.Send(PostChat("waits too", R"(,"stream":true)"));
  ASSERT_TRUE(Eventually([&] { return server.scheduler->stats().queued == 2; }));
  server.Drain();
  const RawResponse refused = waiting.Read();
  EXPECT_EQ(refused.status, 503);
  EXPECT_TRUE(refused.fields.contains("retry-after"));
  EXPECT_EQ(Parsed(refused.body).at("error").at("code"), "shutdown");
  const RawResponse ended = streaming.Read();
  EXPECT_TRUE(ended.whole);
  EXPECT_NE(ended.body.find("The server is shutting down."), std::string::npos) << ended.body;
  EXPECT_EQ(server.scheduler->stats().active, 1) << "long before the answer under way has ended";
  EXPECT_EQ(ContentOf(running.Read()), text);
  server.server->Wait();
}

// ---- readers that do not read ---------------------------------------------------------------------------------------

TEST(SlowReaderOfFrames, LosesFramesAndKeepsTheAnswer) {
  constexpr size_t kBuffer = 48'000;
  ScriptedServer server({.limits = {.stream_bytes = kBuffer}});
  HttpRequest request;
  request.body = Chat(std::string(900, 'x'), R"(,"stream":true,"diffusion":{"frames":true,"max_fps":0})");
  const auto exchange = std::make_shared<Exchange>(kBuffer);  // nobody takes anything out of it
  const std::vector<const Route*> routes = server.router->routes();
  const auto chat =
      std::ranges::find(routes, "/v1/chat/completions", [](const Route* route) { return route->pattern; });
  ASSERT_NE(chat, routes.end());
  (*chat)->handler(request, Reply(exchange));
  ASSERT_TRUE(Eventually([&] { return exchange->complete(); }));
  EXPECT_EQ(exchange->reason(), StopReason::kNone);
  const std::string stream = exchange->Take(1 << 20).bytes;
  size_t frames = 0, last_block = 0;
  std::string content;
  for (const SseEventRead& event : ReadSse(stream)) {
    if (event.data == "[DONE]") continue;
    const json::value chunk = Parsed(event.data);
    if (chunk.get_object().contains("type")) {
      ++frames;
      last_block = chunk.at("block").to_number<size_t>();
    } else if (const json::object& delta = chunk.at("choices").at(0).at("delta").get_object();
               delta.contains("content")) {
      content += delta.at("content").get_string().c_str();
    }
  }
  EXPECT_EQ(content, std::string(900, 'x'));
  EXPECT_GT(frames, 5U);
  EXPECT_LT(last_block, 40U) << "the buffer was never full, which proves nothing";
}

TEST(SlowReaderOfFrames, ThatComesBackSeesThemAgain) {
  Exchange exchange(1000);
  exchange.Begin({});
  for (const size_t bytes : {249U, 1U}) {
    EXPECT_TRUE(exchange.Write(std::string(bytes, 'x')));
    EXPECT_FALSE(exchange.behind()) << bytes;
  }
  EXPECT_TRUE(exchange.Write("x"));
  EXPECT_TRUE(exchange.behind());
  exchange.Take(1000);
  EXPECT_TRUE(exchange.behind()) << "taken is not sent";
  exchange.Taken(1);
  EXPECT_FALSE(exchange.behind());
}

// ---- secrets and other people's text --------------------------------------------------------------------------------

TEST(CanaryCrossKey, NoTextOfOneKeyReachesAnother) {
  ScriptedServer server({.slots = 3,
                         .limits = {.linger_ms = 50,
                                    .connections_per_address = 1000,
                                    .keep_alive_requests = 1'000'000,
                                    .queue_requests = 8},
                         .keys = {{"ann", "key-of-ann"}, {"bob", "key-of-bob"}, {"spy", "key-of-spy"}}});
  std::atomic<int> over = 0;
  const auto talk = [&](const std::string& name, const std::string& other) {
    std::mt19937 random(static_cast<uint32_t>(static_cast<unsigned char>(name.front())));
    const auto below = [&](size_t bound) { return std::uniform_int_distribution<size_t>(0, bound - 1)(random); };
    const std::string key = "key-of-" + name;
    const std::string foreign = other + "-canary";
    for (int round = 0; round < Times(150); ++round) {
      RawClient client(server.port());
      const std::string text = Canary(name, round);
      // A shared beginning, so that reuse across keys would show.
      const std::string asked = "the same long beginning of all requests: " + text;
      std::string all;
      switch (below(7)) {
        case 0:
          all = client.Ask(PostChat(asked, R"(,"stream":true,"diffusion":{"frames":true,"max_fps":0})", key), "POST")
                    .body;
          break;
        case 1:
          client.Send(PostChat(asked, R"(,"stream":true)", key));
          client.SetPatience(1);
          all = client.ReadAll(500);
          client.Reset();
          break;
        case 2:
          all = client.Ask(PostChat(asked, R"(,"stop":["canary"])", key), "POST").body;
          break;
        case 3:
          all = client.Ask(PostChat(asked, R"(,"n":2,"max_tokens":5)", key), "POST").body;
          break;
        case 4:
          server.passes->poison = true;
          all = client.Ask(PostChat(asked, "", key), "POST").body;
          server.passes->poison = false;
          break;
        case 5:
          all = client.Ask(Post("/tokenize", R"({"content":{"x":1},"y":")" + asked + "\"}", Bearer(key)), "POST").body;
          break;
        default: {
          const RawResponse response = client.Ask(PostChat(asked, "", key), "POST");
          all = response.head + response.body;
          if (response.status == 200) {
            EXPECT_EQ(ContentOf(response), asked);
          }
        }
      }
      EXPECT_EQ(all.find(foreign), std::string::npos) << all;
    }
    ++over;
  };
  std::jthread ann(talk, "ann", "bob"), bob(talk, "bob", "ann");
  int looks = 0;
  for (; over < 2; ++looks) {
    RawClient spy(server.port());
    for (const char* path : {"/slots", "/metrics", "/health", "/props", "/v1/models", "/api/ps"}) {
      const RawResponse seen = spy.Ask(Get(path, Bearer("key-of-spy")));
      EXPECT_NE(seen.status, 0) << path;
      ASSERT_EQ((seen.head + seen.body).find("-canary-"), std::string::npos) << path;
    }
  }
  ann.join();
  bob.join();
  EXPECT_GT(looks, 2);
  EXPECT_EQ(server.Log().find("-canary-"), std::string::npos);
}

TEST(PrefixReuse, IsWithinAKeyOnly) {
  ScriptedServer server({.slots = 4, .keys = {{"ann", "key-of-ann"}, {"bob", "key-of-bob"}}});
  const auto cached = [&](const std::string& text, const std::string& key) {
    const RawResponse response = RawClient(server.port()).Ask(PostChat(text, "", key), "POST");
    EXPECT_EQ(response.status, 200) << response.body;
    return Parsed(response.body).at("usage").at("prompt_tokens_details").at("cached_tokens").to_number<int64_t>();
  };
  std::mt19937 random(3);
  const auto letters = [&] {
    std::string text(60, ' ');
    for (char& letter : text) letter = static_cast<char>('a' + random() % 26);
    return text;
  };
  int64_t own = 0;
  for (int round = 0; round < 40; ++round) {
    const std::string secret = letters(), other = letters();
    (void)cached(secret, "key-of-ann");
    // The chat format's beginning is all that bob's prompts have in common with what he asked before.
    EXPECT_LT(cached(secret, "key-of-bob"), 20) << round;
    EXPECT_LT(cached(other, "key-of-bob"), 20) << round;
    own += cached(secret, "key-of-ann");
  }
  EXPECT_GT(own, 40 * 20) << "nothing is ever reused, which proves nothing";
}

TEST(CanarySecrets, KeysAndPromptsStayOutOfLogsMetricsAndErrors) {
  const std::string key = "canary-key-4711", text = "canary-prompt-0815";
  ScriptedServer server(
      {.slots = 1, .limits = {.request_ms = 800, .queue_requests = 1}, .keys = {{"ann", key}, {"bob", "key-of-bob"}}});
  std::string seen;  // by others than the one who may
  const auto ask = [&](const std::string& request, int status) {
    const RawResponse response = RawClient(server.port()).Ask(request, "POST");
    EXPECT_EQ(response.status, status) << request << response.body;
    if (status != 200) seen += response.head + response.body;
  };
  ask(PostChat(text, "", key), 200);
  ask(PostChat(text, "", key + "x"), 401);
  ask(PostChat(text, "", "x" + key), 401);
  ask(PostChat(text, R"(,"temperature":")" + text + "\"", key), 400);
  ask(PostChat(text, R"(,"response_format":{"type":")" + text + "\"}", key), 400);
  ask(PostChat(text + std::string(9000, 'x'), "", key), 400);
  ask(Post("/v1/chat/completions", "{" + text, Bearer(key)), 400);
  ask(Post("/v1/" + text, text, Bearer(key)), 404);
  ask("GET /" + text + "?" + key + " HTTP/1.1\r\nHost: localhost\r\n" + Bearer(key) + "\r\n", 404);
  ask("GET /health HTTP/1.1\r\nHost: " + text + "\r\n" + Bearer(key) + "\r\n", 403);
  ask("GET /health HTTP/1.1\r\nHost: localhost\r\nOrigin: https://" + text + "\r\n" + Bearer(key) + "\r\n", 403);
  ask(text + " / HTTP/9.9\r\n\r\n", 505);
  ask(Get("/v1/models/" + text, Bearer(key)), 404);
  ask(Get("/v1/diffusion/" + text + "/frames", Bearer(key)), 404);
  server.passes->poison = true;
  ask(PostChat(text, "", key), 500);
  server.passes->poison = false;
  server.passes->milliseconds = 100;
  RawClient late(server.port());
  late.Send(PostChat(text + std::string(900, 'x'), "", key));  // runs into its deadline
  ASSERT_TRUE(Eventually([&] { return server.scheduler->stats().active == 1; }));
  RawClient waiting(server.port());
  waiting.Send(PostChat(text, "", key));
  ASSERT_TRUE(Eventually([&] { return server.scheduler->stats().queued == 1; }));
  ask(PostChat(text, "", key), 429);
  (void)late.Read();
  waiting.Reset();
  for (const char* path : {"/metrics", "/slots", "/props", "/health"}) {
    const RawResponse response = RawClient(server.port()).Ask(Get(path, Bearer("key-of-bob")));
    EXPECT_EQ(response.status, 200) << path;
    seen += response.head + response.body;
  }
  const std::string log = server.Log();
  EXPECT_GT(std::ranges::count(log, '\n'), 15);
  EXPECT_NE(log.find(" key=ann"), std::string::npos) << "names of keys are no secret";
  for (const std::string& secret : {key, text, std::string("canary")}) {
    EXPECT_EQ(log.find(secret), std::string::npos) << log;
    EXPECT_EQ(seen.find(secret), std::string::npos) << seen;
  }
}

}  // namespace
}  // namespace dgemma
