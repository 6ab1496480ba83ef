// The walk over messages that writes a prompt.
#include "text/chat.h"

#include <algorithm>

#include "base/try.h"
#include "text/chat_writer.h"
#include "text/utf8.h"

namespace dgemma {
namespace {

constexpr std::string_view kThoughtOpen = "<|channel>thought\n";

/// What a message ended with, as far as the generation prompt cares.
enum class LastKind { kOther, kToolCall, kToolResponse };

std::unexpected<Status> Invalid(const std::string& field, const char* what) {
  return Fail(StatusCode::kInvalidArgument, field + ": " + what);
}

std::string_view TurnName(Role role) {
  switch (role) {
    case Role::kSystem:
      return "system";
    case Role::kDeveloper:
      return "developer";
    case Role::kUser:
      return "user";
    case Role::kAssistant:
      return "model";
    case Role::kTool:
      break;
  }
  return "tool";
}

std::string_view Placeholder(ContentPart::Kind kind) {
  switch (kind) {
    case ContentPart::Kind::kImage:
      return "<|image|>";
    case ContentPart::Kind::kAudio:
      return "<|audio|>";
    case ContentPart::Kind::kVideo:
      return "<|video|>";
    case ContentPart::Kind::kText:
      break;
  }
  return "";
}

/// A model's text without the thoughts in it: of each stretch up to "<channel|>" only what precedes "<|channel>" stays.
std::string WithoutThoughts(std::string_view text) {
  constexpr std::string_view kOpen = "<|channel>", kClose = "<channel|>";
  std::string kept;
  while (true) {
    const size_t close = text.find(kClose);
    const std::string_view stretch = text.substr(0, close);
    kept += stretch.substr(0, stretch.find(kOpen));
    if (close == std::string_view::npos) return kept;
    text.remove_prefix(close + kClose.size());
  }
}

class ChatFormatter {
 public:
  ChatFormatter(std::span<const Message> messages, std::span<const Tool> tools, const ChatOptions& options)
      : messages_(messages), tools_(tools), options_(options) {}

  Result<std::vector<ChatPiece>> Run() {
    out_.Markup("<bos>");
    DG_CHECK_OK(WriteSystemTurn());
    for (size_t i = 0; i < messages_.size(); ++i) {
      if (messages_[i].role == Role::kUser) last_user_ = static_cast<std::ptrdiff_t>(i);
    }
    for (size_t i = 0; i < messages_.size(); ++i) {
      DG_CHECK_OK(CheckMessage(i));
      if (messages_[i].role != Role::kTool) DG_CHECK_OK(WriteMessage(i));
      previous_ = messages_[i].role;  // tool messages count here, which reopens the model's turn after them
    }
    if (options_.add_generation_prompt) WriteGenerationPrompt();
    return std::move(out_.pieces());
  }

 private:
  std::string Field(size_t i) const { return "messages[" + std::to_string(i + first_index_) + "]"; }

  Result<void> WriteSystemTurn() {
    const bool has_system =
        !messages_.empty() && (messages_[0].role == Role::kSystem || messages_[0].role == Role::kDeveloper);
    if (!options_.enable_thinking && tools_.empty() && !has_system) return {};
    out_.Markup("<|turn>system\n");
    if (options_.enable_thinking) out_.Markup("<|think|>\n");
    if (has_system) {
      const Content& content = messages_[0].content;
      if (const auto* text = std::get_if<std::string>(&content)) out_.Content(StripWhitespace(*text));
      if (const auto* parts = std::get_if<std::vector<ContentPart>>(&content)) {
        for (const ContentPart& part : *parts) {
          if (part.kind != ContentPart::Kind::kText)
            return Invalid("messages[0].content", "only text in a system message");
          out_.Content(StripWhitespace(part.text));
          out_.Markup(" ");
        }
      }
      messages_ = messages_.subspan(1);
      first_index_ = 1;
    }
    for (size_t i = 0; i < tools_.size(); ++i) {
      const std::string field = "tools[" + std::to_string(i) + "]";
      out_.Markup("<|tool>");
      if (auto written = WriteDeclaration(tools_[i], field, out_); !written) {
        return std::unexpected(written.error().At(field));
      }
      out_.Markup("<tool|>");
    }
    out_.Markup("<turn|>\n");
    return {};
  }

  /// Refuses what the template would drop without a word.
  Result<void> CheckMessage(size_t i) {
    const Message& message = messages_[i];
    if (message.role != Role::kAssistant) {
      if (!message.tool_calls.empty()) return Invalid(Field(i) + ".tool_calls", "only an assistant calls tools");
      if (!message.tool_responses.empty())
        return Invalid(Field(i) + ".tool_responses", "only with an assistant's calls");
      if (!message.reasoning.empty()) return Invalid(Field(i) + ".reasoning", "only an assistant has a thought");
    }
    if (message.role == Role::kTool) {
      if (!takes_answers_) {
        return Invalid(Field(i), "a tool message that answers no call");
      }
    } else {
      takes_answers_ = !message.tool_calls.empty() && message.tool_responses.empty();
    }
    return {};
  }

  Result<void> WriteMessage(size_t i) {
    const Message& message = messages_[i];
    last_kind_ = LastKind::kOther;
    const bool is_model = message.role == Role::kAssistant;
    if (!is_model || previous_ != Role::kAssistant) {
      out_.Markup("<|turn>");
      out_.Markup(TurnName(message.role));
      out_.Markup("\n");
    }
    const bool keep_thought =
        static_cast<std::ptrdiff_t>(i) > last_user_ || (options_.preserve_thinking && !message.tool_calls.empty());
    if (!message.reasoning.empty() && keep_thought) {
      out_.Markup(kThoughtOpen);
      out_.Content(message.reasoning);
      out_.Markup("\n<channel|>");
    }
    DG_CHECK_OK(WriteCalls(i));
    DG_TRY(const bool answered, WriteResponses(i));
    ChatWriter body;
    WriteBody(message, body);
    const std::optional<Role> next = NextRole(i);
    const bool has_body = std::any_of(body.pieces().begin(), body.pieces().end(),
                                      [](const ChatPiece& piece) { return !StripWhitespace(piece.text).empty(); });
    out_.Append(body.pieces());
    if (last_kind_ == LastKind::kToolCall && !answered) {
      out_.Markup("<|tool_response>");
    } else if (is_model && next == Role::kAssistant && (message.tool_calls.empty() || answered)) {
      // The next assistant message continues this turn.
    } else if (!answered || has_body || next) {
      out_.Markup("<turn|>\n");
    }
    return {};
  }

  Result<void> WriteCalls(size_t i) {
    for (const ToolCall& call : messages_[i].tool_calls) {
      out_.Markup("<|tool_call>call:");
      out_.Content(call.name);
      out_.Markup("{");
      if (call.arguments.is_object()) {
        auto written = WriteMembers(call.arguments.get_object(), 0, out_);
        if (!written) return std::unexpected(written.error().At(Field(i) + ".tool_calls"));
      } else if (!call.arguments.is_null()) {
        return Invalid(Field(i) + ".tool_calls", "arguments are not a JSON object");
      }
      out_.Markup("}<tool_call|>");
      last_kind_ = LastKind::kToolCall;
    }
    return {};
  }

  Result<void> WriteResponse(std::string_view name, const boost::json::value& response) {
    out_.Markup("<|tool_response>response:");
    out_.Content(name.empty() ? "unknown" : name);
    out_.Markup("{");
    if (response.is_object()) {
      DG_CHECK_OK(WriteMembers(response.get_object(), 0, out_));
    } else {
      out_.Markup("value:");
      DG_CHECK_OK(WriteValue(response, KeyStyle::kBare, 1, out_));
    }
    out_.Markup("}<tool_response|>");
    last_kind_ = LastKind::kToolResponse;
    return {};
  }

  /// Answers to the calls of message i, embedded or in the tool messages behind it. Whether there were any.
  Result<bool> WriteResponses(size_t i) {
    const Message& message = messages_[i];
    for (const ToolResponse& response : message.tool_responses) {
      auto written = WriteResponse(response.name, response.response);
      if (!written) return std::unexpected(written.error().At(Field(i) + ".tool_responses"));
    }
    if (!message.tool_responses.empty()) return true;
    if (message.tool_calls.empty()) return false;
    bool answered = false;
    for (size_t k = i + 1; k < messages_.size() && messages_[k].role == Role::kTool; ++k) {
      std::string_view name = messages_[k].name;
      for (const ToolCall& call : message.tool_calls) {
        if (call.id == messages_[k].tool_call_id) name = call.name;
      }
      boost::json::value response;
      const auto* parts = std::get_if<std::vector<ContentPart>>(&messages_[k].content);
      if (const auto* text = std::get_if<std::string>(&messages_[k].content)) response = *text;
      if (parts != nullptr) {
        boost::json::string& text = response.emplace_string();
        for (const ContentPart& part : *parts) text.append(part.kind == ContentPart::Kind::kText ? part.text : "");
      }
      DG_CHECK_OK(WriteResponse(name, response));
      if (parts != nullptr) {
        for (const ContentPart& part : *parts) out_.Markup(Placeholder(part.kind));
      }
      answered = true;
    }
    return answered;
  }

  static void WriteBody(const Message& message, ChatWriter& body) {
    const auto write = [&](std::string_view text) {
      if (message.role == Role::kAssistant) {
        body.Content(StripWhitespace(WithoutThoughts(text)));
      } else {
        body.Content(StripWhitespace(text));
      }
    };
    if (const auto* text = std::get_if<std::string>(&message.content)) write(*text);
    if (const auto* parts = std::get_if<std::vector<ContentPart>>(&message.content)) {
      for (const ContentPart& part : *parts) {
        if (part.kind == ContentPart::Kind::kText) {
          write(part.text);
        } else {
          body.Markup(Placeholder(part.kind));
        }
      }
    }
  }

  std::optional<Role> NextRole(size_t i) const {
    for (size_t k = i + 1; k < messages_.size(); ++k) {
      if (messages_[k].role != Role::kTool) return messages_[k].role;
    }
    return std::nullopt;
  }

  void WriteGenerationPrompt() {
    if (last_kind_ == LastKind::kOther) {
      out_.Markup("<|turn>model\n");
      if (options_.legacy_empty_thought && !options_.enable_thinking) {
        out_.Markup(kThoughtOpen);
        out_.Markup("<channel|>");
      }
    } else if (last_kind_ == LastKind::kToolResponse && options_.enable_thinking) {
      out_.Markup(kThoughtOpen);
    }
  }

  std::span<const Message> messages_;
  std::span<const Tool> tools_;
  const ChatOptions& options_;
  ChatWriter out_;
  size_t first_index_ = 0;         // of messages_[0] in the caller's list
  std::ptrdiff_t last_user_ = -1;  // index of the last user message
  std::optional<Role> previous_;   // role of the message before
  bool takes_answers_ = false;     // whether tool messages may come now
  LastKind last_kind_ = LastKind::kOther;
};

}  // namespace

Result<Role> ParseRole(std::string_view name) {
  if (name == "system") return Role::kSystem;
  if (name == "developer") return Role::kDeveloper;
  if (name == "user") return Role::kUser;
  if (name == "assistant") return Role::kAssistant;
  if (name == "tool") return Role::kTool;
  return Fail(StatusCode::kInvalidArgument, "role: not one of system, developer, user, assistant, tool");
}

Result<std::vector<ChatPiece>> FormatChatPieces(std::span<const Message> messages, std::span<const Tool> tools,
                                                const ChatOptions& options) {
  return ChatFormatter(messages, tools, options).Run();
}

Result<std::string> FormatChat(std::span<const Message> messages, std::span<const Tool> tools,
                               const ChatOptions& options) {
  DG_TRY(const std::vector<ChatPiece> pieces, FormatChatPieces(messages, tools, options));
  std::string text;
  for (const ChatPiece& piece : pieces) text += piece.text;
  return text;
}

std::vector<int32_t> EncodeChat(const Tokenizer& tokenizer, std::span<const ChatPiece> pieces) {
  std::vector<TextPart> parts;
  parts.reserve(pieces.size());
  for (const ChatPiece& piece : pieces) {
    parts.push_back(
        {piece.text, piece.kind == ChatPiece::Kind::kMarkup ? SpecialTokens::kParse : SpecialTokens::kAsText});
  }
  return tokenizer.EncodeParts(parts);
}

}  // namespace dgemma
