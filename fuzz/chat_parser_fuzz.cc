// The parser of answers, the parser of tool calls and the chat format. Input: token ids (a byte each: control tokens
// below 17, above that bytes as text), the same bytes as a tool call in which ' is a quote, and the same bytes as a
// message's content.
#include <boost/json/serialize.hpp>
#include <cstdint>

#include "small_tokenizer.h"
#include "text/answer.h"
#include "text/chat.h"
#include "text/utf8.h"

using dgemma::Expect;

namespace {

std::string Show(std::span<const dgemma::AnswerEvent> events) {
  std::string thought, text, calls;
  for (const dgemma::AnswerEvent& event : events) {
    if (const auto* part = std::get_if<dgemma::ThoughtText>(&event)) {
      thought += part->text;
      Expect(dgemma::IsValidUtf8(part->text), "thoughts are valid text");
    } else if (const auto* answer = std::get_if<dgemma::AnswerText>(&event)) {
      text += answer->text;
      Expect(dgemma::IsValidUtf8(answer->text), "answers are valid text");
    } else if (const auto* call = std::get_if<dgemma::ParsedToolCall>(&event)) {
      calls += call->name + boost::json::serialize(call->arguments) + "\n";
    } else {
      calls += "!" + std::get<dgemma::BrokenToolCall>(event).text + "\n";
    }
  }
  return thought + "\x01" + text + "\x01" + calls;
}

void CheckAnswer(std::span<const int32_t> ids, dgemma::AnswerStart start) {
  const dgemma::Tokenizer& tokenizer = dgemma::SmallTokenizer();
  std::vector<dgemma::AnswerEvent> whole, pieced;
  dgemma::AnswerParser at_once(tokenizer, start), one_by_one(tokenizer, start);
  at_once.Push(ids, whole);
  at_once.Finish(whole);
  for (const int32_t& id : ids) one_by_one.Push({&id, 1}, pieced);
  one_by_one.Finish(pieced);
  Expect(Show(whole) == Show(pieced) && at_once.end() == one_by_one.end(), "splits do not matter");
}

void CheckToolCall(std::string_view raw) {
  dgemma::ToolCallSource source;
  for (char c : dgemma::ReplaceInvalidUtf8(raw)) {
    if (c == '\'') {
      source.quotes.push_back(source.text.size());
    } else {
      source.text.push_back(c);
    }
  }
  const auto call = dgemma::ParseToolCall(source);
  if (!call) return;
  // What was read can be written, and reading that gives the same again unless a bare key or name needs quoting.
  dgemma::Message message{.role = dgemma::Role::kAssistant};
  message.tool_calls.push_back({"", call->name, call->arguments});
  const auto pieces = dgemma::FormatChatPieces({&message, 1}, {}, {.add_generation_prompt = false});
  Expect(pieces.has_value(), "a call that was read can be written");
}

void CheckContent(std::string_view raw) {
  const dgemma::Tokenizer& tokenizer = dgemma::SmallTokenizer();
  const auto controls = [&](const std::string& content) {
    std::vector<dgemma::Message> messages = {{.role = dgemma::Role::kUser, .content = content},
                                             {.role = dgemma::Role::kAssistant, .content = content}};
    messages[1].reasoning = content + "x";
    messages[1].tool_calls.push_back({"", content, boost::json::object{{content, content}}});
    const auto pieces = dgemma::FormatChatPieces(messages, {}, {});
    Expect(pieces.has_value(), "any content can be written");
    std::vector<int32_t> found;
    for (int32_t id : dgemma::EncodeChat(tokenizer, *pieces)) {
      if (tokenizer.IsControl(id)) found.push_back(id);
    }
    return found;
  };
  Expect(controls(std::string(raw)) == controls("a"), "content has no influence on control tokens");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const std::string_view raw(reinterpret_cast<const char*>(bytes), size);
  std::vector<int32_t> ids;
  for (size_t i = 0; i < size; ++i) ids.push_back(bytes[i] < 9 || bytes[i] > 0xF7 ? bytes[i] % 17 : 17 + bytes[i]);
  CheckAnswer(ids, dgemma::AnswerStart::kAnswer);
  CheckAnswer(ids, dgemma::AnswerStart::kThought);
  CheckAnswer(dgemma::SmallTokenizer().Encode(raw, dgemma::SpecialTokens::kParse), dgemma::AnswerStart::kAnswer);
  CheckToolCall(raw);
  CheckContent(raw);
  return 0;
}
