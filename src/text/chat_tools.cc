// Declarations of tools: the part of a JSON schema that the chat format keeps, in its order and with its quirks.
#include "base/try.h"
#include "text/chat_writer.h"

namespace dgemma {
namespace {

namespace json = boost::json;

std::string_view View(const json::string& text) { return {text.data(), text.size()}; }

std::unexpected<Status> Invalid(const std::string& field, const char* what) {
  return Fail(StatusCode::kInvalidArgument, field + ": " + what);
}

std::string Upper(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return out;
}

/// What the template language counts as true: anything but null, false, zero and what is empty.
bool Truthy(const json::value* value) {
  if (value == nullptr || value->is_null()) return false;
  if (value->is_bool()) return value->get_bool();
  if (value->is_string()) return !value->get_string().empty();
  if (value->is_array()) return !value->get_array().empty();
  if (value->is_object()) return !value->get_object().empty();
  if (value->is_double()) return value->get_double() != 0.0;
  return value->is_uint64() ? value->get_uint64() != 0 : value->get_int64() != 0;
}

/// The "type" of a schema in upper case: a name, or a list of names as Python prints one. Absent: empty.
Result<std::string> TypeName(const json::object& schema, const std::string& field) {
  const json::value* type = schema.if_contains("type");
  if (type == nullptr) return std::string();
  if (type->is_string()) return Upper(View(type->get_string()));
  if (!type->is_array()) return Invalid(field + ".type", "neither a string nor a list of strings");
  std::string names;
  for (const json::value& name : type->get_array()) {
    if (!name.is_string()) return Invalid(field + ".type", "neither a string nor a list of strings");
    names += (names.empty() ? "'" : ", '") + Upper(View(name.get_string())) + "'";
  }
  return "[" + names + "]";
}

/// Puts a comma before every entry but the first.
class Commas {
 public:
  explicit Commas(ChatWriter& out) : out_(out) {}
  void Next() {
    if (started_) out_.Markup(",");
    started_ = true;
  }

 private:
  ChatWriter& out_;
  bool started_ = false;
};

Result<void> WriteRequired(const json::value& required, const std::string& field, ChatWriter& out) {
  if (!required.is_array()) return Invalid(field + ".required", "not a list");
  out.Markup("required:[");
  Commas commas(out);
  for (const json::value& name : required.get_array()) {
    if (!name.is_string()) return Invalid(field + ".required", "not a list of strings");
    commas.Next();
    out.Quoted(View(name.get_string()));
  }
  out.Markup("]");
  return {};
}

Result<void> WriteDescription(const json::value& description, const std::string& field, ChatWriter& out) {
  if (!description.is_string()) return Invalid(field + ".description", "not a string");
  out.Markup("description:");
  out.Quoted(View(description.get_string()));
  return {};
}

/// Whose members are listed: those of a "properties" object, or a schema itself without its standard keys (the template
/// does the latter for an object without "properties").
enum class MemberSource { kProperties, kSchema };

/// Where a property stands: for error messages and the bound on nesting.
struct Place {
  std::string field;
  int depth = 0;
};

Result<void> WriteProperties(const json::object& members, MemberSource source, const Place& place, ChatWriter& out);

Result<void> WriteItems(const json::object& items, const Place& place, ChatWriter& out) {
  out.Markup("items:{");
  Commas commas(out);
  for (const json::key_value_pair* member : SortedMembers(items)) {
    const std::string_view key(member->key().data(), member->key().size());
    const json::value& value = member->value();
    if (value.is_null()) continue;
    commas.Next();
    if (key == "properties") {
      out.Markup("properties:{");
      if (value.is_object()) {
        DG_CHECK_OK(
            WriteProperties(value.get_object(), MemberSource::kProperties, {place.field, place.depth + 1}, out));
      }
      out.Markup("}");
    } else if (key == "required") {
      DG_CHECK_OK(WriteRequired(value, place.field, out));
    } else if (key == "type") {
      DG_TRY(const std::string checked, TypeName(items, place.field));
      out.Markup("type:");
      if (value.is_string()) {
        out.Quoted(checked);
        continue;
      }
      json::array names;
      for (const json::value& name : value.get_array()) names.emplace_back(Upper(View(name.get_string())));
      DG_CHECK_OK(WriteValue(names, KeyStyle::kQuoted, place.depth, out));
    } else {
      out.Content(key);
      out.Markup(":");
      DG_CHECK_OK(WriteValue(value, KeyStyle::kQuoted, place.depth + 1, out));
    }
  }
  out.Markup("}");
  return {};
}

Result<void> WriteProperty(const json::object& schema, const Place& place, ChatWriter& out) {
  DG_TRY(const std::string type, TypeName(schema, place.field));
  Commas commas(out);
  if (const json::value* description = schema.if_contains("description"); Truthy(description)) {
    commas.Next();
    DG_CHECK_OK(WriteDescription(*description, place.field, out));
  }
  if (const json::value* values = schema.if_contains("enum"); type == "STRING" && Truthy(values)) {
    commas.Next();
    out.Markup("enum:");
    DG_CHECK_OK(WriteValue(*values, KeyStyle::kQuoted, place.depth + 1, out));
  }
  if (const json::value* items = schema.if_contains("items"); type == "ARRAY" && Truthy(items) && items->is_object()) {
    commas.Next();
    DG_CHECK_OK(WriteItems(items->get_object(), place, out));
  }
  if (Truthy(schema.if_contains("nullable"))) {
    commas.Next();
    out.Markup("nullable:true");
  }
  if (type == "OBJECT") {
    commas.Next();
    out.Markup("properties:{");
    const json::value* properties = schema.if_contains("properties");
    const bool listed = properties != nullptr && properties->is_object();
    DG_CHECK_OK(WriteProperties(listed ? properties->get_object() : schema,
                                listed ? MemberSource::kProperties : MemberSource::kSchema,
                                {place.field, place.depth + 1}, out));
    out.Markup("}");
    if (const json::value* required = schema.if_contains("required"); Truthy(required)) {
      commas.Next();
      DG_CHECK_OK(WriteRequired(*required, place.field, out));
    }
  }
  commas.Next();
  out.Markup("type:");
  out.Quoted(type);
  return {};
}

Result<void> WriteProperties(const json::object& members, MemberSource source, const Place& place, ChatWriter& out) {
  if (place.depth > kMaxChatJsonDepth) {
    return Fail(StatusCode::kResourceExhausted,
                place.field + ": nested deeper than " + std::to_string(kMaxChatJsonDepth));
  }
  Commas commas(out);
  for (const json::key_value_pair* member : SortedMembers(members)) {
    const std::string_view key(member->key().data(), member->key().size());
    const bool standard =
        key == "description" || key == "type" || key == "properties" || key == "required" || key == "nullable";
    if (source == MemberSource::kSchema && standard) continue;
    if (!member->value().is_object()) {
      // Keywords such as additionalProperties: false; the template fails on them.
      if (source == MemberSource::kSchema) continue;
      return Invalid(place.field + ".properties", "a property is not an object");
    }
    commas.Next();
    out.Content(key);
    out.Markup(":{");
    DG_CHECK_OK(WriteProperty(member->value().get_object(), place, out));
    out.Markup("}");
  }
  return {};
}

Result<void> WriteParameters(const json::object& parameters, const std::string& field, ChatWriter& out) {
  out.Markup(",parameters:{");
  if (const json::value* properties = parameters.if_contains("properties"); Truthy(properties)) {
    if (!properties->is_object()) return Invalid(field + ".properties", "not an object");
    out.Markup("properties:{");
    DG_CHECK_OK(WriteProperties(properties->get_object(), MemberSource::kProperties, {field, 0}, out));
    out.Markup("},");
  }
  if (const json::value* required = parameters.if_contains("required"); Truthy(required)) {
    DG_CHECK_OK(WriteRequired(*required, field, out));
    out.Markup(",");
  }
  if (Truthy(parameters.if_contains("type"))) {
    DG_TRY(const std::string type, TypeName(parameters, field));
    out.Markup("type:");
    out.Quoted(type);
    out.Markup("}");  // without a type the template leaves this brace open
  }
  return {};
}

Result<void> WriteResponseSchema(const json::object& response, const std::string& field, ChatWriter& out) {
  out.Markup(",response:{");
  if (const json::value* description = response.if_contains("description"); Truthy(description)) {
    DG_CHECK_OK(WriteDescription(*description, field, out));
    out.Markup(",");
  }
  DG_TRY(const std::string type, TypeName(response, field));
  if (type == "OBJECT") {
    out.Markup("type:");
    out.Quoted(type);
    out.Markup("}");  // without this type the template leaves this brace open
  }
  return {};
}

}  // namespace

Result<void> WriteDeclaration(const Tool& tool, const std::string& field, ChatWriter& out) {
  out.Markup("declaration:");
  out.Content(tool.name);
  out.Markup("{description:");
  out.Quoted(tool.description);
  if (Truthy(&tool.parameters)) {
    if (!tool.parameters.is_object()) return Invalid(field + ".parameters", "not an object");
    DG_CHECK_OK(WriteParameters(tool.parameters.get_object(), field + ".parameters", out));
  }
  if (tool.response) {
    if (!tool.response->is_object()) return Invalid(field + ".response", "not an object");
    DG_CHECK_OK(WriteResponseSchema(tool.response->get_object(), field + ".response", out));
  }
  out.Markup("}");
  return {};
}

}  // namespace dgemma
