// Reading a request's JSON members with exact field paths in the errors: "messages[2].content: must be a string". Used by
// every family of the interface; errors never repeat what the client sent.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "dgemma/status.h"
#include "server/limits.h"

namespace dgemma {

/// A request's body as an object, within json_depth and json_nodes. kInvalidArgument with the byte offset and a fixed text.
Result<boost::json::object> ParseBody(std::string_view body, const ServerLimits& limits);

/// An error of a request: kInvalidArgument, "path: what".
std::unexpected<Status> BadField(const std::string& path, std::string_view what);

/// One object of a request. A member that is absent or null reads as nothing.
class Fields {
 public:
  /// `path` is what errors put in front of a member's name; empty for the body. The object must outlive this.
  explicit Fields(const boost::json::object& object, std::string path = {}) : object_(object), path_(std::move(path)) {}

  Result<std::optional<std::string>> Text(std::string_view name) const;
  Result<std::string> RequiredText(std::string_view name) const;
  Result<std::optional<bool>> Flag(std::string_view name) const;
  /// A finite number in [low, high].
  Result<std::optional<double>> Number(std::string_view name, double low, double high) const;
  /// A whole number in [low, high], also when it is written as 3.0.
  Result<std::optional<int64_t>> Integer(std::string_view name, int64_t low, int64_t high) const;
  /// A whole number that fits 64 bits without a sign, or a negative one that fits with it, as its bits.
  Result<std::optional<uint64_t>> Seed(std::string_view name) const;
  /// Null when absent.
  Result<const boost::json::array*> List(std::string_view name, size_t most) const;
  Result<const boost::json::object*> Object(std::string_view name) const;
  /// The member whatever its type; null pointer when absent or null.
  const boost::json::value* Any(std::string_view name) const;

  /// kInvalidArgument when a member other than these is there.
  Result<void> Only(std::initializer_list<std::string_view> names) const;
  /// "messages[2].content"
  std::string Path(std::string_view name) const;

 private:
  const boost::json::object& object_;
  std::string path_;
};

/// "messages[2]"
std::string IndexPath(std::string_view list, size_t index);

/// The value as an object, or "path: must be an object".
Result<const boost::json::object*> AsObject(const boost::json::value& value, const std::string& path);

/// View of a JSON string.
inline std::string_view View(const boost::json::string& text) { return {text.data(), text.size()}; }

/// A text as JSON takes it.
inline boost::json::string_view Json(std::string_view text) { return {text.data(), text.size()}; }

/// JSON on one line, numbers written plainly: 0, 33 and 0.25. null for what is no finite number.
std::string JsonLine(const boost::json::value& value);

/// Rounded to so many digits behind the point: figures are measured, and clients show what they get.
double Rounded(double value, int digits = 3);

}  // namespace dgemma
