// Answers of every family, whole and as streams: the members that clients need, and the same content in both forms.
#include <gtest/gtest.h>

#include <functional>

#include "server/anthropic.h"
#include "server/llama_server.h"
#include "server/ollama.h"
#include "server/openai_chat.h"
#include "server/openai_completions.h"
#include "server/openai_responses.h"
#include "wire_schema.h"

namespace dgemma {
namespace {

using namespace test;

/// An answer told to any sink.
using Story = std::function<void(CompletionSink&)>;

EndOfAnswer End(EndKind kind) {
  EndOfAnswer end;
  end.kind = kind;
  end.figures.prompt_tokens = 20;
  end.figures.cached_tokens = 5;
  end.figures.answer_tokens = 9;
  end.figures.canvases = 2;
  end.figures.denoise_passes = 8;
  end.figures.total_seconds = 0.5;
  end.figures.seed = 3;
  end.thought_tokens = 4;
  end.canvas_tokens = 512;
  return end;
}

struct Told {
  std::string stream;  ///< bytes
  json::value whole;
};

Told Tell(const WireFamily& family, CompletionRequest request, const Story& story) {
  request.delivery = Delivery::kStream;
  const CompletionHead head{
      .id = std::string(family.id_prefix) + "0123", .model = "m", .created = 1'700'000'000, .request = &request};
  const auto stream = family.stream(head);
  stream->OnBegin(20);
  story(*stream);
  CompletionCollector collector(request.answers());
  story(collector);
  stream->OnFinish(EndsOf(collector.result()));
  return {stream->Take(), Parsed(family.whole(head, collector.result()))};
}

void Everything(CompletionSink& sink) {
  sink.OnThought(0, "hm ");
  sink.OnThought(0, "\u00e9");
  sink.OnText(0, "Hello ");
  sink.OnText(0, "\"world\"\n");
  sink.OnToolCall(0, {"f", R"({"k":[1,"x"]})", "call_1"});
  sink.OnToolCall(0, {"g", "{}", "call_2"});
  sink.OnAnswerEnd(0, End(EndKind::kToolCalls));
}

CompletionRequest Plain() {
  CompletionRequest request;
  request.prompts = {std::string("p")};
  return request;
}

TEST(OpenAiChatWire, StreamAndWholeSayTheSame) {
  CompletionRequest request;
  request.stream_usage = true;
  const Told told = Tell(OpenAiChat(), request, Everything);
  ExpectShape(told.whole, kChat);
  ExpectShape(told.whole.at("usage"), kUsage);
  ExpectShape(told.whole.at("timings"), kTimings);
  const json::value& message = told.whole.at("choices").at(0).at("message");
  EXPECT_EQ(told.whole.at("choices").at(0).at("finish_reason"), "tool_calls");

  std::string content, thought, finish;
  json::array calls;
  const std::vector<SseEventRead> events = ReadSse(told.stream);
  ASSERT_GE(events.size(), 4U);
  EXPECT_EQ(events.back().data, "[DONE]");
  for (size_t i = 0; i + 1 < events.size(); ++i) {
    const json::value chunk = Parsed(events[i].data);
    ExpectShape(chunk, kChatChunk);
    if (i + 2 == events.size()) {
      EXPECT_TRUE(chunk.at("choices").get_array().empty());
      EXPECT_EQ(chunk.at("usage"), told.whole.at("usage"));
      EXPECT_EQ(chunk.at("timings"), told.whole.at("timings"));
      continue;
    }
    EXPECT_TRUE(chunk.at("usage").is_null());
    const json::object& delta = chunk.at("choices").at(0).at("delta").get_object();
    if (i == 0) {
      EXPECT_EQ(delta.at("role"), "assistant");
    }
    if (delta.contains("content")) content += delta.at("content").get_string().c_str();
    if (delta.contains("reasoning_content")) thought += delta.at("reasoning_content").get_string().c_str();
    if (delta.contains("tool_calls")) {
      ExpectShape(delta.at("tool_calls").at(0), kToolCallDelta);
      EXPECT_EQ(delta.at("tool_calls").at(0).at("index"), static_cast<int64_t>(calls.size()));
      json::object call = delta.at("tool_calls").at(0).get_object();
      call.erase("index");
      calls.push_back(call);
    }
    const json::value& reason = chunk.at("choices").at(0).at("finish_reason");
    if (reason.is_string()) finish = reason.get_string().c_str();
  }
  EXPECT_EQ(content, "Hello \"world\"\n");
  EXPECT_EQ(message.at("content"), json::string(content));
  EXPECT_EQ(message.at("reasoning_content"), json::string(thought));
  EXPECT_EQ(message.at("tool_calls"), calls);
  EXPECT_EQ(finish, "tool_calls");
}

TEST(OpenAiChatWire, ChoicesAreCountedAndTimingsComeWithTheLast) {
  CompletionRequest request;
  request.choices = 2;
  const Told told = Tell(OpenAiChat(), request, [](CompletionSink& sink) {
    sink.OnText(1, "b");
    sink.OnText(0, "a");
    sink.OnAnswerEnd(1, End(EndKind::kTurn));
    sink.OnAnswerEnd(0, End(EndKind::kLength));
  });
  const json::value& usage = told.whole.at("usage");
  EXPECT_EQ(usage.at("prompt_tokens"), 20) << "a prompt counts once";
  EXPECT_EQ(usage.at("completion_tokens"), 18);
  EXPECT_EQ(told.whole.at("choices").at(1).at("message").at("content"), "b");
  const std::vector<SseEventRead> events = ReadSse(told.stream);
  const json::value last = Parsed(events[events.size() - 2].data);
  EXPECT_EQ(last.at("choices").at(0).at("finish_reason"), "length");
  EXPECT_TRUE(last.get_object().contains("timings"));
  EXPECT_FALSE(last.get_object().contains("usage")) << "usage only when asked for";
}

TEST(OpenAiChatWire, NullContentWhenThereAreOnlyCalls) {
  const Told told = Tell(OpenAiChat(), {}, [](CompletionSink& sink) {
    sink.OnToolCall(0, {"f", "{}", "call_1"});
    sink.OnAnswerEnd(0, End(EndKind::kToolCalls));
  });
  EXPECT_TRUE(told.whole.at("choices").at(0).at("message").at("content").is_null());
}

TEST(OpenAiChatWire, FramesAreChunksWithAnEmptyDelta) {
  CompletionRequest request;
  const Told told = Tell(OpenAiChat(), request, [](CompletionSink& sink) {
    Frame frame;
    frame.canvas = 1;
    frame.step = 7;
    frame.steps = 48;
    frame.text = "draft";
    frame.changed = {{4, "the"}};
    frame.spans = {{Channel::kThought, 0, 12}, {Channel::kAnswer, 12, 256}};
    sink.OnFrame(0, frame);
    sink.OnText(0, "x");
    sink.OnAnswerEnd(0, End(EndKind::kTurn));
  });
  const json::value frame = Parsed(ReadSse(told.stream)[1].data);
  ExpectShape(frame, kChatChunk);
  EXPECT_TRUE(frame.at("choices").at(0).at("delta").get_object().empty());
  ExpectShape(frame, R"({"type":"=diffusion_frame","block":"number","step":"number","total":"number","text":"string",
                         "diffusion":{"t":"number","temperature":"number","accepted":"number","canvas":"number",
                                      "changed":"array","entropy_q8":"string","accepted_mask":"string",
                                      "spans":[{"channel":"string","from":"number","to":"number"}]}})");
  EXPECT_EQ(frame.at("diffusion").at("canvas"), 256);
  EXPECT_EQ(json::serialize(frame.at("diffusion").at("changed")), R"([[4,"the"]])");
}

TEST(OpenAiCompletionWire, StreamAndWholeSayTheSame) {
  CompletionRequest request = Plain();
  request.echo = true;
  const Told told = Tell(OpenAiCompletions(), request, [](CompletionSink& sink) {
    sink.OnText(0, "a");
    sink.OnText(0, "b");
    sink.OnAnswerEnd(0, End(EndKind::kStopString));
  });
  ExpectShape(told.whole, kText);
  ExpectShape(told.whole.at("usage"), kUsage);
  std::string text;
  for (const SseEventRead& event : ReadSse(told.stream)) {
    if (event.data == "[DONE]") continue;
    const json::value chunk = Parsed(event.data);
    ExpectShape(chunk, kText);
    text += chunk.at("choices").at(0).at("text").get_string().c_str();
  }
  EXPECT_EQ(text, "pab");
  EXPECT_EQ(told.whole.at("choices").at(0).at("text"), "pab");
  EXPECT_EQ(told.whole.at("choices").at(0).at("finish_reason"), "stop");
}

TEST(OpenAiResponseWire, EventsBuildTheSameResponse) {
  CompletionRequest request;
  const auto body = ParseJson(R"({"input":"x","metadata":{"a":"b"},"temperature":0.5})");
  request = *ParseOpenAiResponse(body->get_object(), {});
  const Told told = Tell(OpenAiResponses(), request, Everything);
  ExpectShape(told.whole, kResponse);
  ExpectShape(told.whole.at("usage"), kResponseUsage);
  EXPECT_EQ(told.whole.at("status"), "completed");
  EXPECT_EQ(told.whole.at("temperature"), 0.5);

  json::array output;
  int64_t sequence = 0;
  const std::vector<SseEventRead> events = ReadSse(told.stream);
  for (const SseEventRead& event : events) {
    const json::value data = Parsed(event.data);
    EXPECT_EQ(data.at("type"), json::string(event.event));
    EXPECT_EQ(data.at("sequence_number"), sequence++);
    if (event.event == "response.created") ExpectShape(data.at("response"), kResponse);
    if (event.event.ends_with(".delta") || event.event.ends_with(".done") || event.event.ends_with(".added")) {
      EXPECT_TRUE(data.get_object().contains("output_index")) << event.event;
    }
    // An item as a client would build it: added, parts added, deltas appended.
    if (event.event == "response.output_item.added") output.push_back(data.at("item"));
    if (event.event == "response.content_part.added")
      output.back().at("content").get_array().push_back(data.at("part"));
    if (event.event == "response.output_text.delta" || event.event == "response.reasoning_text.delta") {
      output.back().at("content").at(0).at("text").get_string().append(data.at("delta").get_string());
      EXPECT_EQ(data.at("item_id"), output.back().at("id"));
    }
    if (event.event == "response.function_call_arguments.delta")
      output.back().at("arguments").get_string().append(data.at("delta").get_string());
    if (event.event == "response.output_item.done") {
      output.back().at("status") = "completed";
      EXPECT_EQ(data.at("item"), output.back());
    }
  }
  EXPECT_EQ(events.front().event, "response.created");
  EXPECT_EQ(events.back().event, "response.completed");
  EXPECT_EQ(told.whole.at("output"), output);
  EXPECT_EQ(Parsed(events.back().data).at("response"), told.whole);
  ASSERT_EQ(output.size(), 4U);
  EXPECT_EQ(output[0].at("type"), "reasoning");
  EXPECT_EQ(output[3].at("call_id"), "call_2");
}

TEST(OpenAiResponseWire, AnAnswerCutShortIsIncomplete) {
  const Told told = Tell(OpenAiResponses(), {}, [](CompletionSink& sink) {
    sink.OnText(0, "a");
    sink.OnAnswerEnd(0, End(EndKind::kLength));
  });
  EXPECT_EQ(told.whole.at("status"), "incomplete");
  EXPECT_EQ(told.whole.at("incomplete_details").at("reason"), "max_output_tokens");
  EXPECT_EQ(ReadSse(told.stream).back().event, "response.incomplete");
}

TEST(AnthropicWire, EventsBuildTheSameMessage) {
  const Told told = Tell(Anthropic(), {}, Everything);
  ExpectShape(told.whole, kMessage);
  EXPECT_EQ(told.whole.at("stop_reason"), "tool_use");
  EXPECT_EQ(told.whole.at("usage").at("input_tokens"), 15) << "without what was cached";
  EXPECT_EQ(told.whole.at("usage").at("cache_read_input_tokens"), 5);

  const std::vector<SseEventRead> events = ReadSse(told.stream);
  EXPECT_EQ(events.front().event, "message_start");
  EXPECT_EQ(events.back().event, "message_stop");
  ExpectShape(Parsed(events.front().data).at("message"), kMessage);
  json::array content;
  std::string partial;
  for (const SseEventRead& event : events) {
    const json::value data = Parsed(event.data);
    EXPECT_EQ(data.at("type"), json::string(event.event));
    if (event.event == "content_block_start") {
      EXPECT_EQ(data.at("index"), static_cast<int64_t>(content.size()));
      content.push_back(data.at("content_block"));
      partial.clear();
    }
    if (event.event == "content_block_delta") {
      const json::value& delta = data.at("delta");
      json::object& block = content.back().get_object();
      if (delta.at("type") == "text_delta") block.at("text").get_string().append(delta.at("text").get_string());
      if (delta.at("type") == "thinking_delta")
        block.at("thinking").get_string().append(delta.at("thinking").get_string());
      if (delta.at("type") == "signature_delta") block.at("signature") = delta.at("signature");
      if (delta.at("type") == "input_json_delta") partial += delta.at("partial_json").get_string().c_str();
    }
    if (event.event == "content_block_stop" && content.back().at("type") == "tool_use")
      content.back().at("input") = Parsed(partial);
    if (event.event == "message_delta") {
      EXPECT_EQ(data.at("delta").at("stop_reason"), "tool_use");
      EXPECT_EQ(data.at("usage"), told.whole.at("usage"));
    }
  }
  EXPECT_EQ(told.whole.at("content"), content);
}

TEST(AnthropicWire, SaysWhichStopSequence) {
  const Told told = Tell(Anthropic(), {}, [](CompletionSink& sink) {
    sink.OnText(0, "a");
    EndOfAnswer end = End(EndKind::kStopString);
    end.stop_string = "END";
    sink.OnAnswerEnd(0, end);
  });
  EXPECT_EQ(told.whole.at("stop_reason"), "stop_sequence");
  EXPECT_EQ(told.whole.at("stop_sequence"), "END");
}

TEST(OllamaWire, LinesBuildTheSameMessage) {
  const Told told = Tell(OllamaChat(), {}, Everything);
  ExpectShape(told.whole, kOllamaLine);
  ExpectShape(told.whole, kOllamaEnd);
  std::string content, thought;
  json::array calls;
  std::string_view rest = told.stream;
  json::value last;
  while (!rest.empty()) {
    const size_t end = rest.find('\n');
    ASSERT_NE(end, std::string_view::npos);
    last = Parsed(rest.substr(0, end));
    rest.remove_prefix(end + 1);
    ExpectShape(last, kOllamaLine);
    EXPECT_EQ(last.at("done").get_bool(), rest.empty());
    const json::object& message = last.at("message").get_object();
    content += message.at("content").get_string().c_str();
    if (message.contains("thinking")) thought += message.at("thinking").get_string().c_str();
    if (message.contains("tool_calls")) calls.push_back(message.at("tool_calls").at(0));
  }
  ExpectShape(last, kOllamaEnd);
  EXPECT_EQ(told.whole.at("message").at("content"), json::string(content));
  EXPECT_EQ(told.whole.at("message").at("thinking"), json::string(thought));
  EXPECT_EQ(told.whole.at("message").at("tool_calls"), calls);
  EXPECT_EQ(calls.at(0).at("function").at("arguments").at("k").at(1), "x");
}

TEST(LlamaWire, PiecesBuildTheSameContent) {
  const Told told = Tell(LlamaCompletion(), Plain(), [](CompletionSink& sink) {
    sink.OnText(0, "a");
    sink.OnText(0, "b");
    sink.OnAnswerEnd(0, End(EndKind::kLength));
  });
  std::string content;
  for (const SseEventRead& event : ReadSse(told.stream))
    content += Parsed(event.data).at("content").get_string().c_str();
  EXPECT_EQ(content, "ab");
  EXPECT_EQ(told.whole.at("content"), "ab");
  EXPECT_EQ(told.whole.at("stop_type"), "limit");
  ExpectShape(told.whole, R"({"tokens_predicted":"number","tokens_evaluated":"number","timings":"object","stop":"bool",
                              "stopping_word":"string","truncated":"bool","model":"string","tokens":"array"})");
}

TEST(Wire, FailuresOfStreamsHaveTheShapeOfTheFamily) {
  const CompletionRequest request = Plain();
  HttpError error;
  error.status = 503;
  error.message = "no";
  const auto failed = [&](const WireFamily& family) {
    const CompletionHead head{
        .id = std::string(family.id_prefix) + "1", .model = "m", .created = 1, .request = &request};
    const auto stream = family.stream(head);
    stream->OnBegin(1);
    (void)stream->Take();
    stream->OnFailure(error);
    return stream->Take();
  };
  for (const WireFamily* family : {&OpenAiChat(), &OpenAiCompletions(), &LlamaCompletion()})
    ExpectShape(Parsed(ReadSse(failed(*family)).at(0).data), kError);
  EXPECT_EQ(ReadSse(failed(Anthropic())).at(0).event, "error");
  ExpectShape(Parsed(ReadSse(failed(Anthropic())).at(0).data), kAnthropicError);
  EXPECT_EQ(ReadSse(failed(OpenAiResponses())).at(0).event, "response.failed");
  std::string line = failed(OllamaChat());
  EXPECT_EQ(line.back(), '\n');
  line.pop_back();
  EXPECT_EQ(Parsed(line).at("error"), "no");
}

}  // namespace
}  // namespace dgemma
