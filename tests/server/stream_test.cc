// Answers in pieces, written by other threads: order, pings, clients that go or do not read, answers told to stop.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "server/exchange.h"
#include "test_server.h"

namespace dgemma {
namespace {

using std::chrono::milliseconds;

bool StopsWithin(const std::stop_token& stop, int patience_ms) {
  for (int waited = 0; waited < patience_ms; ++waited) {
    if (stop.stop_requested()) return true;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return stop.stop_requested();
}

TEST(Stream, ArrivesInOrderFromAnotherThread) {
  TestServer server;
  RawClient client = server.Client();
  client.Send(Get("/hold"));
  ASSERT_TRUE(server.desk.WaitFor(1));
  std::string expected;
  std::thread writer([&] {
    const ResponseStream stream = server.desk.reply(0).Stream({});
    for (int number = 0; number < 2000; ++number) {
      const std::string event = SseEvent(std::to_string(number));
      expected += event;
      EXPECT_TRUE(stream.Write(event));
    }
    stream.End();
    EXPECT_FALSE(stream.Write("too late"));
  });
  const RawResponse response = client.Read();
  writer.join();
  EXPECT_TRUE(response.whole);
  EXPECT_EQ(response.body, expected);
  EXPECT_EQ(response.fields.at("content-type"), "text/event-stream");
  EXPECT_EQ(response.fields.at("transfer-encoding"), "chunked");
  EXPECT_EQ(client.Ask(Get("/hello")).body, "hello") << "the connection goes on";
}

TEST(Stream, TheHeadComesAtOnceAndPingsFillTheWait) {
  TestServer server;
  RawClient client = server.Client();
  client.Send(Get("/hold"));
  ASSERT_TRUE(server.desk.WaitFor(1));
  const ResponseStream stream = server.desk.reply(0).Stream({.ping_ms = 5, .ping = SsePing()});
  std::this_thread::sleep_for(milliseconds(60));
  stream.Write(SseEvent("x"));
  stream.End();
  const RawResponse response = client.Read();
  EXPECT_TRUE(response.body.starts_with(": ping\n\n: ping\n\n")) << response.body;
  EXPECT_TRUE(response.body.ends_with("data: x\n\n")) << response.body;
}

TEST(Stream, OldClientsGetItUntilTheEnd) {
  TestServer server;
  RawClient client = server.Client();
  client.Send("GET /hold HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n");
  ASSERT_TRUE(server.desk.WaitFor(1));
  const ResponseStream stream = server.desk.reply(0).Stream({.content_type = std::string(kNdjsonType)});
  stream.Write(NdjsonLine("{}"));
  stream.End();
  const RawResponse response = client.Read();
  EXPECT_EQ(response.body, "{}\n");
  EXPECT_FALSE(response.fields.contains("transfer-encoding"));
  EXPECT_EQ(response.fields.at("connection"), "close");
}

TEST(Stream, HeadOfAStreamHasNoBody) {
  TestServer server;
  RawClient client = server.Client();
  client.Send("HEAD /hold HTTP/1.1\r\nHost: localhost\r\n\r\n");
  ASSERT_TRUE(server.desk.WaitFor(1));
  const ResponseStream stream = server.desk.reply(0).Stream({});
  EXPECT_EQ(client.Read("HEAD").status, 200);
  EXPECT_TRUE(StopsWithin(stream.stop(), 5000));
  EXPECT_EQ(client.Ask(Get("/hello")).body, "hello");
}

TEST(Stream, AbandonedOnesAreSeenToBeCut) {
  TestServer server;
  RawClient client = server.Client();
  client.Send(Get("/hold"));
  ASSERT_TRUE(server.desk.WaitFor(1));
  server.desk.reply(0).Stream({}).Write("some");
  server.desk.Clear();
  const RawResponse response = client.Read();
  EXPECT_EQ(response.body, "some");
  EXPECT_FALSE(response.whole);
}

TEST(Stream, TheFirstAnswerCounts) {
  TestServer server;
  RawClient client = server.Client();
  client.Send(Get("/hold"));
  ASSERT_TRUE(server.desk.WaitFor(1));
  const Reply reply = server.desk.reply(0);
  reply.Send({.status = 200, .content_type = "text/plain", .body = "first"});
  reply.Send({.status = 500});
  EXPECT_FALSE(reply.Stream({}).Write("x"));
  EXPECT_EQ(client.Read().body, "first");
  EXPECT_EQ(client.Ask(Get("/hello")).body, "hello");
}

TEST(Disconnect, IsToldBeforeAndWhileStreaming) {
  TestServer server;
  for (const bool streaming : {false, true}) {
    for (const bool hard : {false, true}) {
      server.desk.Clear();
      RawClient client = server.Client();
      client.Send(Get("/hold"));
      ASSERT_TRUE(server.desk.WaitFor(1));
      const Reply reply = server.desk.reply(0);
      std::optional<ResponseStream> stream;
      if (streaming) {
        stream = reply.Stream({});
        stream->Write("x");
      }
      EXPECT_FALSE(reply.stop().stop_requested());
      hard ? client.Reset() : client.Close();
      EXPECT_TRUE(StopsWithin(reply.stop(), 5000));
      EXPECT_EQ(reply.reason(), StopReason::kClientGone);
      if (streaming) {
        EXPECT_FALSE(stream->Write("y"));
      }
    }
  }
  EXPECT_TRUE(server.HasConnections(0));
}

TEST(SlowReader, IsCancelledWhenItsBufferIsFull) {
  TestServer server({.limits = {.stream_bytes = 1 << 20}});
  RawClient client = server.Client();
  client.Send(Get("/hold"));
  ASSERT_TRUE(server.desk.WaitFor(1));
  const ResponseStream stream = server.desk.reply(0).Stream({});
  const std::string piece(65'536, 'p');
  size_t written = 0;
  while (written < (1U << 30) && stream.Write(piece)) written += piece.size();
  EXPECT_LT(written, 1U << 30);
  EXPECT_EQ(stream.reason(), StopReason::kTooSlow);
  EXPECT_TRUE(server.HasConnections(0)) << "long before the stall is one";
}

TEST(SlowReader, IsCancelledWhenItTakesNothing) {
  TestServer server({.limits = {.write_stall_ms = 50}});
  RawClient client = server.Client();
  client.Send(Get("/big"));
  EXPECT_TRUE(server.HasConnections(0));
}

TEST(SlowReader, ThatTakesSomethingIsServed) {
  TestServer server({.limits = {.write_stall_ms = 600}});
  RawClient client = server.Client();
  client.Send(Get("/big", "Connection: close\r\n"));
  std::this_thread::sleep_for(milliseconds(100));
  std::string all;
  while (all.size() < (4U << 20)) {
    const std::string more = client.ReadAll(256 << 10);
    if (more.empty()) break;
    all += more;
    std::this_thread::sleep_for(milliseconds(60));
  }
  EXPECT_GE(all.size(), 4U << 20);
}

TEST(Deadline, LetsTheAnswerSayWhy) {
  TestServer server({.limits = {.request_ms = 30}});
  RawClient client = server.Client();
  client.Send(Get("/hold"));
  ASSERT_TRUE(server.desk.WaitFor(1));
  const ResponseStream stream = server.desk.reply(0).Stream({});
  ASSERT_TRUE(StopsWithin(stream.stop(), 5000));
  EXPECT_EQ(stream.reason(), StopReason::kDeadline);
  EXPECT_TRUE(stream.Write("timeout"));
  stream.End();
  const RawResponse response = client.Read();
  EXPECT_EQ(response.body, "timeout");
  EXPECT_TRUE(response.whole);
}

TEST(Deadline, CutsAnAnswerThatDoesNotStop) {
  TestServer server({.limits = {.request_ms = 20, .stop_grace_ms = 20}});
  RawClient client = server.Client();
  client.Send(Get("/hold"));
  ASSERT_TRUE(server.desk.WaitFor(1));
  EXPECT_TRUE(client.EndsWithin(5000));
  EXPECT_FALSE(server.desk.reply(0).Stream({}).Write("late"));
}

TEST(Exchange, StreamBytesAtTheLimitAndBeside) {
  for (const int beside : {-1, 0, 1}) {
    Exchange exchange(100);
    exchange.Begin({});
    EXPECT_TRUE(exchange.Write(std::string(50, 'x')));
    EXPECT_EQ(exchange.Write(std::string(static_cast<size_t>(50 + beside), 'x')), beside <= 0) << beside;
    EXPECT_EQ(exchange.stop().stop_requested(), beside > 0);
  }
  Exchange exchange(100);
  EXPECT_TRUE(exchange.Write(std::string(100, 'x')));
  EXPECT_EQ(exchange.Take(60).bytes.size(), 60U);
  EXPECT_EQ(exchange.Take(60).bytes.size(), 40U);
  EXPECT_EQ(exchange.reason(), StopReason::kNone);
  exchange.Taken(60);
  EXPECT_TRUE(exchange.Write(std::string(60, 'x'))) << "taken bytes make room";
  EXPECT_FALSE(exchange.Write("x"));
}

TEST(Exchange, StopCallbacksMayWrite) {
  Exchange exchange(100);
  const std::stop_callback last_words(exchange.stop(), [&] {
    EXPECT_TRUE(exchange.Write("bye"));
    exchange.End();
  });
  exchange.Stop(StopReason::kShutdown);
  const Exchange::Output output = exchange.Take(100);
  EXPECT_EQ(output.bytes, "bye");
  EXPECT_TRUE(output.ended);
  EXPECT_FALSE(output.abandoned);
}

TEST(StreamForms, AreWhatClientsParse) {
  EXPECT_EQ(SseEvent("{\"a\":1}"), "data: {\"a\":1}\n\n");
  EXPECT_EQ(SseEvent("{}", "message_start"), "event: message_start\ndata: {}\n\n");
  EXPECT_EQ(SseEvent("a\nb"), "data: a\ndata: b\n\n");
  EXPECT_EQ(SseEvent(""), "data: \n\n");
  EXPECT_EQ(SsePing(), ": ping\n\n");
  EXPECT_EQ(NdjsonLine("{}"), "{}\n");
}

}  // namespace
}  // namespace dgemma
