// What the program says when it refuses: nothing on standard output, one line on standard error.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "child.h"

namespace dgemma {

/// The program ends with this code and one line that has `named` in it.
inline void ExpectRefused(const std::vector<std::string>& arguments, int code, const std::string& named,
                          const std::string& input = "") {
  const Ran ran = RunProgram(arguments, input);
  std::string line;
  for (const std::string& argument : arguments) line += argument + " ";
  EXPECT_EQ(ran.code, code) << line << ran.err;
  EXPECT_EQ(ran.out, "") << line;
  EXPECT_EQ(std::ranges::count(ran.err, '\n'), 1) << line << ran.err;
  EXPECT_NE(ran.err.find(named), std::string::npos) << line << ran.err;
}

}  // namespace dgemma
