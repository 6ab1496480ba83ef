// Bounds on time, connections and bodies over real sockets, at the limit and beside it. Times are made short.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "test_server.h"

namespace dgemma {
namespace {

using std::chrono::milliseconds;

/// A request that stays unfinished: such a connection is busy and cannot be closed to make room.
constexpr std::string_view kHalfHead = "GET /hello HTTP/1.1\r\nHost: local";

TEST(SlowHeaders, TimeIsForTheWholeHead) {
  TestServer server({.limits = {.head_ms = 100, .linger_ms = 100}});
  RawClient client = server.Client();
  const std::string request = Get("/hello");
  const auto begin = std::chrono::steady_clock::now();
  // A byte now and then keeps nothing alive.
  size_t sent = 0;
  for (; sent < request.size() - 1 && std::chrono::steady_clock::now() - begin < milliseconds(150); ++sent) {
    client.Send(request.substr(sent, 1));
    std::this_thread::sleep_for(milliseconds(10));
  }
  EXPECT_LT(sent, request.size() - 1);
  EXPECT_EQ(client.Read().status, 408);
  EXPECT_TRUE(client.EndsWithin(5000));
}

TEST(SlowHeaders, SilenceEndsWithoutWords) {
  TestServer server({.limits = {.head_ms = 50}});
  RawClient client = server.Client();
  EXPECT_EQ(client.ReadAll(), "");
}

TEST(KeepAlive, IdleConnectionsEnd) {
  TestServer server({.limits = {.keep_alive_ms = 50}});
  RawClient client = server.Client();
  EXPECT_EQ(client.Ask(Get("/hello")).status, 200);
  EXPECT_TRUE(client.EndsWithin(5000));
}

TEST(KeepAlive, RequestsOnOneConnectionAreCounted) {
  TestServer server({.limits = {.keep_alive_requests = 3}});
  RawClient client = server.Client();
  EXPECT_FALSE(client.Ask(Get("/hello")).fields.contains("connection"));
  EXPECT_FALSE(client.Ask(Get("/hello")).fields.contains("connection"));
  EXPECT_EQ(client.Ask(Get("/hello")).fields.at("connection"), "close");
  EXPECT_TRUE(client.EndsWithin(5000));
}

TEST(SlowBody, BytesOfEachWindowAreCounted) {
  // 20 ms windows of at least 10 bytes.
  TestServer server({.limits = {.body_window_ms = 40, .body_window_bytes = 10, .linger_ms = 100}});
  RawClient slow = server.Client();
  slow.Send("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n");
  for (int piece = 0; piece < 6; ++piece) {
    slow.Send("x");
    std::this_thread::sleep_for(milliseconds(10));
  }
  EXPECT_EQ(slow.Read("POST").status, 408);
  RawClient steady = server.Client();
  steady.Send("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n");
  for (int piece = 0; piece < 20; ++piece) {
    steady.Send(std::string(50, 'y'));
    std::this_thread::sleep_for(milliseconds(5));
  }
  EXPECT_EQ(steady.Read("POST").status, 200);
}

TEST(BodyLimits, BytesOfOneBody) {
  TestServer server({.limits = {.text_body_bytes = 1000}});
  for (const size_t size : {999U, 1000U, 1001U}) {
    RawClient client = server.Client();
    EXPECT_EQ(client.Ask(Post("/echo", std::string(size, 'b')), "POST").status, size <= 1000 ? 200 : 413) << size;
  }
  // Refused from the head: no byte of the body was sent.
  RawClient client = server.Client();
  EXPECT_EQ(client.Ask("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1001\r\n\r\n", "POST").status, 413);
}

TEST(BodyLimits, TheAnswerReachesAClientThatIsStillSending) {
  TestServer server({.limits = {.text_body_bytes = 1000}});
  RawClient client = server.Client();
  EXPECT_EQ(client.Ask(Post("/echo", std::string(3 << 20, 'b')), "POST").status, 413);
}

TEST(BodyLimits, LingeringIsBounded) {
  TestServer server({.limits = {.linger_ms = 50}});
  RawClient client = server.Client();
  EXPECT_EQ(client.Ask(Post("/nothing", "x"), "POST").status, 404);
  EXPECT_TRUE(client.EndsWithin(5000));
  EXPECT_TRUE(server.HasConnections(0));
}

TEST(BodyLimits, BytesOfAllBodies) {
  for (const size_t size : {499U, 500U, 501U}) {
    TestServer server({.limits = {.all_bodies_bytes = 1000}});
    RawClient holder = server.Client();
    holder.Send(Post("/hold", std::string(500, 'b')));
    ASSERT_TRUE(server.desk.WaitFor(1));
    RawClient client = server.Client();
    const RawResponse response = client.Ask(Post("/echo", std::string(size, 'b')), "POST");
    EXPECT_EQ(response.status, size <= 500 ? 200 : 503) << size;
    // What was held is let go with the answers.
    server.desk.reply(0).Send({.status = 200});
    EXPECT_EQ(holder.Read("POST").status, 200);
    EXPECT_EQ(holder.Ask(Post("/echo", std::string(1000, 'b')), "POST").status, 200);
  }
}

/// How many of `count` busy connections are left open; each from its own address when `spread`.
size_t Busy(const TestServer& server, std::vector<RawClient>& clients, size_t count, std::string_view from) {
  for (size_t number = 0; number < count; ++number) {
    clients.push_back(server.Client(from.empty() ? fmt::format("127.0.1.{}", number + 1) : std::string(from)));
    clients.back().Send(kHalfHead);
    // One after the other, so that the table sees them in this order.
    std::this_thread::sleep_for(milliseconds(2));
  }
  size_t open = 0;
  for (RawClient& client : clients) open += size_t{!client.EndsWithin(5)};
  return open;
}

TEST(ConnectionLimits, Total) {
  for (const size_t count : {3U, 4U, 5U}) {
    TestServer server({.limits = {.connections = 4}});
    std::vector<RawClient> clients;
    EXPECT_EQ(Busy(server, clients, count, ""), std::min<size_t>(count, 4)) << count;
  }
}

TEST(ConnectionLimits, IdleOnesMakeRoom) {
  TestServer server({.limits = {.connections = 4}});
  std::vector<RawClient> idle;
  for (int number = 0; number < 4; ++number) {
    idle.push_back(server.Client());
    EXPECT_EQ(idle.back().Ask(Get("/hello")).status, 200);
    std::this_thread::sleep_for(milliseconds(5));
  }
  RawClient client = server.Client();
  EXPECT_EQ(client.Ask(Get("/health")).status, 200);
  EXPECT_TRUE(idle[0].EndsWithin(5000)) << "the longest idle one";
  EXPECT_EQ(idle[1].Ask(Get("/hello")).status, 200);
}

TEST(ConnectionLimits, PerAddress) {
  for (const size_t count : {2U, 3U, 4U}) {
    TestServer server({.limits = {.connections_per_address = 3}});
    std::vector<RawClient> clients;
    EXPECT_EQ(Busy(server, clients, count, "127.0.0.1"), std::min<size_t>(count, 3)) << count;
    RawClient other = server.Client("127.0.0.2");
    EXPECT_EQ(other.Ask(Get("/hello")).status, 200);
    clients.clear();
    ASSERT_TRUE(server.HasConnections(1));
    RawClient again = server.Client("127.0.0.1");
    EXPECT_EQ(again.Ask(Get("/hello")).status, 200) << "closed ones do not count";
  }
}

TEST(ConnectionLimits, WithoutKey) {
  KeyRing keys;
  ASSERT_TRUE(keys.Add("alice", "alice-key"));
  for (const size_t count : {2U, 3U, 4U}) {
    TestServer server({.limits = {.connections_without_key = 3}, .keys = keys});
    std::vector<RawClient> keyed;
    for (int number = 0; number < 8; ++number) {
      keyed.push_back(server.Client());
      EXPECT_EQ(keyed.back().Ask(Get("/hello", "X-Api-Key: alice-key\r\n")).status, 200);
    }
    std::vector<RawClient> clients;
    EXPECT_EQ(Busy(server, clients, count, ""), std::min<size_t>(count, 3)) << count;
    for (RawClient& client : keyed) {
      EXPECT_EQ(client.Ask(Get("/hello", "X-Api-Key: alice-key\r\n")).status, 200);
    }
  }
}

TEST(ConnectionLimits, SlowHeadsYieldToWhoeverComes) {
  KeyRing keys;
  ASSERT_TRUE(keys.Add("alice", "alice-key"));
  for (const bool keyed : {false, true}) {
    TestServer server({.limits = {.connections = keyed ? 100U : 4U, .connections_without_key = 4, .head_yield_ms = 800},
                       .keys = keyed ? keys : KeyRing()});
    std::vector<RawClient> slow;
    EXPECT_EQ(Busy(server, slow, 4, ""), 4U);
    RawClient early = server.Client();
    EXPECT_EQ(early.Ask(Get("/hello", "X-Api-Key: alice-key\r\n")).status, 0) << "no head is slow yet";
    std::this_thread::sleep_for(milliseconds(820));
    RawClient client = server.Client();
    EXPECT_EQ(client.Ask(Get("/hello", "X-Api-Key: alice-key\r\n")).status, 200);
    EXPECT_TRUE(slow[0].EndsWithin(5000)) << "the slowest";
    EXPECT_FALSE(slow[3].EndsWithin(5));
  }
}

TEST(Limits, AreThoseOfTheTable) {
  const ServerLimits limits;
  EXPECT_EQ(limits.head_bytes, 16U * 1024);
  EXPECT_EQ(limits.text_body_bytes, 2U * 1024 * 1024);
  EXPECT_EQ(limits.image_body_bytes, 20U * 1024 * 1024);
  EXPECT_EQ(limits.body_window_bytes * 1000, 1024U * static_cast<size_t>(limits.body_window_ms)) << "1 KiB/s";
}

}  // namespace
}  // namespace dgemma
