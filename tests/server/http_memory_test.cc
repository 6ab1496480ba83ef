// What a request without a key may cost, and that any allocation of the transport may fail. Programs of their own,
// because operator new is replaced.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <ctime>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "support/counted_new.h"
#include "test_server.h"

namespace dgemma {
namespace {

using std::chrono::milliseconds;
using namespace test;

constexpr size_t kMostBytes = 64 << 10;   // promise C2 of the design
constexpr double kMostCpuSeconds = 1e-3;  // the same
constexpr const char* kKeyLine = "X-Api-Key: alice-key\r\n";

KeyRing AliceOnly() {
  KeyRing keys;
  EXPECT_TRUE(keys.Add("alice", "alice-key"));
  return keys;
}

/// Requests of somebody without a key, as expensive as they come.
std::vector<std::pair<const char*, std::string>> UnkeyedRequests() {
  const std::string long_line = "X-Long: " + std::string(8000, 'x') + "\r\n";
  std::string many_fields;
  for (int field = 0; field < 60; ++field) many_fields += fmt::format("X-{}: {}\r\n", field, std::string(200, 'f'));
  std::string pipelined;
  for (int again = 0; again < 500; ++again) pipelined += Get("/hello");
  return {
      {"no key", Get("/hello")},
      {"health", Get("/health")},
      {"wrong key", Get("/hello", "X-Api-Key: not-the-key\r\n")},
      {"long key", Get("/hello", "X-Api-Key: " + std::string(8000, 'k') + "\r\n")},
      {"long lines", Get("/hello", long_line)},
      {"many fields", Get("/hello", many_fields)},
      {"long path", Get("/" + std::string(8000, 'p'))},
      {"segments", Get("/" +
                       [] {
                         std::string path;
                         for (int segment = 0; segment < 4000; ++segment) path += "a/";
                         return path;
                       }())},
      {"head too long", Get("/hello", long_line + long_line + long_line)},
      {"malformed", std::string(16'000, '\0')},
      {"body", Post("/echo", std::string(1 << 20, 'b'))},
      {"chunks", "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + std::string(1 << 20, '1')},
      {"pipelined", pipelined},
      {"page of another origin", Get("/hello", "Origin: https://evil.example\r\n")},
      {"half a head", "GET /hello HTTP/1.1\r\n" + long_line}};
}

TEST(UnkeyedCost, MemoryOfAConnectionIsBounded) {
  const Uncounted own_thread;
  TestServer server({.limits = {.head_ms = 50, .linger_ms = 50}, .keys = AliceOnly()});
  server.Client().Ask(Get("/health"));  // what is made once
  for (const auto& [name, request] : UnkeyedRequests()) {
    for (int warm = 0; warm < 2; ++warm) {
      ASSERT_TRUE(server.HasConnections(0));
      const size_t before = LiveBytes();
      ResetPeak();
      {
        RawClient client = server.Client();
        client.SetPatience(200);
        client.Send(request);
        (void)client.Read();
      }
      ASSERT_TRUE(server.HasConnections(0)) << name;
      const size_t most = PeakBytes() - before;
      if (warm == 1) {
        EXPECT_LE(most, kMostBytes) << name;
        RecordProperty(std::string("bytes of ") + name, static_cast<int>(most));
      }
    }
  }
}

double CpuSeconds(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

TEST(UnkeyedCost, TimeOfARequestIsBounded) {
  const Uncounted own_thread;
  TestServer server({.limits = {.head_ms = 50, .linger_ms = 50}, .keys = AliceOnly()});
  constexpr int kRequests = 40;
  for (const auto& [name, request] : UnkeyedRequests()) {
    const auto of_server = [] { return CpuSeconds(CLOCK_PROCESS_CPUTIME_ID) - CpuSeconds(CLOCK_THREAD_CPUTIME_ID); };
    const double begin = of_server();
    for (int number = 0; number < kRequests; ++number) {
      RawClient client = server.Client();
      client.SetPatience(200);
      client.Send(request);
      (void)client.Read();
    }
    const double each = (of_server() - begin) / kRequests;
    EXPECT_LE(each, kMostCpuSeconds) << name;
    RecordProperty(std::string("microseconds of ") + name, static_cast<int>(each * 1e6));
  }
}

/// The server answers a new client.
bool Lives(const TestServer& server) {
  for (int tries = 0; tries < 20; ++tries) {
    RawClient client = server.Client();
    client.SetPatience(2000);
    if (client.connected() && client.Ask(Get("/hello", kKeyLine)).body == "hello") return true;
  }
  return false;
}

TEST(AllocationFailure, AnyOneOfTheTransportIsSurvived) {
  const Uncounted own_thread;
  TestServer server(
      {.limits = {.head_ms = 300, .body_window_ms = 300, .request_ms = 300, .stop_grace_ms = 100, .linger_ms = 50},
       .keys = AliceOnly()});
  ASSERT_TRUE(Lives(server));
  const std::string chunked =
      fmt::format("POST /echo HTTP/1.1\r\nHost: localhost\r\n{}Transfer-Encoding: chunked\r\n\r\n", kKeyLine) +
      "5\r\nhello\r\n0\r\n\r\n";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {Get("/hello", kKeyLine) + Get("/items/x", kKeyLine), "hello"},
      {Post("/echo", std::string(20'000, 'e'), kKeyLine), std::string(20'000, 'e')},
      {chunked, "hello"},
      {Get("/health"), ""},
      {Get("/hello"), ""},
      {"GARBAGE\r\n\r\n", ""},
      {Get("/drop", kKeyLine), ""},
      {Get("/metrics", kKeyLine), ""}};
  int64_t failures = 0;
  for (const auto& [request, expected] : cases) {
    int64_t needed = 1;
    for (int64_t number = 0; number < needed; ++number) {
      FailAllocation(number);
      RawClient client = server.Client();
      client.SetPatience(1000);
      const RawResponse response = client.connected() ? client.Ask(request, "POST") : RawResponse();
      if (response.status == 200 && response.whole && !expected.empty()) {
        EXPECT_EQ(response.body, expected);
      }
      client.Close();
      ASSERT_TRUE(server.HasConnections(0)) << request.substr(0, 40) << number;
      const int64_t made = Allocations();
      FailAllocation(-1);
      if (made > number) {
        needed = number + 2;
        ++failures;
      }
      ASSERT_LT(number, 5000) << "no end";
      ASSERT_TRUE(Lives(server)) << request.substr(0, 40) << number;
    }
  }
  EXPECT_GT(failures, 50) << "nothing was made to fail";
  EXPECT_TRUE(server.HasConnections(0));
}

}  // namespace
}  // namespace dgemma
