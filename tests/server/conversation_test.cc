// Requests and answers over a real socket: framing, keep-alive, pipelining, what a malformed request gets.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <string>
#include <thread>
#include <vector>

#include "files/json.h"
#include "test_server.h"

namespace dgemma {
namespace {

TEST(Conversation, AnswersAndKeepsTheConnection) {
  const TestServer server;
  RawClient client = server.Client();
  for (int round = 0; round < 3; ++round) {
    const RawResponse response = client.Ask(Get("/hello"));
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.body, "hello");
    EXPECT_EQ(response.fields.at("content-type"), "text/plain");
    EXPECT_EQ(response.fields.at("x-content-type-options"), "nosniff");
    EXPECT_EQ(response.fields.at("cache-control"), "no-store");
    EXPECT_TRUE(response.fields.contains("date"));
    EXPECT_FALSE(response.fields.contains("connection"));
    EXPECT_FALSE(response.fields.contains("access-control-allow-origin"));
  }
}

TEST(Conversation, RequestIdsDifferAndAreLogged) {
  TestServer server;
  RawClient client = server.Client();
  const std::string first = client.Ask(Get("/items/c4n4ry?q=c4n4ry", "X-Secret: c4n4ry\r\n")).fields.at("x-request-id");
  const std::string second = client.Ask(Post("/echo", "c4n4ry")).fields.at("x-request-id");
  EXPECT_NE(first, second);
  client.Close();
  ASSERT_TRUE(server.HasConnections(0));
  const std::vector<std::string> log = server.Log();
  ASSERT_EQ(log.size(), 2U);
  EXPECT_TRUE(log[0].starts_with(first + " GET /items/{id} 200 ")) << log[0];
  EXPECT_TRUE(log[1].starts_with(second + " POST /echo 200 ")) << log[1];
  for (const std::string& line : log) EXPECT_EQ(line.find("c4n4ry"), std::string::npos) << line;
}

TEST(Conversation, PipelinedRequestsAreAnsweredInOrder) {
  TestServer server;
  RawClient client = server.Client();
  std::string requests;
  for (int number = 0; number < 50; ++number) {
    requests += Post("/echo", fmt::format("body {}", number)) + Get(fmt::format("/items/{}", number));
  }
  std::thread sender([&] { client.Send(requests); });
  for (int number = 0; number < 50; ++number) {
    EXPECT_EQ(client.Read("POST").body, fmt::format("body {}", number));
    EXPECT_EQ(client.Read().body, fmt::format("{}", number));
  }
  sender.join();
}

TEST(Conversation, BytesMayComeOneByOne) {
  const TestServer server;
  RawClient client = server.Client();
  const std::string request =
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsplt\r\n3\r\nest\r\n0\r\n\r\n";
  for (const char byte : request) {
    client.Send(std::string_view(&byte, 1));
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  EXPECT_EQ(client.Read("POST").body, "spltest");
  for (size_t at = 1; at < request.size(); at += 7) {
    client.Send(request.substr(0, at));
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    client.Send(request.substr(at));
    EXPECT_EQ(client.Read("POST").body, "spltest") << at;
  }
}

TEST(Conversation, HeadHasTheLengthAndNoBody) {
  const TestServer server;
  RawClient client = server.Client();
  const RawResponse head = client.Ask("HEAD /hello HTTP/1.1\r\nHost: localhost\r\n\r\n", "HEAD");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.fields.at("content-length"), "5");
  EXPECT_EQ(client.Ask(Get("/hello")).body, "hello");
}

TEST(Conversation, ContinueIsSentBeforeTheBody) {
  const TestServer server;
  RawClient client = server.Client();
  const std::string head = "POST /echo HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: ";
  EXPECT_EQ(client.Ask(head + "4\r\n\r\n").status, 100);
  EXPECT_EQ(client.Ask("body").body, "body");
  // Refused before the body is sent.
  EXPECT_EQ(client.Ask(head + "99999999\r\n\r\n").status, 413);
}

TEST(Conversation, OldClientsGetTheirWay) {
  const TestServer server;
  RawClient client = server.Client();
  RawResponse response = client.Ask("GET /hello HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_EQ(response.fields.at("connection"), "keep-alive");
  response = client.Ask("GET /hello HTTP/1.0\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(response.body, "hello");
  EXPECT_EQ(response.fields.at("connection"), "close");
  EXPECT_TRUE(client.EndsWithin(5000));
}

TEST(Conversation, CloseIsHonoured) {
  const TestServer server;
  RawClient client = server.Client();
  EXPECT_EQ(client.Ask(Get("/hello", "Connection: close\r\n")).fields.at("connection"), "close");
  EXPECT_TRUE(client.EndsWithin(5000));
}

TEST(Conversation, AnEndOfTheClientsSideDoesNotLoseItsAnswer) {
  const TestServer server;
  RawClient client = server.Client();
  client.Send(Get("/hello"));
  ::shutdown(client.descriptor(), SHUT_WR);
  EXPECT_EQ(client.Read().body, "hello");
}

TEST(Conversation, MalformedRequestsGetAnErrorAndTheEnd) {
  const TestServer server;
  for (const char* request :
       {"NONSENSE\r\n\r\n", "GET / HTTP/1.1\r\nHost: localhost\r\nHost: b\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n"}) {
    RawClient client = server.Client();
    const RawResponse response = client.Ask(request);
    EXPECT_EQ(response.status, 400) << request;
    EXPECT_EQ(response.fields.at("connection"), "close");
    EXPECT_EQ(ParseJson(response.body)->at("error").at("type"), "invalid_request_error");
    EXPECT_EQ(client.ReadAll(), "") << "nothing of what follows is taken for a request";
  }
  RawClient tls = server.Client();
  EXPECT_EQ(tls.Ask("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").status, 400);
}

TEST(Conversation, ABodyOnARouteWithoutOneIsRefused) {
  const TestServer server;
  RawClient client = server.Client();
  const RawResponse response = client.Ask("GET /hello HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx");
  EXPECT_EQ(response.status, 413);
  EXPECT_TRUE(client.EndsWithin(5000));
}

TEST(Conversation, AHandlerThatFailsOrForgetsIsAnInternalError) {
  const TestServer server;
  RawClient client = server.Client();
  for (const char* path : {"/throw", "/drop"}) {
    const RawResponse response = client.Ask(Get(path));
    EXPECT_EQ(response.status, 500) << path;
    EXPECT_EQ(ParseJson(response.body)->at("error").at("message"), "internal error");
  }
  EXPECT_EQ(client.Ask(Get("/hello")).status, 200);
}

TEST(Conversation, LargeAnswersArriveWhole) {
  const TestServer server;
  RawClient client = server.Client();
  const RawResponse response = client.Ask(Get("/big"));
  EXPECT_TRUE(response.whole);
  EXPECT_EQ(response.body, std::string(4 << 20, 'b'));
}

TEST(Conversation, CountsWhatItDoes) {
  TestServer server;
  RawClient client = server.Client();
  client.Ask(Get("/hello"));
  client.Ask(Get("/hello"));
  client.Ask(Get("/nothing"));
  client.Ask(Get("/drop"));
  const RawResponse scraped = client.Ask(Get("/metrics"));
  EXPECT_EQ(scraped.fields.at("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  const std::string text = scraped.body;
  for (const char* line : {"dgemma_connections 1\n", "dgemma_connections_accepted_total 1\n",
                           "dgemma_responses_total{class=\"2xx\"} 2\n", "dgemma_responses_total{class=\"4xx\"} 1\n",
                           "dgemma_responses_total{class=\"5xx\"} 1\n", "dgemma_request_seconds_count 3\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << text;
  }
}

TEST(Conversation, KeysAreAskedForOverTheWire) {
  KeyRing keys;
  ASSERT_TRUE(keys.Add("alice", "alice-key"));
  TestServer server({.keys = keys});
  RawClient client = server.Client();
  EXPECT_EQ(client.Ask(Get("/health")).status, 200);
  EXPECT_EQ(client.Ask(Get("/hello", "X-Api-Key: alice-key\r\n")).status, 200);
  EXPECT_EQ(client.Ask(Get("/hello", "Authorization: Bearer alice-key\r\n")).status, 200);
  EXPECT_EQ(client.Ask(Get("/metrics")).status, 401);
  EXPECT_TRUE(client.EndsWithin(5000)) << "one guess a connection";
  const std::vector<std::string> log = server.Log();
  ASSERT_GE(log.size(), 2U);
  EXPECT_TRUE(log[1].ends_with(" key=alice")) << log[1];
  for (const std::string& line : log) EXPECT_EQ(line.find("alice-key"), std::string::npos);
}

TEST(Conversation, HealthIsAnsweredFromFigures) {
  TestServer server;
  RawClient client = server.Client();
  RawResponse response = client.Ask(Get("/health"));
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(ParseJson(response.body)->at("status"), "ok");
  server.SetEngine(
      {.loaded = true, .active = 1, .stalled_seconds = 10.5, .pass_age_seconds = 12, .longest_pass_seconds = 1});
  response = client.Ask(Get("/v1/health"));
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(ParseJson(response.body)->at("status"), "no progress");
  EXPECT_EQ(ParseJson(response.body)->at("last_pass_age_ms"), 12'000);
  EXPECT_EQ(client.Ask(Get("/readyz")).status, 503);
  EXPECT_EQ(client.Ask(Get("/livez")).status, 200);
  server.SetEngine({});
  response = client.Ask(Get("/health"));
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(ParseJson(response.body)->at("error").at("message"), "Loading model");
}

}  // namespace
}  // namespace dgemma
