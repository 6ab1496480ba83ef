// JSON as the verbs print it: one line, numbers written plainly.
#pragma once

#include <boost/json/value.hpp>
#include <string>

namespace dgemma {

/// As boost::json::serialize, but 0, 33 and 0.25 where that writes 0E0, 3.3E1 and 2.5E-1; the shortest digits that read
/// back as the same number. null for what is no finite number. For values that the program made: recursion follows their depth.
std::string JsonText(const boost::json::value& value);

}  // namespace dgemma
