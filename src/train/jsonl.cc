// Walks the parsed JSON of a line; every value is checked for its kind, and faults name the field.
#include "train/jsonl.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/value.hpp>
#include <optional>
#include <utility>

#include "base/try.h"
#include "files/json.h"
#include "files/messages.h"
#include "text/utf8.h"

namespace dgemma {
namespace {

namespace json = boost::json;

std::unexpected<Fault> Wrong(const std::string& field, const char* what) {
  return std::unexpected(Fault{FaultKind::kWrongValue, field + ": " + what});
}

std::string Text(const json::string& text) { return {text.data(), text.size()}; }

/// A text under `key`; nullopt when the key is absent or null.
OrFault<std::optional<std::string>> OptionalText(const json::object& object, std::string_view key,
                                                 const std::string& place) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || value->is_null()) return std::nullopt;
  if (!value->is_string()) return Wrong(place + std::string(key), "must be a text");
  return Text(value->get_string());
}

OrFault<std::string> RequiredText(const json::object& object, std::string_view key, const std::string& place) {
  DG_TRY(auto text, OptionalText(object, key, place));
  if (!text) return Wrong(place + std::string(key), "is missing");
  return *std::move(text);
}

/// A list under `key`; null pointer when the key is absent or null.
OrFault<const json::array*> OptionalList(const json::object& object, std::string_view key, const std::string& place) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || value->is_null()) return nullptr;
  if (!value->is_array()) return Wrong(place + std::string(key), "must be a list");
  return &value->get_array();
}

/// `item` itself, or the object under "function" that OpenAI wraps around calls and declarations.
OrFault<const json::object*> FunctionOf(const json::value& item, const std::string& place) {
  if (!item.is_object()) return Wrong(place, "must be an object");
  const json::value* function = item.get_object().if_contains("function");
  if (function == nullptr) return &item.get_object();
  if (!function->is_object()) return Wrong(place + ".function", "must be an object");
  return &function->get_object();
}

class RecordReader {
 public:
  explicit RecordReader(const DatasetLimits& limits) : limits_(limits) {}

  OrFault<Record> Read(const json::object& object) const {
    Record record;
    DG_CHECK_OK(ReadTask(object, record));
    const bool is_pair = object.contains("prompt") || object.contains("completion");
    if (is_pair == object.contains("messages")) {
      return Wrong("record", "must have either messages or prompt and completion");
    }
    if (is_pair) {
      DG_CHECK_OK(ReadPair(object, record));
    } else {
      DG_CHECK_OK(ReadConversation(object, record));
    }
    return record;
  }

 private:
  OrFault<void> ReadTask(const json::object& object, Record& record) const {
    DG_TRY(auto task, OptionalText(object, "task", ""));
    record.task = std::move(task).value_or("");
    if (record.task.size() <= limits_.task_bytes) return {};
    return std::unexpected(Fault{FaultKind::kWrongValue, fmt::format("task: has {} bytes (at most {})",
                                                                     record.task.size(), limits_.task_bytes)});
  }

  OrFault<void> ReadPair(const json::object& object, Record& record) const {
    const json::value *prompt_value = object.if_contains("prompt"),
                      *completion_value = object.if_contains("completion");
    if (prompt_value != nullptr && prompt_value->is_array() && completion_value != nullptr &&
        completion_value->is_array()) {
      DG_CHECK_OK(ReadMessages(prompt_value->get_array(), "prompt", record));
      DG_CHECK_OK(ReadMessages(completion_value->get_array(), "completion", record));
      return ReadRest(object, record);
    }
    record.form = Record::Form::kPair;
    DG_TRY(std::string prompt, RequiredText(object, "prompt", ""));
    DG_TRY(std::string completion, RequiredText(object, "completion", ""));
    record.messages.push_back({.role = Role::kUser, .content = std::move(prompt)});
    record.messages.push_back({.role = Role::kAssistant, .content = std::move(completion)});
    return {};
  }

  OrFault<void> ReadConversation(const json::object& object, Record& record) const {
    DG_TRY(const json::array* messages, OptionalList(object, "messages", ""));
    if (messages == nullptr) return Wrong("messages", "is empty");
    DG_CHECK_OK(ReadMessages(*messages, "messages", record));
    return ReadRest(object, record);
  }

  /// Appends the messages of a list.
  OrFault<void> ReadMessages(const json::array& messages, const char* list, Record& record) const {
    if (messages.empty()) return Wrong(list, "is empty");
    if (messages.size() > limits_.messages) {
      return std::unexpected(Fault{FaultKind::kWrongValue, fmt::format("{}: has {} entries (at most {})", list,
                                                                       messages.size(), limits_.messages)});
    }
    for (size_t i = 0; i < messages.size(); ++i) {
      DG_TRY(Message message, ReadMessage(messages[i], fmt::format("{}[{}]", list, i)));
      record.thinking = record.thinking || !message.reasoning.empty();
      record.messages.push_back(std::move(message));
    }
    return {};
  }

  /// What stands beside the messages of a conversation.
  static OrFault<void> ReadRest(const json::object& object, Record& record) {
    DG_TRY(const json::array* tools, OptionalList(object, "tools", ""));
    for (size_t i = 0; tools != nullptr && i < tools->size(); ++i) {
      DG_TRY(Tool tool, ReadTool((*tools)[i], fmt::format("tools[{}]", i)));
      record.tools.push_back(std::move(tool));
    }
    const json::value* thinking = object.if_contains("thinking");
    if (thinking == nullptr) return {};
    if (!thinking->is_bool()) return Wrong("thinking", "must be true or false");
    record.thinking = thinking->get_bool();
    return {};
  }

  OrFault<Message> ReadMessage(const json::value& value, const std::string& place) const {
    if (!value.is_object()) return Wrong(place, "must be an object");
    const json::object& object = value.get_object();
    const std::string inside = place + ".";
    Message message;
    DG_TRY(const std::string role_name, RequiredText(object, "role", inside));
    const auto role = ParseRole(role_name);
    if (!role) {
      return std::unexpected(Fault{FaultKind::kUnknownRole, fmt::format("{}role: {} is not one of system, developer, "
                                                                        "user, assistant, tool",
                                                                        inside, Quoted(role_name))});
    }
    message.role = *role;
    DG_TRY(message.content, ReadContent(object, message.role, inside));
    if (object.contains("tool_responses"))
      return Wrong(inside + "tool_responses", "write them as messages of role tool");
    if (message.role == Role::kAssistant) {
      for (const char* key : {"thinking", "reasoning_content", "reasoning"}) {  // the last of them counts
        DG_TRY(auto reasoning, OptionalText(object, key, inside));
        if (reasoning) message.reasoning = *std::move(reasoning);
      }
      DG_TRY(const json::array* calls, OptionalList(object, "tool_calls", inside));
      for (size_t i = 0; calls != nullptr && i < calls->size(); ++i) {
        DG_TRY(ToolCall call, ReadCall((*calls)[i], fmt::format("{}tool_calls[{}]", inside, i)));
        message.tool_calls.push_back(std::move(call));
      }
    } else if (message.role == Role::kTool) {
      DG_TRY(auto id, OptionalText(object, "tool_call_id", inside));
      DG_TRY(auto name, OptionalText(object, "name", inside));
      message.tool_call_id = std::move(id).value_or("");
      message.name = std::move(name).value_or("");
    }
    return message;
  }

  static OrFault<Content> ReadContent(const json::object& object, Role role, const std::string& inside) {
    const json::value* content = object.if_contains("content");
    if (content == nullptr || content->is_null()) {
      if (role == Role::kAssistant) return Content{};
      return Wrong(inside + "content", "is missing");
    }
    if (content->is_string()) return Content{Text(content->get_string())};
    if (!content->is_array()) return Wrong(inside + "content", "must be a text or a list of text parts");
    std::vector<ContentPart> parts;
    for (const json::value& part : content->get_array()) {
      if (!part.is_object()) return Wrong(inside + "content", "must be a text or a list of text parts");
      DG_TRY(const std::string type, RequiredText(part.get_object(), "type", inside + "content."));
      if (type != "text") return Wrong(inside + "content", "only parts of type text can be trained on");
      DG_TRY(std::string text, RequiredText(part.get_object(), "text", inside + "content."));
      parts.push_back({.kind = ContentPart::Kind::kText, .text = std::move(text)});
    }
    return Content{std::move(parts)};
  }

  OrFault<ToolCall> ReadCall(const json::value& value, const std::string& place) const {
    DG_TRY(const json::object* function, FunctionOf(value, place));
    ToolCall call;
    DG_TRY(auto id, OptionalText(value.get_object(), "id", place + "."));
    call.id = std::move(id).value_or("");
    DG_TRY(call.name, RequiredText(*function, "name", place + "."));
    if (const json::value* arguments = function->if_contains("arguments")) call.arguments = *arguments;
    if (call.arguments.is_string()) {
      auto parsed = Parse(Text(call.arguments.get_string()));
      if (!parsed) return Wrong(place + ".arguments", "must be an object or the text of one");
      call.arguments = *std::move(parsed);
    }
    if (!call.arguments.is_object() && !call.arguments.is_null()) {
      return Wrong(place + ".arguments", "must be an object or the text of one");
    }
    return call;
  }

  static OrFault<Tool> ReadTool(const json::value& value, const std::string& place) {
    DG_TRY(const json::object* function, FunctionOf(value, place));
    Tool tool;
    DG_TRY(tool.name, RequiredText(*function, "name", place + "."));
    DG_TRY(auto description, OptionalText(*function, "description", place + "."));
    tool.description = std::move(description).value_or("");
    const json::value* parameters = function->if_contains("parameters");
    if (parameters == nullptr || parameters->is_null()) return tool;
    if (!parameters->is_object()) return Wrong(place + ".parameters", "must be an object");
    tool.parameters = *parameters;
    return tool;
  }

  Result<json::value> Parse(std::string_view text) const {
    return ParseJson(text, {.bytes = limits_.line_bytes, .depth = limits_.json_depth, .nodes = limits_.json_nodes});
  }

  const DatasetLimits& limits_;
};

}  // namespace

OrFault<Record> ReadJsonRecord(std::string_view line, const DatasetLimits& limits) {
  if (!IsValidUtf8(line)) return std::unexpected(Fault{FaultKind::kBadUtf8, "is not well-formed UTF-8"});
  const auto value =
      ParseJson(line, {.bytes = limits.line_bytes, .depth = limits.json_depth, .nodes = limits.json_nodes});
  if (!value) return std::unexpected(Fault{FaultKind::kNotJson, value.error().message});
  if (!value->is_object()) return Wrong("record", "must be a JSON object");
  return RecordReader(limits).Read(value->get_object());
}

}  // namespace dgemma
