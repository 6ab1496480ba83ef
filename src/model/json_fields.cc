// Reading of JSON fields; see json_fields.h.
#include "model/json_fields.h"

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/value.hpp>
#include <cmath>

namespace dgemma {
namespace {

constexpr size_t kShownKeyBytes = 80;

}  // namespace

const boost::json::value* JsonFields::Find(std::string_view key) const {
  if (object_ == nullptr) return nullptr;
  const boost::json::value* value = object_->if_contains(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

std::string JsonFields::Place(std::string_view key) const {
  std::string place = path_;
  if (!place.empty() && !key.empty()) place += '.';
  // Keys of per_layer_config come from the file: only what is printable is shown, and not much of it.
  for (const char byte : key.substr(0, kShownKeyBytes)) place += byte >= 0x20 && byte < 0x7f ? byte : '?';
  return place + (key.size() > kShownKeyBytes ? "..." : "");
}

bool JsonFields::Has(std::string_view key) const { return Find(key) != nullptr; }

void JsonFields::Refuse(std::string_view key, std::string rule, StatusCode code) const {
  if (failure_) return;
  failure_ = Status{code, fmt::format("{}: {}", Place(key), rule)};
}

int64_t JsonFields::Int(std::string_view key, IntRange range, std::optional<int64_t> fallback) {
  const boost::json::value* value = Find(key);
  if (value == nullptr) {
    if (!fallback) Refuse(key, "missing (required)");
    return fallback.value_or(range.min);
  }
  if (!value->is_int64()) {
    Refuse(key, fmt::format("must be an integer in {}..{}", range.min, range.max));
    return range.min;
  }
  const int64_t number = value->as_int64();
  if (number < range.min || number > range.max) {
    Refuse(key, fmt::format("{} is out of range ({}..{})", number, range.min, range.max));
    return range.min;
  }
  return number;
}

double JsonFields::Real(std::string_view key, RealRange range, std::optional<double> fallback) {
  const boost::json::value* value = Find(key);
  if (value == nullptr) {
    if (!fallback) Refuse(key, "missing (required)");
    return fallback.value_or(range.min);
  }
  boost::json::error_code error;
  const double number = value->is_number() ? value->to_number<double>(error) : std::nan("");
  if (error || !(number >= range.min && number <= range.max)) {
    Refuse(key, fmt::format("must be a number in {}..{}", range.min, range.max));
    return range.min;
  }
  return number;
}

bool JsonFields::Bool(std::string_view key, bool fallback) {
  const boost::json::value* value = Find(key);
  if (value == nullptr) return fallback;
  if (value->is_bool()) return value->as_bool();
  Refuse(key, "must be true or false");
  return fallback;
}

std::string JsonFields::Text(std::string_view key, std::string_view fallback) {
  const boost::json::value* value = Find(key);
  if (value == nullptr) return std::string(fallback);
  if (value->is_string()) return std::string(value->as_string());
  Refuse(key, "must be a string");
  return std::string(fallback);
}

std::vector<std::string> JsonFields::Texts(std::string_view key) {
  std::vector<std::string> texts;
  const boost::json::value* value = Find(key);
  if (value == nullptr) return texts;
  if (!value->is_array()) {
    Refuse(key, "must be a list of strings");
    return texts;
  }
  for (const boost::json::value& item : value->as_array()) {
    if (!item.is_string()) {
      Refuse(key, "must be a list of strings");
      return {};
    }
    texts.emplace_back(item.as_string());
  }
  return texts;
}

std::vector<int32_t> JsonFields::Ids(std::string_view key, IntRange range) {
  std::vector<int32_t> ids;
  const boost::json::value* value = Find(key);
  if (value == nullptr) return ids;
  const auto add = [&](const boost::json::value& item) {
    if (!item.is_int64() || item.as_int64() < range.min || item.as_int64() > range.max) {
      Refuse(key, fmt::format("must be token ids in {}..{}", range.min, range.max));
      return;
    }
    ids.push_back(static_cast<int32_t>(item.as_int64()));
  };
  if (value->is_array()) {
    if (value->as_array().size() > 64)
      Refuse(key, "has more than 64 ids");
    else
      for (const boost::json::value& item : value->as_array()) add(item);
  } else {
    add(*value);
  }
  return ids;
}

JsonFields JsonFields::Section(std::string_view key) const {
  const boost::json::value* value = Find(key);
  if (value != nullptr && !value->is_object()) Refuse(key, "must be an object");
  const boost::json::object* object = value != nullptr && value->is_object() ? &value->as_object() : nullptr;
  return {object, Place(key), failure_};
}

}  // namespace dgemma
