// A tokenizer made for the generated tasks, built once for the tests of them.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "text/tokenizer.h"
#include "train/tasks.h"
#include "train/tokenizer_builder.h"

namespace dgemma {

inline const std::string& TasksTokenizerJson() {
  static const Result<std::string> json =
      BuildTokenizer(TaskTexts(1, 60), {.vocabulary = 1024, .keywords = TaskKeywords()});
  EXPECT_TRUE(json) << json.error().message;
  return *json;
}

inline const Tokenizer& TasksTokenizer() {
  static const Result<Tokenizer> tokenizer = Tokenizer::FromJson(TasksTokenizerJson());
  EXPECT_TRUE(tokenizer) << tokenizer.error().message;
  return *tokenizer;
}

}  // namespace dgemma
