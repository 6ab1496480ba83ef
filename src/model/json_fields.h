// Typed, range-checked reading of the fields of one JSON object. The first failure is kept and everything after it returns
// defaults, so that a parser reads as a list of fields and checks once at the end. Used by config.cc only.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dgemma/status.h"

namespace dgemma {

/// Inclusive bounds of an integer field.
struct IntRange {
  int64_t min = 0;
  int64_t max = 0;
};

/// Inclusive bounds of a real field; NaN and infinity never pass.
struct RealRange {
  double min = 0;
  double max = 0;
};

class JsonFields {
 public:
  /// `object` may be null (an absent section): every field is then absent. `path` is what messages say, such as "text_config".
  JsonFields(const boost::json::object* object, std::string path, std::optional<Status>& failure)
      : object_(object), path_(std::move(path)), failure_(failure) {}

  bool Has(std::string_view key) const;                                                ///< present and not null
  int64_t Int(std::string_view key, IntRange range, std::optional<int64_t> fallback);  ///< no fallback: required
  double Real(std::string_view key, RealRange range, std::optional<double> fallback);
  bool Bool(std::string_view key, bool fallback);
  std::string Text(std::string_view key, std::string_view fallback);
  std::vector<std::string> Texts(std::string_view key);            ///< a list of strings; empty when absent
  std::vector<int32_t> Ids(std::string_view key, IntRange range);  ///< one integer or a list of them; empty when absent
  JsonFields Section(std::string_view key) const;                  ///< a nested object; absent is an empty section

  const boost::json::object* object() const { return object_; }
  /// Records "path.key: rule" unless something failed before. An empty key means the section itself.
  void Refuse(std::string_view key, std::string rule, StatusCode code = StatusCode::kInvalidFile) const;

 private:
  const boost::json::value* Find(std::string_view key) const;
  std::string Place(std::string_view key) const;  // "path.key" for messages, printable whatever the key

  const boost::json::object* object_;
  std::string path_;
  std::optional<Status>& failure_;
};

}  // namespace dgemma
