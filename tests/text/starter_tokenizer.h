// The committed small tokenizer (512 entries, the Gemma pipeline), loaded once for the tests of this folder.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

#include "text/tokenizer.h"

namespace dgemma {

inline std::string ReadTestFile(const std::string& path) {
  std::ifstream file(std::string(DGEMMA_SOURCE_DIR) + "/" + path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

inline const Tokenizer& StarterTokenizer() {
  static const Result<Tokenizer> tokenizer = Tokenizer::FromJson(ReadTestFile("models/starter/tokenizer.json"));
  EXPECT_TRUE(tokenizer) << tokenizer.error().message;
  return *tokenizer;
}

}  // namespace dgemma
