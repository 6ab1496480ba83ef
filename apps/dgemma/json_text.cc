// Walks arrays and objects; everything but floating-point numbers is Boost's to write.
#include "json_text.h"

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>

namespace dgemma {

std::string JsonText(const boost::json::value& value) {
  if (value.is_double()) return std::isfinite(value.get_double()) ? fmt::format("{}", value.get_double()) : "null";
  std::string text;
  if (value.is_array()) {
    for (const boost::json::value& item : value.get_array()) text += (text.empty() ? "[" : ",") + JsonText(item);
    return text.empty() ? "[]" : text + "]";
  }
  if (value.is_object()) {
    for (const auto& [key, item] : value.get_object()) {
      text += (text.empty() ? "{" : ",") + boost::json::serialize(boost::json::string(key)) + ":" + JsonText(item);
    }
    return text.empty() ? "{}" : text + "}";
  }
  return boost::json::serialize(value);
}

}  // namespace dgemma
