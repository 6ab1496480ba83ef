// JSON through Boost.JSON's event parser: our handler builds the value and enforces the rules the DOM parser does not
// have.
#include "files/json.h"

#include <algorithm>
#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/value_stack.hpp>
#include <charconv>
#include <cmath>
#include <string>
#include <vector>

#include "files/messages.h"

namespace dgemma {
namespace {

namespace json = boost::json;

/// Receives parser events. Keys of the open objects are kept so that a repeated key is found when its object closes.
struct Handler {
  static constexpr std::size_t max_object_size = json::object::max_size();
  static constexpr std::size_t max_array_size = json::array::max_size();
  static constexpr std::size_t max_key_size = json::string::max_size();
  static constexpr std::size_t max_string_size = json::string::max_size();

  explicit Handler(uint64_t nodes_allowed) : nodes_left(nodes_allowed) {}

  bool on_document_begin(json::error_code&) { return true; }
  bool on_document_end(json::error_code&) { return true; }
  bool on_object_begin(json::error_code&) {
    keys.emplace_back();
    return true;
  }
  bool on_object_end(std::size_t count, json::error_code& error) {
    std::vector<std::string>& seen = keys.back();
    std::sort(seen.begin(), seen.end());
    if (const auto repeat = std::adjacent_find(seen.begin(), seen.end()); repeat != seen.end()) {
      return Refuse("duplicate key " + Quoted(*repeat), error);
    }
    keys.pop_back();
    stack.push_object(count);
    return Count(error);
  }
  bool on_array_begin(json::error_code&) { return true; }
  bool on_array_end(std::size_t count, json::error_code& error) {
    stack.push_array(count);
    return Count(error);
  }
  bool on_key_part(json::string_view part, std::size_t, json::error_code&) {
    key.append(part.data(), part.size());
    stack.push_chars(part);
    return true;
  }
  bool on_key(json::string_view part, std::size_t, json::error_code& error) {
    key.append(part.data(), part.size());
    keys.back().push_back(std::move(key));
    key.clear();
    stack.push_key(part);
    return Count(error);
  }
  bool on_string_part(json::string_view part, std::size_t, json::error_code&) {
    stack.push_chars(part);
    return true;
  }
  bool on_string(json::string_view part, std::size_t, json::error_code& error) {
    stack.push_string(part);
    return Count(error);
  }
  bool on_number_part(json::string_view, json::error_code&) { return true; }
  bool on_int64(std::int64_t value, json::string_view, json::error_code& error) {
    stack.push_int64(value);
    return Count(error);
  }
  bool on_uint64(std::uint64_t value, json::string_view, json::error_code& error) {
    stack.push_uint64(value);
    return Count(error);
  }
  bool on_double(double value, json::string_view text, json::error_code& error) {
    // Boost.JSON 1.81 rounds some decimals to a neighbour of the nearest double; from_chars does not.
    double nearest = 0;
    if (std::from_chars(text.begin(), text.end(), nearest).ec == std::errc()) value = nearest;
    if (!std::isfinite(value)) return Refuse("number out of the range of double", error);
    stack.push_double(value);
    return Count(error);
  }
  bool on_bool(bool value, json::error_code& error) {
    stack.push_bool(value);
    return Count(error);
  }
  bool on_null(json::error_code& error) {
    stack.push_null();
    return Count(error);
  }
  bool on_comment_part(json::string_view, json::error_code&) { return true; }
  bool on_comment(json::string_view, json::error_code&) { return true; }

  bool Count(json::error_code& error) {
    if (nodes_left == 0) return Refuse("too many values", error);
    --nodes_left;
    return true;
  }
  bool Refuse(std::string why, json::error_code& error) {
    refusal = std::move(why);
    error = json::error::exception;  // any error stops the parser; `refusal` holds the reason
    return false;
  }

  json::value_stack stack;
  std::vector<std::vector<std::string>> keys;
  std::string key;
  std::string refusal;
  uint64_t nodes_left;
};

}  // namespace

Result<boost::json::value> ParseJson(std::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.bytes) {
    return Fail(StatusCode::kInvalidFile, "JSON text of " + std::to_string(text.size()) +
                                              " bytes exceeds the limit of " + std::to_string(limits.bytes));
  }
  json::parse_options options;
  options.max_depth = limits.depth;
  json::basic_parser<Handler> parser(options, limits.nodes);
  parser.handler().stack.reset();
  json::error_code error;
  const std::size_t used = parser.write_some(false, text.data(), text.size(), error);
  if (!error && used < text.size()) error = json::error::extra_data;
  if (error) {
    const std::string& refusal = parser.handler().refusal;
    return Fail(StatusCode::kInvalidFile,
                "JSON: " + (refusal.empty() ? error.message() : refusal) + " at byte " + std::to_string(used));
  }
  return parser.handler().stack.release();
}

}  // namespace dgemma
