// The service over real HTTP with a scripted model: thoughts and calls as models write them, aborts, deadlines, refusals,
// watchers.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <functional>
#include <tuple>

#include "raw_client.h"
#include "wire_schema.h"
#include "wire_scripted.h"

namespace dgemma {
namespace {

using namespace test;
using std::chrono::milliseconds;

/// Waits up to ten seconds.
bool Eventually(const std::function<bool()>& holds) {
  for (int waited = 0; waited < 10'000; ++waited) {
    if (holds()) return true;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return false;
}

class Service : public testing::Test {
 protected:
  RawResponse Ask(const std::string& path, const std::string& body) {
    return RawClient(server_->port()).Ask(Post(path, body), "POST");
  }
  json::value Chat(const std::string& text, const std::string& more = "") {
    const RawResponse response = Ask("/v1/chat/completions", Body(text, more));
    EXPECT_EQ(response.status, 200) << response.body;
    return Parsed(response.body);
  }
  static std::string Body(const std::string& text, const std::string& more = "") {
    const json::object message{{"role", "user"}, {"content", text}};
    return R"({"messages":[)" + json::serialize(message) + "]" + more + "}";
  }
  static std::string Content(const json::value& whole) {
    const json::value& content = whole.at("choices").at(0).at("message").at("content");
    return content.is_string() ? std::string(content.get_string()) : "null";
  }
  void Restart(const ScriptedServerOptions& options) {
    server_.reset();
    server_ = std::make_unique<ScriptedServer>(options);
  }

  std::unique_ptr<ScriptedServer> server_ = std::make_unique<ScriptedServer>();
};

constexpr const char* kTools = R"(,"tools":[{"type":"function","function":{"name":"weather","parameters":
    {"type":"object","properties":{"city":{"type":"string"}}}}}])";

TEST_F(Service, ThoughtTextAndCallsArePartsOfAMessage) {
  const json::value whole = Chat(
      "[think]plan it[/think]Hello[call]weather{city:[q]Oslo[q]}[/call][call]weather{city:[q]Rome[q]}[/call]", kTools);
  ExpectShape(whole, kChat);
  const json::value& message = whole.at("choices").at(0).at("message");
  EXPECT_EQ(message.at("reasoning_content"), "plan it");
  EXPECT_EQ(message.at("content"), "Hello");
  ASSERT_EQ(message.at("tool_calls").get_array().size(), 2U);
  EXPECT_EQ(message.at("tool_calls").at(1).at("function").at("arguments"), R"({"city":"Rome"})");
  EXPECT_NE(message.at("tool_calls").at(0).at("id"), message.at("tool_calls").at(1).at("id"));
  EXPECT_EQ(whole.at("choices").at(0).at("finish_reason"), "tool_calls");
}

TEST_F(Service, AToolsResultIsRead) {
  const RawResponse response = Ask("/v1/chat/completions", R"({"messages":[
      {"role":"user","content":"[call]weather{city:[q]Oslo[q]}[/call]"},
      {"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"weather",
       "arguments":"{\"city\":\"Oslo\"}"}}]},
      {"role":"tool","tool_call_id":"c","content":"rain"}])" + std::string(kTools) +
                                                               "}");
  EXPECT_EQ(Content(Parsed(response.body)), "result: rain");
}

TEST_F(Service, DeltasOfAStreamAreTheWholeAnswer) {
  const std::string text =
      "A long answer of several canvases, with accents: \u00e9\u00e8\u00fc \u4f60\u597d, and lines\nof it.";
  EXPECT_EQ(Content(Chat(text)), text);
  const RawResponse response = Ask("/v1/chat/completions", Body(text, R"(,"stream":true)"));
  EXPECT_EQ(response.fields.at("content-type"), "text/event-stream");
  std::string content;
  for (const SseEventRead& event : ReadSse(response.body)) {
    if (event.data == "[DONE]") continue;
    const json::value chunk = Parsed(event.data);
    const json::object& delta = chunk.at("choices").at(0).at("delta").get_object();
    if (delta.contains("content")) content += delta.at("content").get_string().c_str();
  }
  EXPECT_EQ(content, text);
}

TEST_F(Service, TheRoleComesBeforeTheFirstPass) {
  server_->passes->milliseconds = 3000;
  RawClient client(server_->port());
  const auto begin = std::chrono::steady_clock::now();
  client.Send(Post("/v1/chat/completions", Body("hi", R"(,"stream":true)")));
  const std::string first = client.ReadAll(300);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, milliseconds(2000));
  EXPECT_NE(first.find("text/event-stream"), std::string::npos);
}

TEST_F(Service, AStopStringEndsTheEnginesWork) {
  const std::string text = "one two STOP " + std::string(800, 'x');
  server_->passes->passes = 0;
  const json::value whole = Chat(text, R"(,"stop":["STOP"])");
  EXPECT_EQ(Content(whole), "one two ");
  EXPECT_EQ(whole.at("choices").at(0).at("finish_reason"), "stop");
  EXPECT_EQ(whole.at("timings").at("ended_by"), "stop_string");
  EXPECT_LT(server_->passes->passes, 10) << "the canvases behind it are not written";
  EXPECT_LT(whole.at("usage").at("completion_tokens").to_number<int64_t>(), 12) << "tokens that were sent";
}

TEST_F(Service, ChoicesHaveTheirOwnSeeds) {
  const json::value whole = Chat("hi", R"(,"n":3,"seed":5)");
  ASSERT_EQ(whole.at("choices").get_array().size(), 3U);
  EXPECT_EQ(whole.at("choices").at(2).at("message").at("content"), "hi");
  EXPECT_EQ(whole.at("timings").at("seed"), 5);
}

TEST_F(Service, ADemandedCallThatIsMissingIsAFailure) {
  RawResponse response =
      Ask("/v1/chat/completions", Body("just text", std::string(kTools) + R"(,"tool_choice":"required")"));
  EXPECT_EQ(response.status, 422);
  ExpectShape(Parsed(response.body), kError);
  response = Ask("/v1/chat/completions", Body("chatter[call]weather{city:[q]Oslo[q]}[/call]",
                                              std::string(kTools) + R"(,"tool_choice":"required")"));
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(Content(Parsed(response.body)), "null");
}

TEST_F(Service, ACallThatNobodyDeclaredIsText) {
  EXPECT_EQ(Content(Chat("[call]weather{city:[q]Oslo[q]}[/call]")), R"(call:weather{"city":"Oslo"})");
}

TEST_F(Service, AClientThatGoesAwayFreesItsSlot) {
  server_->passes->milliseconds = 20;
  for (int round = 0; round < 5; ++round) {
    RawClient client(server_->port());
    client.Send(Post("/v1/chat/completions", Body(std::string(900, 'x'), R"(,"stream":true)")));
    ASSERT_TRUE(Eventually([&] { return server_->scheduler->stats().active == 1; }));
    client.Reset();
    ASSERT_TRUE(Eventually([&] { return server_->scheduler->stats().active == 0; }));
  }
  EXPECT_EQ(server_->scheduler->stats().cancelled, 5);
  server_->passes->milliseconds = 0;
  EXPECT_EQ(Content(Chat("still here")), "still here");
}

TEST_F(Service, ALateAnswerKeepsItsText) {
  ScriptedServerOptions options;
  options.limits.request_ms = 1500;
  Restart(options);
  server_->passes->milliseconds = 20;
  const json::value whole = Chat(std::string(1500, 'x'));
  EXPECT_EQ(whole.at("choices").at(0).at("finish_reason"), "length");
  EXPECT_EQ(whole.at("timings").at("ended_by"), "timeout");
  EXPECT_TRUE(Content(whole).starts_with("xxxx"));
}

TEST_F(Service, AFullQueueSaysWhenToComeAgain) {
  ScriptedServerOptions options;
  options.slots = 1;
  options.limits.queue_requests = 1;
  Restart(options);
  server_->passes->milliseconds = 50;
  RawClient first(server_->port()), second(server_->port());
  first.Send(Post("/v1/chat/completions", Body(std::string(900, 'x'))));
  ASSERT_TRUE(Eventually([&] { return server_->scheduler->stats().active == 1; }));
  second.Send(Post("/v1/chat/completions", Body("waits")));
  ASSERT_TRUE(Eventually([&] { return server_->scheduler->stats().queued == 1; }));
  const RawResponse third = Ask("/v1/messages", R"({"max_tokens":5,"messages":[{"role":"user","content":"x"}]})");
  EXPECT_EQ(third.status, 429);
  ExpectShape(Parsed(third.body), kAnthropicError);
  EXPECT_EQ(Parsed(third.body).at("error").at("type"), "rate_limit_error");
  EXPECT_TRUE(third.fields.contains("retry-after"));
}

TEST_F(Service, NumbersThatAreNoneFailTheRequestAlone) {
  server_->passes->poison = true;
  const RawResponse response = Ask("/v1/chat/completions", Body("my secret"));
  EXPECT_EQ(response.status, 500);
  ExpectShape(Parsed(response.body), kError);
  EXPECT_EQ(response.body.find("secret"), std::string::npos);
  server_->passes->poison = false;
  EXPECT_EQ(Content(Chat("fine")), "fine");
}

TEST_F(Service, APromptThatIsTooLongIsRefusedWithBothNumbers) {
  const RawResponse response = Ask("/v1/chat/completions", Body(std::string(5000, 'x')));
  EXPECT_EQ(response.status, 400);
  const json::value error = Parsed(response.body).at("error");
  EXPECT_EQ(error.at("code"), "context_length_exceeded");
  EXPECT_NE(error.at("message").get_string().find("2048"), json::string::npos);
}

TEST_F(Service, ErrorsHaveTheShapeOfTheFamilyAndNoText) {
  const auto error = [&](const std::string& path, const std::string& body) {
    const RawResponse response = Ask(path, body);
    EXPECT_EQ(response.status, 400) << path;
    EXPECT_EQ(response.body.find("canary"), std::string::npos) << response.body;
    return Parsed(response.body);
  };
  for (const char* path : {"/v1/chat/completions", "/v1/completions", "/v1/responses", "/completion", "/tokenize",
                           "/detokenize", "/apply-template"}) {
    ExpectShape(error(path, R"({"canary":"canary","prompt":{"canary":1},"input":7,"content":{},"tokens":"canary",
                                "messages":[{"role":"canary"}]})"),
                kError);
    ExpectShape(error(path, R"({"canary":1,"canary":2})"), kError);
  }
  for (const char* path : {"/v1/messages", "/v1/messages/count_tokens"})
    ExpectShape(error(path, R"({"messages":[{"role":"canary"}]})"), kAnthropicError);
  for (const char* path : {"/api/chat", "/api/generate"})
    EXPECT_TRUE(error(path, R"({"messages":[{"role":"canary"}],"prompt":["canary"]})").at("error").is_string());
}

TEST_F(Service, FramesAreOffUnlessAskedFor) {
  const std::string stream = R"(,"stream":true)";
  EXPECT_EQ(Ask("/v1/chat/completions", Body("hello there", stream)).body.find("diffusion_frame"), std::string::npos);
  const std::string with =
      Ask("/v1/chat/completions", Body("hello there", stream + R"(,"diffusion":{"frames":true,"max_fps":0})")).body;
  EXPECT_NE(with.find("diffusion_frame"), std::string::npos);
  const RawResponse header =
      RawClient(server_->port())
          .Ask(Post("/v1/chat/completions", Body("hi", stream), "X-Diffusion-Frames: 1\r\n"), "POST");
  EXPECT_NE(header.body.find("diffusion_frame"), std::string::npos);
  const RawResponse refused =
      Ask("/v1/messages", R"({"max_tokens":5,"messages":[{"role":"user","content":"x"}],"diffusion":{"frames":true}})");
  EXPECT_EQ(refused.status, 400);
}

TEST_F(Service, DraftsOfAThoughtAreNotTextOfAFrame) {
  const std::string body =
      Ask("/v1/chat/completions", Body("[think]tttttttttttttttttttttttttttttttttttt[/think]answer",
                                       R"(,"stream":true,"diffusion":{"frames":true,"max_fps":0})"))
          .body;
  for (const SseEventRead& event : ReadSse(body)) {
    if (event.data == "[DONE]") continue;
    const json::object chunk = Parsed(event.data).get_object();
    if (chunk.contains("type")) {
      EXPECT_EQ(chunk.at("text").get_string().find("tt"), json::string::npos);
    }
  }
}

TEST_F(Service, ARequestCanBeWatchedWhileItRunsAndAfterwards) {
  server_->passes->milliseconds = 20;
  RawClient client(server_->port());
  client.Send(Post("/v1/messages", R"({"max_tokens":400,"stream":true,"messages":[{"role":"user","content":")" +
                                       std::string(300, 'x') + R"("}]})"));
  const std::string head = client.ReadAll(300);
  const size_t at = head.find("msg_");
  ASSERT_NE(at, std::string::npos) << head;
  const std::string id = head.substr(at, 28);
  RawClient watcher(server_->port());
  const RawResponse live = watcher.Ask(Get("/v1/diffusion/" + id + "/frames?max_fps=0"));
  EXPECT_EQ(live.status, 200);
  const std::vector<SseEventRead> frames = ReadSse(live.body);
  ASSERT_GE(frames.size(), 4U);
  EXPECT_EQ(Parsed(frames.front().data).at("block"), 0) << "from the beginning";
  EXPECT_EQ(Parsed(frames.front().data).at("object"), "diffusion.frame");
  EXPECT_EQ(Parsed(frames[frames.size() - 2].data).at("object"), "diffusion.end");
  EXPECT_EQ(frames.back().data, "[DONE]");
  const RawResponse late = RawClient(server_->port()).Ask(Get("/v1/diffusion/" + id + "/frames?max_fps=0"));
  EXPECT_EQ(ReadSse(late.body).size(), frames.size());
  EXPECT_EQ(RawClient(server_->port()).Ask(Get("/v1/diffusion/msg_unknown/frames")).status, 404);
}

TEST_F(Service, WhoComesLateSeesTheFramesThatOneAtTheTimeSaw) {
  server_->passes->milliseconds = 20;
  const RawResponse live = Ask("/v1/chat/completions", Body(std::string(100, 'x'), R"(,"stream":true)"));
  const auto frames = [](const RawResponse& response) {
    size_t count = 0;
    for (const SseEventRead& event : ReadSse(response.body)) count += event.data.contains("diffusion_frame");
    return count;
  };
  const std::string path = "/v1/diffusion/" + live.fields.at("x-diffusion-id") + "/frames?fields=text&max_fps=";
  RawClient client(server_->port());
  const size_t all = frames(client.Ask(Get(path + "0")));
  EXPECT_GE(all, 10U);
  EXPECT_EQ(frames(client.Ask(Get(path + "100"))), all) << "steps of 20 ms and more are at most 50 a second";
  EXPECT_LT(frames(client.Ask(Get(path + "0.001"))), all);
}

TEST_F(Service, OnlyTheSameKeyMayWatch) {
  ScriptedServerOptions options;
  options.keys = {{"ann", "key-of-ann"}, {"bob", "key-of-bob"}};
  Restart(options);
  const RawResponse answer =
      RawClient(server_->port())
          .Ask(Post("/v1/chat/completions", Body("hi"), "Authorization: Bearer key-of-ann\r\n"), "POST");
  ASSERT_EQ(answer.status, 200) << answer.body;
  const std::string path = "/v1/diffusion/" + answer.fields.at("x-diffusion-id") + "/frames";
  EXPECT_EQ(RawClient(server_->port()).Ask(Get(path, "Authorization: Bearer key-of-ann\r\n")).status, 200);
  EXPECT_EQ(RawClient(server_->port()).Ask(Get(path, "Authorization: Bearer key-of-bob\r\n")).status, 404);
  EXPECT_EQ(RawClient(server_->port()).Ask(Get(path)).status, 401);
}

TEST_F(Service, OtherFamiliesAnswerToo) {
  const json::value message = Parsed(
      Ask("/v1/messages", R"({"max_tokens":50,"messages":[{"role":"user","content":"[think]hm[/think]hello"}]})").body);
  ExpectShape(message, kMessage);
  EXPECT_EQ(message.at("content").at(0).at("thinking"), "hm");
  EXPECT_EQ(message.at("content").at(1).at("text"), "hello");
  const json::value count =
      Parsed(Ask("/v1/messages/count_tokens", R"({"messages":[{"role":"user","content":"hello"}]})").body);
  const json::value usage =
      Parsed(Ask("/v1/messages", R"({"max_tokens":5,"messages":[{"role":"user","content":"hello"}]})").body)
          .at("usage");
  EXPECT_EQ(count.at("input_tokens").to_number<int64_t>(),
            usage.at("input_tokens").to_number<int64_t>() + usage.at("cache_read_input_tokens").to_number<int64_t>());
  const json::value response = Parsed(Ask("/v1/responses", R"({"input":"hello"})").body);
  ExpectShape(response, kResponse);
  EXPECT_EQ(response.at("output").at(0).at("content").at(0).at("text"), "hello");
  const json::value line =
      Parsed(Ask("/api/chat", R"({"stream":false,"messages":[{"role":"user","content":"hello"}]})").body);
  ExpectShape(line, kOllamaLine);
  EXPECT_EQ(line.at("message").at("content"), "hello");
  EXPECT_EQ(Parsed(Ask("/api/chat", R"({"messages":[]})").body).at("done_reason"), "load");
  const std::string prompt(Parsed(Ask("/apply-template", R"({"messages":[{"role":"user","content":"hello"}]})").body)
                               .at("prompt")
                               .get_string());
  const json::value raw = Parsed(Ask("/completion", json::serialize(json::object{{"prompt", prompt}})).body);
  EXPECT_EQ(raw.at("content"), "hello") << "the template's text is the same prompt";
  EXPECT_EQ(Ask("/v1/embeddings", R"({"input":"x"})").status, 501);
}

TEST_F(Service, PathsOfLlamaServerNeedNoV1) {
  ExpectShape(Parsed(Ask("/chat/completions", Body("hello")).body), kChat);
  ExpectShape(Parsed(Ask("/responses", R"({"input":"hello"})").body), kResponse);
  EXPECT_EQ(Parsed(Ask("/completions", R"({"prompt":"x","n_predict":1})").body).at("stop"), true);
  EXPECT_EQ(Ask("/embeddings", R"({"input":"x"})").status, 501);
  RawClient client(server_->port());
  EXPECT_EQ(client.Ask(Get("/models")).body, client.Ask(Get("/v1/models")).body);
}

TEST_F(Service, SaysAVersionThatClientsOfOllamaTake) {
  const json::value said = Parsed(RawClient(server_->port()).Ask(Get("/api/version")).body);
  int major = 0, minor = 0, patch = 0;
  const std::string text(said.at("version").get_string());
  ASSERT_EQ(std::sscanf(text.c_str(), "%d.%d.%d", &major, &minor, &patch), 3) << text;
  EXPECT_GE(std::tuple(major, minor, patch), std::tuple(0, 6, 4)) << "the least of VS Code's Copilot";
  EXPECT_EQ(said.at("dgemma_version"), json::string(Version()));
}

TEST_F(Service, HealthTellsOfAFrozenEngineAtOnceAndOfItsReturn) {
  RawClient watcher(server_->port());
  EXPECT_EQ(watcher.Ask(Get("/health")).status, 200);
  server_->passes->frozen = true;
  RawClient asker(server_->port());
  asker.Send(Post("/v1/chat/completions", Body("hello")));
  ASSERT_TRUE(Eventually([&] { return server_->passes->passes > 0; }));
  EXPECT_EQ(watcher.Ask(Get("/health")).status, 200) << "a pass may take its time";
  server_->clock_ahead = milliseconds(11'000);
  for (int again = 0; again < 20; ++again) {
    const auto asked = std::chrono::steady_clock::now();
    const RawResponse response = watcher.Ask(Get("/health"));
    EXPECT_LT(std::chrono::steady_clock::now() - asked, std::chrono::seconds(2)) << "waits for the engine";
    ASSERT_EQ(response.status, 503);
    const json::value health = Parsed(response.body);
    EXPECT_EQ(health.at("status"), "no progress");
    EXPECT_EQ(health.at("active"), 1);
    EXPECT_GE(health.at("last_pass_age_ms").to_number<double>(), 11'000);
  }
  EXPECT_EQ(watcher.Ask(Get("/readyz")).status, 503);
  EXPECT_EQ(watcher.Ask(Get("/livez")).status, 200);
  server_->passes->frozen = false;
  EXPECT_EQ(Content(Parsed(asker.Read().body)), "hello");
  EXPECT_EQ(watcher.Ask(Get("/health")).status, 200);
}

TEST_F(Service, TokensThereAndBack) {
  const std::string text = "caf\u00e9 <|turn> x";
  for (const char* special : {"true", "false"}) {
    const json::object body{{"content", text}, {"parse_special", std::string_view(special) == "true"}};
    const json::value tokens = Parsed(Ask("/tokenize", json::serialize(body)).body);
    EXPECT_EQ(Parsed(Ask("/detokenize", json::serialize(tokens)).body).at("content"), json::string(text));
  }
  const RawResponse unknown = Ask("/detokenize", R"({"tokens":[512]})");
  EXPECT_EQ(unknown.status, 400);
}

}  // namespace
}  // namespace dgemma
