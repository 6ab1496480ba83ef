// JSON values in the notation of tool calls, declarations and responses.
#include <algorithm>
#include <array>
#include <charconv>

#include "base/try.h"
#include "text/chat_writer.h"

namespace dgemma {
namespace {

namespace json = boost::json;

std::string_view View(const json::string& text) { return {text.data(), text.size()}; }

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

/// Order of two members: by key without case, then by place (members of one object lie in one array).
bool LessWithoutCase(const json::key_value_pair* a, const json::key_value_pair* b) {
  const auto left = a->key(), right = b->key();
  const size_t common = std::min(left.size(), right.size());
  for (size_t i = 0; i < common; ++i) {
    const auto x = static_cast<unsigned char>(Lower(left[i])), y = static_cast<unsigned char>(Lower(right[i]));
    if (x != y) return x < y;
  }
  return left.size() != right.size() ? left.size() < right.size() : a < b;
}

}  // namespace

void ChatWriter::Add(ChatPiece::Kind kind, std::string_view text) {
  if (text.empty()) return;
  if (pieces_.empty() || pieces_.back().kind != kind) pieces_.push_back({kind, {}});
  pieces_.back().text += text;
}

void ChatWriter::Quoted(std::string_view text) {
  Markup("<|\"|>");
  Content(text);
  Markup("<|\"|>");
}

void ChatWriter::Append(const std::vector<ChatPiece>& pieces) {
  for (const ChatPiece& piece : pieces) Add(piece.kind, piece.text);
}

std::vector<const json::key_value_pair*> SortedMembers(const json::object& object) {
  std::vector<const json::key_value_pair*> members;
  members.reserve(object.size());
  for (const auto& member : object) members.push_back(&member);
  std::sort(members.begin(), members.end(), LessWithoutCase);
  return members;
}

std::string PythonFloat(double value) {
  std::array<char, 40> buffer{};
  const auto end =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::scientific).ptr;
  const std::string_view text(buffer.data(), static_cast<size_t>(end - buffer.data()));
  const size_t e = text.find('e');
  if (e == std::string_view::npos) return std::string(text);  // "inf", "nan": not in JSON, but a program may build them
  int exponent = 0;
  const std::string_view power = text.substr(text[e + 1] == '+' ? e + 2 : e + 1);
  std::from_chars(power.data(), power.data() + power.size(), exponent);
  std::string digits;
  for (char c : text.substr(0, e)) {
    if (c != '-' && c != '.') digits.push_back(c);
  }
  std::string out = text.front() == '-' ? "-" : "";
  const auto count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    out += digits.substr(0, 1) + (count > 1 ? "." + digits.substr(1) : "") + (exponent < 0 ? "e-" : "e+");
    const std::string magnitude = std::to_string(exponent < 0 ? -exponent : exponent);
    return out + (magnitude.size() < 2 ? "0" : "") + magnitude;
  }
  if (exponent < 0) return out + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  if (count <= exponent + 1) return out + digits + std::string(static_cast<size_t>(exponent + 1 - count), '0') + ".0";
  const auto whole = static_cast<size_t>(exponent + 1);
  return out + digits.substr(0, whole) + "." + digits.substr(whole);
}

Result<void> WriteValue(const json::value& value, KeyStyle keys, int depth, ChatWriter& out) {
  if (depth > kMaxChatJsonDepth) {
    return Fail(StatusCode::kResourceExhausted, "JSON nested deeper than " + std::to_string(kMaxChatJsonDepth));
  }
  switch (value.kind()) {
    case json::kind::null:
      out.Markup("null");
      break;
    case json::kind::bool_:
      out.Markup(value.get_bool() ? "true" : "false");
      break;
    case json::kind::int64:
      out.Markup(std::to_string(value.get_int64()));
      break;
    case json::kind::uint64:
      out.Markup(std::to_string(value.get_uint64()));
      break;
    case json::kind::double_:
      out.Markup(PythonFloat(value.get_double()));
      break;
    case json::kind::string:
      out.Quoted(View(value.get_string()));
      break;
    case json::kind::array: {
      out.Markup("[");
      bool first = true;
      for (const json::value& item : value.get_array()) {
        if (!first) out.Markup(",");
        first = false;
        DG_CHECK_OK(WriteValue(item, keys, depth + 1, out));
      }
      out.Markup("]");
      break;
    }
    case json::kind::object: {
      out.Markup("{");
      bool first = true;
      for (const json::key_value_pair* member : SortedMembers(value.get_object())) {
        if (!first) out.Markup(",");
        first = false;
        const std::string_view key(member->key().data(), member->key().size());
        if (keys == KeyStyle::kQuoted) {
          out.Quoted(key);
        } else {
          out.Content(key);
        }
        out.Markup(":");
        DG_CHECK_OK(WriteValue(member->value(), keys, depth + 1, out));
      }
      out.Markup("}");
      break;
    }
  }
  return {};
}

Result<void> WriteMembers(const json::object& object, int depth, ChatWriter& out) {
  bool first = true;
  for (const json::key_value_pair* member : SortedMembers(object)) {
    if (!first) out.Markup(",");
    first = false;
    out.Content(std::string_view(member->key().data(), member->key().size()));
    out.Markup(":");
    DG_CHECK_OK(WriteValue(member->value(), KeyStyle::kBare, depth + 1, out));
  }
  return {};
}

}  // namespace dgemma
