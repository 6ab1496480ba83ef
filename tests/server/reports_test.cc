// What the server tells others: health, metrics, log, systemd, and the head of an answer.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <regex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "files/json.h"
#include "files/temp_folder.h"
#include "server/health.h"
#include "server/http_error.h"
#include "server/metrics.h"
#include "server/request_log.h"
#include "server/response_text.h"
#include "server/service_notify.h"

namespace dgemma {
namespace {

TEST(Health, TellsTheTruthAtTheLimitAndBeside) {
  const auto judge = [](double stalled, double longest) {
    return Judge({.loaded = true, .stalled_seconds = stalled, .longest_pass_seconds = longest}, false);
  };
  EXPECT_EQ(judge(0, 0), HealthStatus::kOk);
  EXPECT_EQ(judge(10, 0.1), HealthStatus::kOk);
  EXPECT_EQ(judge(10.01, 0.1), HealthStatus::kNoProgress);
  EXPECT_EQ(judge(30, 10), HealthStatus::kOk);
  EXPECT_EQ(judge(30.01, 10), HealthStatus::kNoProgress);
  // An engine without work may be idle for days.
  EXPECT_EQ(Judge({.loaded = true, .pass_age_seconds = 1e6}, false), HealthStatus::kOk);
  EXPECT_EQ(Judge({}, false), HealthStatus::kLoading);
  EXPECT_EQ(Judge({.loaded = true}, true), HealthStatus::kDraining);
  EXPECT_EQ(Judge({.loaded = true, .failed = true}, true), HealthStatus::kFailed);
}

TEST(Health, OnlyWhatWillNotRecoverIsGivenUp) {
  EXPECT_TRUE(IsWorthKeeping({}, 600'000)) << "loading";
  EXPECT_TRUE(IsWorthKeeping({.loaded = true, .stalled_seconds = 600}, 600'000));
  EXPECT_FALSE(IsWorthKeeping({.loaded = true, .stalled_seconds = 600.001}, 600'000));
  EXPECT_TRUE(IsWorthKeeping({.loaded = true, .pass_age_seconds = 1e6}, 600'000)) << "idle";
  EXPECT_FALSE(IsWorthKeeping({.loaded = true, .failed = true}, 600'000));
}

TEST(MetricsText, IsWhatPrometheusReads) {
  Metrics metrics;
  metrics.Add(Metric::kResponses2xx);
  metrics.Add(Metric::kResponses2xx, 2);
  metrics.Set(Metric::kQueued, 7);
  for (const double value : {0.004, 0.005, 0.006, 1000.0}) metrics.Observe(Metric::kRequestSeconds, value);
  metrics.OnScrape([](Metrics& some) { some.Set(Metric::kActive, 3); });
  const std::string text = metrics.Text();
  for (const char* line :
       {"# TYPE dgemma_responses_total counter\n", "dgemma_responses_total{class=\"2xx\"} 3\n",
        "dgemma_queued_requests 7\n", "dgemma_active_requests 3\n", "# TYPE dgemma_request_seconds histogram\n",
        "dgemma_request_seconds_bucket{le=\"0.005\"} 2\n", "dgemma_request_seconds_bucket{le=\"0.01\"} 3\n",
        "dgemma_request_seconds_bucket{le=\"600\"} 3\n", "dgemma_request_seconds_bucket{le=\"+Inf\"} 4\n",
        "dgemma_request_seconds_sum 1000.015\n", "dgemma_request_seconds_count 4\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line;
  }
  // Every line is a comment or a sample, and no name is declared twice.
  const std::regex sample(R"([a-z_]+(\{[a-z]+="[^"]+"\})? [0-9.e+-]+)");
  std::set<std::string> declared;
  size_t begin = 0;
  while (begin < text.size()) {
    const size_t end = text.find('\n', begin);
    ASSERT_NE(end, std::string::npos);
    const std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    if (line.starts_with("# TYPE ")) {
      EXPECT_TRUE(declared.insert(line).second) << line;
    }
    if (!line.starts_with('#')) {
      EXPECT_TRUE(std::regex_match(line, sample)) << line;
    }
  }
  EXPECT_GT(declared.size(), 25U);
}

TEST(MetricsText, CountsFromManyThreads) {
  Metrics metrics;
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&] {
      for (int count = 0; count < 1000; ++count) {
        metrics.Add(Metric::kPasses);
        metrics.Observe(Metric::kQueueSeconds, 1);
        if (count % 100 == 0) (void)metrics.Text();
      }
    });
  }
  threads.clear();
  EXPECT_NE(metrics.Text().find("dgemma_passes_total 4000\n"), std::string::npos);
  EXPECT_NE(metrics.Text().find("dgemma_queue_seconds_count 4000\n"), std::string::npos);
}

TEST(RequestLog, CutsLinesAndCountsTheRest) {
  std::vector<std::string> lines;
  RequestLog log([&](std::string_view line) { lines.emplace_back(line); },
                 {.log_line_bytes = 10, .log_lines_per_s = 3});
  const auto now = RequestLog::Clock::now();
  for (const size_t size : {9U, 10U, 11U}) log.Line(std::string(size, 'x'), now);
  EXPECT_EQ(lines.size(), 3U);
  EXPECT_EQ(lines[0].size(), 9U);
  EXPECT_EQ(lines[1].size(), 10U);
  EXPECT_EQ(lines[2].size(), 10U);
  log.Line("fourth", now);
  log.Line("fifth", now + std::chrono::milliseconds(999));
  EXPECT_EQ(lines.size(), 3U);
  log.Line("next", now + std::chrono::seconds(1));
  ASSERT_EQ(lines.size(), 5U);
  EXPECT_EQ(lines[3], "2 lines left out");
  EXPECT_EQ(lines[4], "next");
}

TEST(NotifyService, ReachesPathsAndAbstractNames) {
  const TempFolder folder;
  const std::string path = folder.path() / "notify";
  for (const std::string& name : {path, "@dgemma-test-" + std::to_string(::getpid())}) {
    const int receiver = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::ranges::copy(name, address.sun_path);
    if (name[0] == '@') address.sun_path[0] = '\0';
    ASSERT_EQ(::bind(receiver, reinterpret_cast<const sockaddr*>(&address),
                     static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size())),
              0);
    EXPECT_TRUE(NotifyService(name, "READY=1"));
    char message[100];
    const ssize_t size = ::recv(receiver, message, sizeof(message), MSG_DONTWAIT);
    EXPECT_EQ(std::string_view(message, size > 0 ? static_cast<size_t>(size) : 0), "READY=1");
    ::close(receiver);
  }
  EXPECT_TRUE(NotifyService("", "READY=1"));
  EXPECT_FALSE(NotifyService(folder.path() / "nobody", "READY=1"));
  EXPECT_FALSE(NotifyService("relative", "READY=1"));
  EXPECT_FALSE(NotifyService("/" + std::string(200, 'x'), "READY=1"));
}

TEST(ResponseHead, CannotBeEndedEarly) {
  const std::vector<HttpField> fields = {{"X-Good", "v"}, {"X-Bad", "v\r\nX-Injected: 1"}, {"X-\nName", "v"}};
  const std::string head = ResponseHead(200, "text/plain", fields, {.length = 3, .id = "req_1"});
  EXPECT_NE(head.find("X-Good: v\r\n"), std::string::npos);
  EXPECT_EQ(head.find("Injected"), std::string::npos);
  EXPECT_EQ(head.find("Name"), std::string::npos);
  EXPECT_EQ(head.find("\r\n\r\n"), head.size() - 4);
  EXPECT_EQ(HttpDate(784111777), "Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(ChunkText("hello world 16 b"), "10\r\nhello world 16 b\r\n");
}

TEST(HttpErrors, HaveEveryMemberTheirClientsRead) {
  const HttpError error = {
      .status = 429, .message = "the \"queue\" is full", .param = "n", .code = "queue_full", .retry_after_s = 3};
  const HttpResponse open_ai = ErrorResponse(ApiFamily::kOpenAi, error, "req_1");
  EXPECT_EQ(open_ai.status, 429);
  ASSERT_EQ(open_ai.fields.size(), 1U);
  EXPECT_EQ(open_ai.fields[0], (HttpField{"Retry-After", "3"}));
  EXPECT_EQ(
      open_ai.body,
      R"({"error":{"message":"the \"queue\" is full","type":"rate_limit_error","param":"n","code":"queue_full"}})");
  EXPECT_EQ(
      ErrorJson(ApiFamily::kAnthropic, error, "req_1"),
      R"({"type":"error","error":{"type":"rate_limit_error","message":"the \"queue\" is full"},"request_id":"req_1"})");
  EXPECT_EQ(ErrorJson(ApiFamily::kOllama, error, "req_1"), R"({"error":"the \"queue\" is full"})");
  for (int status = 400; status < 600; ++status) {
    EXPECT_FALSE(OpenAiErrorType(status).empty());
    EXPECT_FALSE(AnthropicErrorType(status).empty());
  }
}

}  // namespace
}  // namespace dgemma
