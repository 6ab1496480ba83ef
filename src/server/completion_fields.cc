// Members by type, and JSON as the server writes it.
#include "server/completion_fields.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <limits>

#include "files/json.h"

namespace dgemma {
namespace {

namespace json = boost::json;

void Append(const json::value& value, std::string& out) {
  if (value.is_double()) {
    out += std::isfinite(value.get_double()) ? fmt::format("{}", value.get_double()) : "null";
  } else if (value.is_array()) {
    out += '[';
    bool first = true;
    for (const json::value& item : value.get_array()) {
      if (!first) out += ',';
      first = false;
      Append(item, out);
    }
    out += ']';
  } else if (value.is_object()) {
    out += '{';
    bool first = true;
    for (const auto& [key, item] : value.get_object()) {
      if (!first) out += ',';
      first = false;
      out += json::serialize(json::string(key)) + ":";
      Append(item, out);
    }
    out += '}';
  } else {
    out += json::serialize(value);
  }
}

}  // namespace

Result<json::object> ParseBody(std::string_view body, const ServerLimits& limits) {
  auto value = ParseJson(body, {.bytes = body.size(), .depth = limits.json_depth, .nodes = limits.json_nodes});
  if (!value) {
    // The parser's message may quote a key; only the place is passed on.
    const std::string& message = value.error().message;
    const size_t place = message.rfind(" at byte ");
    return Fail(StatusCode::kInvalidArgument,
                fmt::format("body: not a JSON document within the limits ({} levels, {} values, no repeated keys)",
                            limits.json_depth, limits.json_nodes) +
                    (place == std::string::npos ? "" : message.substr(place)));
  }
  if (!value->is_object()) return Fail(StatusCode::kInvalidArgument, "body: must be a JSON object");
  return std::move(value->get_object());
}

std::unexpected<Status> BadField(const std::string& path, std::string_view what) {
  return Fail(StatusCode::kInvalidArgument, fmt::format("{}: {}", path, what));
}

std::string IndexPath(std::string_view list, size_t index) { return fmt::format("{}[{}]", list, index); }

std::string Fields::Path(std::string_view name) const {
  return path_.empty() ? std::string(name) : fmt::format("{}.{}", path_, name);
}

const json::value* Fields::Any(std::string_view name) const {
  const json::value* value = object_.if_contains(name);
  return value == nullptr || value->is_null() ? nullptr : value;
}

Result<std::optional<std::string>> Fields::Text(std::string_view name) const {
  const json::value* value = Any(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) return BadField(Path(name), "must be a string");
  return std::string(View(value->get_string()));
}

Result<std::string> Fields::RequiredText(std::string_view name) const {
  auto text = Text(name);
  if (!text) return std::unexpected(text.error());
  if (!*text) return BadField(Path(name), "is missing");
  return **std::move(text);
}

Result<std::optional<bool>> Fields::Flag(std::string_view name) const {
  const json::value* value = Any(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_bool()) return BadField(Path(name), "must be true or false");
  return value->get_bool();
}

Result<std::optional<double>> Fields::Number(std::string_view name, double low, double high) const {
  const json::value* value = Any(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) return BadField(Path(name), "must be a number");
  const auto number = value->to_number<double>();
  if (!(number >= low && number <= high)) {
    return BadField(Path(name), std::isinf(high) ? fmt::format("must be {} or more", low)
                                                 : fmt::format("is out of range ({} to {})", low, high));
  }
  return number;
}

Result<std::optional<int64_t>> Fields::Integer(std::string_view name, int64_t low, int64_t high) const {
  const json::value* value = Any(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) return BadField(Path(name), "must be a whole number");
  json::error_code inexact;
  const auto number = value->to_number<int64_t>(inexact);
  if (inexact && value->is_double() && std::trunc(value->get_double()) != value->get_double())
    return BadField(Path(name), "must be a whole number");
  if (inexact || number < low || number > high)
    return BadField(Path(name), fmt::format("is out of range ({} to {})", low, high));
  return number;
}

Result<std::optional<uint64_t>> Fields::Seed(std::string_view name) const {
  const json::value* value = Any(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_uint64()) return value->get_uint64();
  auto number = Integer(name, std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max());
  if (!number) return std::unexpected(number.error());
  return static_cast<uint64_t>(**number);
}

Result<const json::array*> Fields::List(std::string_view name, size_t most) const {
  const json::value* value = Any(name);
  if (value == nullptr) return nullptr;
  if (!value->is_array()) return BadField(Path(name), "must be a list");
  if (value->get_array().size() > most) return BadField(Path(name), fmt::format("has more than {} entries", most));
  return &value->get_array();
}

Result<const json::object*> Fields::Object(std::string_view name) const {
  const json::value* value = Any(name);
  if (value == nullptr) return nullptr;
  return AsObject(*value, Path(name));
}

Result<void> Fields::Only(std::initializer_list<std::string_view> names) const {
  for (const auto& member : object_) {
    const std::string_view key(member.key().data(), member.key().size());
    if (std::ranges::find(names, key) == names.end())
      return BadField(path_, fmt::format("has an unknown member (known: {})", fmt::join(names, ", ")));
  }
  return {};
}

Result<const json::object*> AsObject(const json::value& value, const std::string& path) {
  if (!value.is_object()) return BadField(path, "must be an object");
  return &value.get_object();
}

std::string JsonLine(const json::value& value) {
  std::string out;
  Append(value, out);
  return out;
}

double Rounded(double value, int digits) {
  const double unit = std::pow(10.0, digits);
  return std::round(value * unit) / unit;
}

}  // namespace dgemma
