// The orderly end: what is under way finishes, what is new is refused, what does not finish is told why.
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>

#include "test_server.h"

namespace dgemma {
namespace {

using std::chrono::milliseconds;

TEST(Drain, AnIdleServerEndsAtOnce) {
  const TestServer server({.limits = {.linger_ms = 50}});
  RawClient idle = server.Client();
  EXPECT_EQ(idle.Ask(Get("/hello")).status, 200);
  server.server->Drain();
  server.server->Wait();
  EXPECT_TRUE(idle.EndsWithin(5000));
  EXPECT_FALSE(server.Client().connected());
  EXPECT_TRUE(server.server->draining());
  server.server->Drain();
  server.server->Wait();
}

TEST(Drain, AnswersUnderWayFinish) {
  TestServer server({.limits = {.linger_ms = 50}});
  RawClient client = server.Client();
  client.Send(Get("/hold"));
  ASSERT_TRUE(server.desk.WaitFor(1));
  const ResponseStream stream = server.desk.reply(0).Stream({});
  stream.Write("begin ");
  server.server->Drain();
  std::this_thread::sleep_for(milliseconds(30));
  EXPECT_FALSE(server.Client().connected());
  EXPECT_TRUE(stream.Write("end"));
  EXPECT_EQ(stream.reason(), StopReason::kNone);
  stream.End();
  const RawResponse response = client.Read();
  EXPECT_EQ(response.body, "begin end");
  EXPECT_TRUE(response.whole);
  EXPECT_TRUE(client.EndsWithin(5000));
  server.server->Wait();
}

TEST(Drain, ARequestThatIsStillComingIsRefused) {
  TestServer server;
  RawClient client = server.Client();
  client.Send("GET /hello HTTP/1.1\r\nHost: local");
  std::this_thread::sleep_for(milliseconds(30));
  server.server->Drain();
  std::this_thread::sleep_for(milliseconds(30));
  const RawResponse response = client.Ask("host\r\n\r\n");
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(response.fields.at("retry-after"), "10");
  client.Close();
  server.server->Wait();
}

TEST(Drain, AnswersThatTakeTooLongAreToldAndSayWhy) {
  TestServer server({.limits = {.drain_ms = 50}});
  RawClient client = server.Client();
  client.Send(Get("/hold"));
  ASSERT_TRUE(server.desk.WaitFor(1));
  const ResponseStream stream = server.desk.reply(0).Stream({});
  stream.Write("part, ");
  const std::stop_callback told(stream.stop(), [&] {
    stream.Write(Name(stream.reason()));
    stream.End();
  });
  server.server->Drain();
  const RawResponse response = client.Read();
  EXPECT_EQ(response.body, "part, shutdown");
  EXPECT_TRUE(response.whole);
  client.Close();
  server.server->Wait();
  EXPECT_NE(server.metrics.Text().find("dgemma_requests_stopped_total{reason=\"shutdown\"} 1\n"), std::string::npos);
}

TEST(Drain, AnswersThatDoNotListenAreCut) {
  TestServer server({.limits = {.stop_grace_ms = 30, .drain_ms = 30}});
  RawClient client = server.Client();
  client.Send(Get("/hold"));
  ASSERT_TRUE(server.desk.WaitFor(1));
  const ResponseStream stream = server.desk.reply(0).Stream({});
  server.server->Drain();
  server.server->Wait();
  EXPECT_FALSE(stream.Write("late"));
}

TEST(Destruction, EndsEverythingAndLeavesRepliesHarmless) {
  auto server = std::make_unique<TestServer>();
  RawClient streaming = server->Client();
  RawClient waiting = server->Client();
  RawClient halfway = server->Client();
  streaming.Send(Get("/hold"));
  waiting.Send(Get("/hold"));
  halfway.Send("GET /he");
  ASSERT_TRUE(server->desk.WaitFor(2));
  const ResponseStream stream = server->desk.reply(0).Stream({});
  const Reply reply = server->desk.reply(1);
  std::jthread writer([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) stream.Write("x");
  });
  server = nullptr;
  EXPECT_FALSE(stream.Write("x"));
  EXPECT_TRUE(reply.stop().stop_requested());
  reply.Send({.status = 200});
}

}  // namespace
}  // namespace dgemma
