// What the files of the chat format share: collecting pieces, and the notation for JSON values inside tool markup.
// Private to src/text.
#pragma once

#include <boost/json/value.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "dgemma/status.h"
#include "text/chat.h"

namespace dgemma {

/// Collects pieces, joining neighbours of one kind.
class ChatWriter {
 public:
  void Markup(std::string_view text) { Add(ChatPiece::Kind::kMarkup, text); }
  void Content(std::string_view text) { Add(ChatPiece::Kind::kContent, text); }
  /// `text` between the string quotes of the tool notation.
  void Quoted(std::string_view text);
  void Append(const std::vector<ChatPiece>& pieces);
  std::vector<ChatPiece>& pieces() { return pieces_; }

 private:
  void Add(ChatPiece::Kind kind, std::string_view text);
  std::vector<ChatPiece> pieces_;
};

/// How keys of nested objects are written: with or without string quotes.
enum class KeyStyle { kQuoted, kBare };

/// Members in the template's order: by key without regard to ASCII case, equal ones as they stand.
std::vector<const boost::json::key_value_pair*> SortedMembers(const boost::json::object& object);

/// A JSON value in tool notation: strings quoted, objects {k:v,...} with sorted keys, lists [v,...], numbers as Python
/// prints them. `depth` counts the containers around it.
Result<void> WriteValue(const boost::json::value& value, KeyStyle keys, int depth, ChatWriter& out);

/// "key:value,..." of an object without its braces, with bare keys.
Result<void> WriteMembers(const boost::json::object& object, int depth, ChatWriter& out);

/// Markup of a tool's declaration, without its enclosing tokens. `field` names the tool in errors.
Result<void> WriteDeclaration(const Tool& tool, const std::string& field, ChatWriter& out);

/// A double as Python's repr prints it: shortest digits that round-trip, "1.0", "1e-05".
std::string PythonFloat(double value);

}  // namespace dgemma
