// The members that clients of each family rely on, from the documents of the interfaces: name and type, nested. A value that
// lacks one, or has another type, is reported by its path. Members beyond are free.
#pragma once

#include <gtest/gtest.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <string>
#include <string_view>

#include "files/json.h"

namespace dgemma::test {

namespace json = boost::json;

/// Parses a JSON text of an answer.
inline json::value Parsed(std::string_view text) {
  auto value = ParseJson(text);
  EXPECT_TRUE(value) << text;
  return value ? *value : json::value();
}

/// A schema is a JSON value: an object lists members, an array has one schema for all entries, a string names a type:
/// "string", "number", "bool", "null", "object", "array", "any", several with '|', and "=x" is the string x itself.
inline void ExpectShape(const json::value& value, const json::value& schema, const std::string& path) {
  if (schema.is_object()) {
    ASSERT_TRUE(value.is_object()) << path;
    for (const auto& [name, member] : schema.get_object()) {
      const json::value* found = value.get_object().if_contains(name);
      ASSERT_NE(found, nullptr) << path << "." << std::string(name) << " is missing in " << json::serialize(value);
      ExpectShape(*found, member, path + "." + std::string(name));
    }
    return;
  }
  if (schema.is_array()) {
    ASSERT_TRUE(value.is_array()) << path;
    size_t index = 0;
    for (const json::value& entry : value.get_array())
      ExpectShape(entry, schema.get_array().at(0), path + "[" + std::to_string(index++) + "]");
    return;
  }
  const std::string type(schema.get_string());
  if (type.starts_with('=')) {
    EXPECT_EQ(json::serialize(value), json::serialize(json::string(type.substr(1)))) << path;
    return;
  }
  const std::string actual = value.is_string()   ? "string"
                             : value.is_number() ? "number"
                             : value.is_bool()   ? "bool"
                             : value.is_null()   ? "null"
                             : value.is_array()  ? "array"
                                                 : "object";
  EXPECT_TRUE(type == "any" || type.find(actual) != std::string::npos)
      << path << " is a " << actual << ", not " << type;
}

inline void ExpectShape(const json::value& value, std::string_view schema) { ExpectShape(value, Parsed(schema), "$"); }

// ---- OpenAI --------------------------------------------------------------------------------------------------------------

inline constexpr std::string_view kUsage =
    R"({"prompt_tokens":"number","completion_tokens":"number","total_tokens":"number",
        "prompt_tokens_details":{"cached_tokens":"number"},"completion_tokens_details":{"reasoning_tokens":"number"}})";
inline constexpr std::string_view kTimings =
    R"({"prompt_ms":"number","ttft_ms":"number","predicted_ms":"number","diffusion_blocks":"number",
        "diffusion_steps":"number","passes_per_block":"number","accepted_per_pass":"number","canvas_tokens":"number",
        "answer_tokens":"number","effective_tok_s":"number","turn_closed":"bool","converged":"bool","seed":"number"})";
inline constexpr std::string_view kChat =
    R"({"id":"string","object":"=chat.completion","created":"number","model":"string",
        "choices":[{"index":"number","finish_reason":"string","logprobs":"null",
                    "message":{"role":"=assistant","content":"string|null","refusal":"null"}}],
        "usage":"object","timings":"object"})";
inline constexpr std::string_view kChatChunk =
    R"({"id":"string","object":"=chat.completion.chunk","created":"number","model":"string",
        "choices":[{"index":"number","delta":"object","finish_reason":"string|null","logprobs":"null"}]})";
inline constexpr std::string_view kToolCallDelta =
    R"({"index":"number","id":"string","type":"=function","function":{"name":"string","arguments":"string"}})";
inline constexpr std::string_view kText =
    R"({"id":"string","object":"=text_completion","created":"number","model":"string",
        "choices":[{"index":"number","text":"string","logprobs":"null","finish_reason":"string|null"}]})";
inline constexpr std::string_view kError =
    R"({"error":{"message":"string","type":"string","param":"string|null","code":"string|null"}})";
inline constexpr std::string_view kResponse =
    R"({"id":"string","object":"=response","created_at":"number","status":"string","error":"object|null",
        "incomplete_details":"object|null","instructions":"any","max_output_tokens":"number|null","model":"string",
        "output":"array","parallel_tool_calls":"bool","previous_response_id":"null","reasoning":"object",
        "store":"bool","temperature":"number","text":"object","tool_choice":"any","tools":"array","top_p":"number",
        "truncation":"string","usage":"object|null","metadata":"object"})";
inline constexpr std::string_view kResponseUsage =
    R"({"input_tokens":"number","input_tokens_details":{"cached_tokens":"number","cache_write_tokens":"number"},"output_tokens":"number",
        "output_tokens_details":{"reasoning_tokens":"number"},"total_tokens":"number"})";

// ---- Anthropic -----------------------------------------------------------------------------------------------------------

inline constexpr std::string_view kMessage =
    R"({"id":"string","type":"=message","role":"=assistant","model":"string","content":"array",
        "stop_reason":"string|null","stop_sequence":"string|null",
        "usage":{"input_tokens":"number","cache_creation_input_tokens":"number","cache_read_input_tokens":"number",
                 "output_tokens":"number"}})";
inline constexpr std::string_view kAnthropicError =
    R"({"type":"=error","error":{"type":"string","message":"string"},"request_id":"string"})";

// ---- Ollama --------------------------------------------------------------------------------------------------------------

inline constexpr std::string_view kOllamaLine =
    R"({"model":"string","created_at":"string","message":{"role":"=assistant","content":"string"},"done":"bool"})";
inline constexpr std::string_view kOllamaEnd =
    R"({"done_reason":"string","total_duration":"number","load_duration":"number","prompt_eval_count":"number",
        "prompt_eval_duration":"number","eval_count":"number","eval_duration":"number"})";

// ---- streams -------------------------------------------------------------------------------------------------------------

struct SseEventRead {
  std::string event;
  std::string data;
};

/// Events of a stream; comments are left out.
inline std::vector<SseEventRead> ReadSse(std::string_view stream) {
  std::vector<SseEventRead> events;
  SseEventRead event;
  while (!stream.empty()) {
    const size_t end = stream.find('\n');
    EXPECT_NE(end, std::string_view::npos) << "a line without an end";
    if (end == std::string_view::npos) break;
    const std::string_view line = stream.substr(0, end);
    stream.remove_prefix(end + 1);
    if (line.starts_with("event: ")) event.event = line.substr(7);
    if (line.starts_with("data: ")) event.data = line.substr(6);
    if (line.empty() && !event.data.empty()) events.push_back(std::exchange(event, {}));
  }
  return events;
}

}  // namespace dgemma::test
