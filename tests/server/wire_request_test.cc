// Requests of every family: examples of their documents, field paths of errors, limits at their edge.
#include <gtest/gtest.h>

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include "files/json.h"
#include "server/anthropic.h"
#include "server/llama_server.h"
#include "server/ollama.h"
#include "server/openai_chat.h"
#include "server/openai_completions.h"
#include "server/openai_responses.h"

namespace dgemma {
namespace {

namespace json = boost::json;

using Parse = Result<CompletionRequest> (*)(const json::object&, const ServerLimits&);

Result<CompletionRequest> Read(Parse parse, const std::string& text) {
  const auto body = ParseBody(text, {});
  if (!body) return std::unexpected(body.error());
  return parse(*body, {});
}

CompletionRequest Good(Parse parse, const std::string& text) {
  auto request = Read(parse, text);
  EXPECT_TRUE(request) << text << "\n" << request.error().message;
  return request ? *std::move(request) : CompletionRequest();
}

std::string Bad(Parse parse, const std::string& text) {
  const auto request = Read(parse, text);
  return request ? "was taken" : request.error().message;
}

/// A body around a member.
std::string Chat(const std::string& member) { return R"({"messages":[{"role":"user","content":"x"}],)" + member + "}"; }
std::string Text(const std::string& member) { return R"({"prompt":"x",)" + member + "}"; }
std::string Input(const std::string& member) { return R"({"input":"x",)" + member + "}"; }
std::string Message(const std::string& member) {
  return R"({"max_tokens":9,"messages":[{"role":"user","content":"x"}],)" + member + "}";
}

/// A turn on one line.
std::string Show(const ChatTurn& turn) {
  std::string out = turn.role + ":" + turn.text;
  if (!turn.thought.empty()) out += " (" + turn.thought + ")";
  for (const FunctionCall& call : turn.tool_calls) out += " " + call.id + "=" + call.name + call.arguments_json;
  if (turn.role == "tool") out += " <" + turn.tool_call_id + turn.tool_name + ">";
  return out;
}

std::string Show(const std::vector<ChatTurn>& chat) {
  std::string out;
  for (const ChatTurn& turn : chat) out += (out.empty() ? "" : " / ") + Show(turn);
  return out;
}

TEST(OpenAiChatRequest, ConversationWithTools) {
  const CompletionRequest request = Good(ParseOpenAiChat, R"({
    "model": "gpt-x",
    "messages": [
      {"role": "developer", "content": "Be brief."},
      {"role": "user", "content": [{"type": "text", "text": "Weather in "}, {"type": "text", "text": "Oslo?"}]},
      {"role": "assistant", "content": null, "reasoning_content": "look it up", "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Oslo\"}"}}]},
      {"role": "tool", "tool_call_id": "call_1", "content": "rain"}],
    "tools": [{"type": "function", "function": {"name": "weather", "description": "d", "strict": true,
               "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}],
    "tool_choice": "auto", "parallel_tool_calls": false, "temperature": 0.5, "top_p": 0.9, "seed": 7, "n": 2,
    "stop": ["a", "b"], "max_tokens": 10, "max_completion_tokens": 20, "stream": true,
    "stream_options": {"include_usage": true}, "reasoning_effort": "low", "user": "u", "presence_penalty": 0,
    "frequency_penalty": 0.0, "logprobs": false, "logit_bias": {}, "response_format": {"type": "text"},
    "store": false, "metadata": null, "an_unknown_member": {"x": 1}})");
  EXPECT_EQ(Show(request.chat),
            "developer:Be brief. / user:Weather in Oslo? / "
            "assistant: (look it up) call_1=weather{\"city\":\"Oslo\"} / tool:rain <call_1>");
  ASSERT_EQ(request.tools.size(), 1U);
  EXPECT_EQ(request.tools[0].parameters_json, R"({"type":"object","properties":{"city":{"type":"string"}}})");
  EXPECT_EQ(request.tool_use, ToolUse::kAuto);
  EXPECT_FALSE(request.parallel_calls);
  EXPECT_EQ(request.thinking, Thinking::kOn);
  EXPECT_EQ(request.choices, 2);
  EXPECT_EQ(request.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(request.sampling.max_tokens, 20);
  EXPECT_EQ(request.sampling.temperature, 0.5);
  EXPECT_EQ(request.sampling.seed, 7U);
  EXPECT_EQ(request.delivery, Delivery::kStream);
  EXPECT_TRUE(request.stream_usage);
}

TEST(OpenAiChatRequest, ErrorsNameTheField) {
  const auto bad = [](const std::string& member) { return Bad(ParseOpenAiChat, Chat(member)); };
  EXPECT_EQ(Bad(ParseOpenAiChat, "{}"), "messages: is missing");
  EXPECT_EQ(Bad(ParseOpenAiChat, "[]"), "body: must be a JSON object");
  EXPECT_TRUE(Bad(ParseOpenAiChat, "{\"secret\":1,\"secret\":2}").starts_with("body: not a JSON document"));
  EXPECT_EQ(Bad(ParseOpenAiChat, "{\"secret\":1,\"secret\":2}").find("secret"), std::string::npos);
  EXPECT_EQ(Bad(ParseOpenAiChat, R"({"messages":[]})"), "messages: is empty");
  EXPECT_EQ(Bad(ParseOpenAiChat, R"({"messages":[{"content":"x"}]})"), "messages[0].role: is missing");
  EXPECT_EQ(Bad(ParseOpenAiChat, R"({"messages":[{"role":"king","content":"x"}]})"),
            "messages[0].role: is not one of system, developer, user, assistant, tool");
  EXPECT_EQ(Bad(ParseOpenAiChat, R"({"messages":[{"role":"user","content":"x"},{"role":"user"}]})"),
            "messages[1].content: is missing");
  EXPECT_EQ(Bad(ParseOpenAiChat, R"({"messages":[{"role":"user","content":[{"type":"text","text":1}]}]})"),
            "messages[0].content[0].text: must be a string");
  EXPECT_EQ(Bad(ParseOpenAiChat, R"({"messages":[{"role":"user","content":[{"type":"image_url"}]}]})"),
            "messages[0].content[0].type: is not supported (this server takes text only)");
  EXPECT_EQ(bad(R"("temperature":"hot")"), "temperature: must be a number");
  EXPECT_EQ(bad(R"("temperature":2.1)"), "temperature: is out of range (0 to 2)");
  EXPECT_EQ(bad(R"("n":0)"), "n: is out of range (1 to 8)");
  EXPECT_EQ(bad(R"("n":9)"), "n: is out of range (1 to 8)");
  EXPECT_EQ(bad(R"("n":1.5)"), "n: must be a whole number");
  EXPECT_EQ(bad(R"("max_tokens":0)"), "max_tokens: is out of range (1 to 2147483647)");
  EXPECT_FALSE(
      Good(ParseOpenAiChat, R"({"messages":[{"role":"user","content":"x"}],"max_tokens":-1})").sampling.max_tokens);
  EXPECT_EQ(bad(R"("max_tokens":-2)"), "max_tokens: is out of range (1 to 2147483647)");
  EXPECT_EQ(bad(R"("seed":1.5)"), "seed: must be a whole number");
  EXPECT_EQ(bad(R"("stream":1)"), "stream: must be true or false");
  EXPECT_EQ(bad(R"("stop":[1])"), "stop[0]: must be a string");
  EXPECT_EQ(bad(R"("tools":[{"type":"function","function":{"name":"a b"}}])"),
            "tools[0].function.name: must be 1 to 256 letters, digits, and signs of _ - . : /");
  EXPECT_EQ(bad(R"("tools":[{"type":"function","function":{"name":"f","parameters":7}}])"),
            "tools[0].function.parameters: must be an object");
  EXPECT_EQ(bad(R"("tool_choice":"required")"), "tool_choice: demands a call, but tools is empty");
  EXPECT_EQ(bad(R"("tool_choice":{"type":"function","function":{"name":"f"}})"),
            "tool_choice.function.name: names no tool of the request");
  EXPECT_TRUE(bad(R"("logprobs":true)").starts_with("logprobs: is not supported"));
  EXPECT_TRUE(bad(R"("presence_penalty":0.1)").starts_with("presence_penalty: is not supported"));
  EXPECT_TRUE(bad(R"("logit_bias":{"5":1})").starts_with("logit_bias: is not supported"));
  EXPECT_TRUE(bad(R"("response_format":{"type":"json_object"})").starts_with("response_format.type: is not supported"));
}

TEST(OpenAiChatRequest, LimitsHoldAtTheirEdge) {
  const auto list = [](size_t count, const std::string& item) {
    std::string out;
    for (size_t i = 0; i < count; ++i) out += (i == 0 ? "" : ",") + item;
    return "[" + out + "]";
  };
  const ServerLimits limits;
  const auto messages = [&](size_t count) {
    return Bad(ParseOpenAiChat, R"({"messages":)" + list(count, R"({"role":"user","content":""})") + "}");
  };
  EXPECT_EQ(messages(limits.messages - 1), "was taken");
  EXPECT_EQ(messages(limits.messages), "was taken");
  EXPECT_EQ(messages(limits.messages + 1), "messages: has more than 1024 entries");
  const auto parts = [&](size_t count) {
    return Bad(ParseOpenAiChat,
               R"({"messages":[{"role":"user","content":)" + list(count, R"({"type":"text","text":""})") + "}]}");
  };
  EXPECT_EQ(parts(limits.content_parts), "was taken");
  EXPECT_EQ(parts(limits.content_parts + 1), "messages[0].content: has more than 64 parts");
  const auto tools = [&](size_t count) {
    return Bad(ParseOpenAiChat, Chat(R"("tools":)" + list(count, R"({"type":"function","function":{"name":"f"}})")));
  };
  EXPECT_EQ(tools(limits.tools), "was taken");
  EXPECT_EQ(tools(limits.tools + 1), "tools: has more than 128 entries");
  const auto stops = [&](size_t count, size_t bytes) {
    return Bad(ParseOpenAiChat, Chat(R"("stop":)" + list(count, "\"" + std::string(bytes, 's') + "\"")));
  };
  EXPECT_EQ(stops(limits.stop_strings, limits.stop_string_bytes), "was taken");
  EXPECT_EQ(stops(limits.stop_strings + 1, 1), "stop: has more than 16 entries");
  EXPECT_EQ(stops(1, limits.stop_string_bytes + 1), "stop[0]: is longer than 256 bytes");
  const auto depth = [](size_t levels) {
    return Bad(ParseOpenAiChat, Chat(R"("x":)" + std::string(levels, '[') + std::string(levels, ']')));
  };
  EXPECT_EQ(depth(limits.json_depth - 1), "was taken");
  EXPECT_TRUE(depth(limits.json_depth).starts_with("body: not a JSON document"));
}

TEST(OpenAiChatRequest, ToolChoice) {
  const std::string tools = R"("tools":[{"type":"function","function":{"name":"f"}},{"function":{"name":"g"}}])";
  const auto use = [&](const std::string& choice) {
    return Good(ParseOpenAiChat, Chat(tools + R"(,"tool_choice":)" + choice));
  };
  EXPECT_EQ(use("\"none\"").tool_use, ToolUse::kNone);
  EXPECT_EQ(use("\"required\"").tool_use, ToolUse::kRequired);
  const CompletionRequest named = use(R"({"type":"function","function":{"name":"g"}})");
  EXPECT_EQ(named.tool_use, ToolUse::kRequired);
  ASSERT_EQ(named.tools.size(), 1U);
  EXPECT_EQ(named.tools[0].name, "g");
}

TEST(OpenAiChatRequest, Thinking) {
  const auto thinks = [](const std::string& member) {
    return Good(ParseOpenAiChat, Chat(member)).thinking == Thinking::kOn;
  };
  EXPECT_FALSE(thinks(R"("x":1)"));
  EXPECT_TRUE(thinks(R"("reasoning_effort":"high")"));
  EXPECT_FALSE(thinks(R"("reasoning_effort":"none")"));
  EXPECT_TRUE(thinks(R"("chat_template_kwargs":{"enable_thinking":true})"));
  EXPECT_FALSE(thinks(R"("reasoning_effort":"high","chat_template_kwargs":{"enable_thinking":false})"));
}

TEST(DiffusionRequest, OptionsAndFrames) {
  const CompletionRequest request =
      Good(ParseOpenAiChat,
           Chat(R"("diffusion":{"frames":true,"max_fps":0,"fields":["tokens"],"steps":12,"entropy_bound":0.3,"t_max":1,
              "t_min":0.5,"stability":2,"confidence":0,"skip":{"settled_steps":3}})"));
  ASSERT_TRUE(request.frames);
  EXPECT_EQ(request.frames->max_fps, 0);
  EXPECT_TRUE(request.frames->tokens);
  EXPECT_FALSE(request.frames->text);
  EXPECT_EQ(request.sampling.steps, 12);
  EXPECT_EQ(request.sampling.t_min, 0.5);
  EXPECT_EQ(request.sampling.skip->settled_steps, 3);
  EXPECT_FALSE(Good(ParseOpenAiChat, Chat(R"("diffusion":{"max_fps":5})")).frames) << "off unless asked for";
  const auto bad = [](const std::string& member) {
    return Bad(ParseOpenAiChat, Chat(R"("diffusion":{)" + member + "}"));
  };
  EXPECT_TRUE(bad(R"("stepz":3)").starts_with("diffusion: has an unknown member (known: frames,"));
  EXPECT_EQ(bad(R"("steps":0)"), "diffusion.steps: is out of range (1 to 4096)");
  EXPECT_EQ(bad(R"("steps":4097)"), "diffusion.steps: is out of range (1 to 4096)");
  EXPECT_EQ(bad(R"("max_fps":241)"), "diffusion.max_fps: is out of range (0 to 240)");
  EXPECT_EQ(bad(R"("fields":["all"])"), "diffusion.fields[0]: is not one of text, entropy, changed, tokens");
  EXPECT_EQ(bad(R"("skip":{"settled_steps":-1})"), "diffusion.skip.settled_steps: is out of range (0 to 4096)");
}

TEST(SamplingWish, MeetsTheDefaults) {
  GenerateOptions defaults;  // t_max 0.8, t_min 0.4
  SamplingWish wish;
  EXPECT_EQ(OptionsOf(wish, defaults, 5, 0)->seed, 5U);
  EXPECT_EQ(OptionsOf(wish, defaults, 5, 2)->seed, 7U) << "choices have seeds of their own";
  wish.temperature = 0.5;
  EXPECT_DOUBLE_EQ(OptionsOf(wish, defaults, 5, 0)->t_max, 0.4);
  EXPECT_DOUBLE_EQ(OptionsOf(wish, defaults, 5, 0)->t_min, 0.2);
  wish.temperature_unit = TemperatureUnit::kAbsolute;
  EXPECT_DOUBLE_EQ(OptionsOf(wish, defaults, 5, 0)->t_max, 0.5);
  EXPECT_DOUBLE_EQ(OptionsOf(wish, defaults, 5, 0)->t_min, 0.25);
  wish.temperature = 1e-300;  // 1 / temperature must stay a number
  EXPECT_EQ(OptionsOf(wish, defaults, 5, 0)->t_max, 1e-6);
  wish.temperature = 0;
  EXPECT_DOUBLE_EQ(OptionsOf(wish, defaults, 5, 0)->t_max, 0.8);
  EXPECT_EQ(OptionsOf(wish, defaults, 5, 0)->seed, 0U) << "temperature 0 asks for the same answer again";
  wish.seed = 9;
  EXPECT_EQ(OptionsOf(wish, defaults, 5, 0)->seed, 9U);
  wish.t_max = 0.1;
  EXPECT_EQ(OptionsOf(wish, defaults, 5, 0).error().message, "diffusion.t_min: must not exceed t_max");
}

TEST(OpenAiCompletionRequest, Prompts) {
  EXPECT_EQ(std::get<std::string>(Good(ParseOpenAiCompletion, Text(R"("echo":true)")).prompts[0]), "x");
  EXPECT_EQ(Good(ParseOpenAiCompletion, Text(R"("x":1)")).sampling.max_tokens, 16);
  const CompletionRequest two = Good(ParseOpenAiCompletion, R"({"prompt":["a",[1,2]],"n":3,"max_tokens":5})");
  EXPECT_EQ(two.answers(), 6);
  EXPECT_EQ(std::get<std::vector<int32_t>>(two.prompts[1]), (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(Good(ParseOpenAiCompletion, R"({"prompt":[5,6]})").prompts.size(), 1U);
  EXPECT_EQ(Bad(ParseOpenAiCompletion, R"({"prompt":[5,"x"]})"), "prompt[1]: must be a token id");
  EXPECT_EQ(Bad(ParseOpenAiCompletion, R"({"prompt":[]})"), "prompt: is empty");
  EXPECT_EQ(Bad(ParseOpenAiCompletion, R"({"prompt":["a","b"],"n":5})"), "n: times the number of prompts is too large");
  EXPECT_TRUE(Bad(ParseOpenAiCompletion, Text(R"("logprobs":0)")).starts_with("logprobs: is not supported"));
  EXPECT_TRUE(Bad(ParseOpenAiCompletion, Text(R"("suffix":"y")")).starts_with("suffix: is not supported"));
  EXPECT_TRUE(Bad(ParseOpenAiCompletion, Text(R"("best_of":2)")).starts_with("best_of: is not supported"));
}

TEST(OpenAiResponseRequest, Items) {
  const CompletionRequest request = Good(ParseOpenAiResponse, R"({
    "model": "m", "instructions": "Be brief.", "input": [
      {"role": "user", "content": "a"},
      {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
      {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "b", "annotations": []}]},
      {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
      {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{\"x\":1}"},
      {"type": "function_call_output", "call_id": "c1", "output": "one"},
      {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "two"}]},
      {"role": "user", "content": [{"type": "input_text", "text": "c"}]}],
    "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": true}],
    "tool_choice": {"type": "function", "name": "f"}, "max_output_tokens": 50, "reasoning": {"effort": "medium"},
    "text": {"format": {"type": "text"}}, "include": ["reasoning.encrypted_content"], "store": false})");
  EXPECT_EQ(
      Show(request.chat),
      "system:Be brief. / user:a / assistant:b (hm) c1=f{} c2=g{\"x\":1} / tool:one <c1> / tool:two <c2> / user:c");
  EXPECT_EQ(request.tool_use, ToolUse::kRequired);
  EXPECT_EQ(request.thinking, Thinking::kOn);
  EXPECT_EQ(request.sampling.max_tokens, 50);
  EXPECT_EQ(request.repeated.at("instructions"), "Be brief.");
  EXPECT_TRUE(Bad(ParseOpenAiResponse, Input(R"("previous_response_id":"r")"))
                  .starts_with("previous_response_id: is not supported (this server keeps nothing"));
  EXPECT_TRUE(Bad(ParseOpenAiResponse, Input(R"("tools":[{"type":"web_search"}])"))
                  .starts_with("tools[0].type: is not supported"));
  EXPECT_TRUE(Bad(ParseOpenAiResponse, Input(R"("text":{"format":{"type":"json_schema"}})"))
                  .starts_with("text.format.type: is not supported"));
  EXPECT_EQ(Bad(ParseOpenAiResponse, R"({"input":[{"type":"function_call_output","output":"x"}]})"),
            "input[0].call_id: is missing");
}

TEST(AnthropicRequest, Blocks) {
  const CompletionRequest request = Good(ParseAnthropic, R"({
    "model": "claude", "max_tokens": 100, "system": [{"type": "text", "text": "Be brief."}],
    "messages": [
      {"role": "user", "content": "a"},
      {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": "b"}, {"type": "tool_use", "id": "t1", "name": "f", "input": {"k": [1]}},
        {"type": "tool_use", "id": "t2", "name": "g", "input": {}}]},
      {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "t1", "content": "one"},
        {"type": "tool_result", "tool_use_id": "t2", "content": [{"type": "text", "text": "two"}], "is_error": true},
        {"type": "text", "text": "c", "cache_control": {"type": "ephemeral"}}]}],
    "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": true}, "stop_sequences": ["z"], "temperature": 1,
    "top_k": 5, "thinking": {"type": "enabled", "budget_tokens": 1024}, "metadata": {"user_id": "u"}, "stream": true})");
  EXPECT_EQ(
      Show(request.chat),
      "system:Be brief. / user:a / assistant:b (hm) t1=f{\"k\":[1]} t2=g{} / tool:one <t1> / tool:two <t2> / user:c");
  EXPECT_FALSE(request.parallel_calls);
  EXPECT_EQ(request.thinking, Thinking::kOn);
  EXPECT_EQ(request.stop, std::vector<std::string>{"z"});
  EXPECT_EQ(Bad(ParseAnthropic, R"({"messages":[{"role":"user","content":"x"}]})"), "max_tokens: is missing");
  EXPECT_EQ(Bad(ParseAnthropic, Message(R"("temperature":1.5)")), "temperature: is out of range (0 to 1)");
  EXPECT_TRUE(Bad(ParseAnthropic, R"({"max_tokens":1,"messages":[{"role":"user","content":[{"type":"image"}]}]})")
                  .starts_with("messages[0].content[0].type: is not supported here"));
  EXPECT_TRUE(Bad(ParseAnthropic, R"({"max_tokens":1,"messages":[{"role":"assistant","content":"x"}]})")
                  .starts_with("messages: the last one is the assistant's"));
  EXPECT_EQ(Bad(ParseAnthropic, Message(R"("tool_choice":{"type":"any"})")),
            "tool_choice: demands a call, but tools is empty");
}

TEST(OllamaRequest, ChatAndGenerate) {
  const CompletionRequest chat = Good(ParseOllamaChat, R"({
    "model": "m:latest", "messages": [
      {"role": "system", "content": "s"}, {"role": "user", "content": "a", "images": []},
      {"role": "assistant", "content": "", "thinking": "hm",
       "tool_calls": [{"function": {"name": "f", "arguments": {"k": 1}}}]},
      {"role": "tool", "tool_name": "f", "content": "one"}],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}], "think": true,
    "options": {"num_predict": 12, "temperature": 0.5, "top_k": 40, "top_p": 0.9, "seed": 3, "stop": ["z"],
                "num_ctx": 4096}, "keep_alive": "5m"})");
  EXPECT_EQ(Show(chat.chat), "system:s / user:a / assistant: (hm) =f{\"k\":1} / tool:one <f>");
  EXPECT_EQ(chat.delivery, Delivery::kStream) << "Ollama streams unless told not to";
  EXPECT_EQ(chat.sampling.max_tokens, 12);
  EXPECT_EQ(chat.sampling.temperature_unit, TemperatureUnit::kAbsolute);
  EXPECT_EQ(chat.thinking, Thinking::kOn);
  const CompletionRequest generate = Good(
      ParseOllamaGenerate, R"({"model":"m","prompt":"p","system":"s","stream":false,"options":{"num_predict":-1}})");
  EXPECT_EQ(Show(generate.chat), "system:s / user:p");
  EXPECT_FALSE(generate.sampling.max_tokens);
  EXPECT_EQ(Good(ParseOllamaGenerate, R"({"prompt":"p","raw":true})").prompts.size(), 1U);
  EXPECT_TRUE(Bad(ParseOllamaGenerate, R"({"prompt":"p","format":"json"})").starts_with("format: is not supported"));
  const auto named = [](size_t size) { return R"({"prompt":"p","model":")" + std::string(size, 'm') + R"("})"; };
  EXPECT_EQ(Good(ParseOllamaGenerate, named(256)).model.size(), 256U);
  EXPECT_EQ(Bad(ParseOllamaGenerate, named(257)), "model: is longer than 256 bytes");
  EXPECT_EQ(Bad(ParseOllamaChat, R"({"messages":[{"role":"user"}],"options":{"seed":"x"}})"),
            "options.seed: must be a whole number");
}

TEST(LlamaRequest, Completion) {
  const CompletionRequest request =
      Good(ParseLlamaCompletion,
           R"({"prompt":"x","n_predict":-1,"temperature":0.8,"seed":-1,"stop":[],"cache_prompt":true,"stream":true})");
  EXPECT_FALSE(request.sampling.max_tokens);
  EXPECT_FALSE(request.sampling.seed);
  EXPECT_EQ(Good(ParseLlamaCompletion, R"({"prompt":[1,2],"seed":4})").sampling.seed, 4U);
  EXPECT_TRUE(Bad(ParseLlamaCompletion, R"({"prompt":"x","grammar":"root ::= x"})").starts_with("grammar: is not"));
  EXPECT_EQ(Bad(ParseLlamaCompletion, "{}"), "prompt: is missing");
}

}  // namespace
}  // namespace dgemma
