// Patterns of module names against the verdicts of Python's re, asked as PEFT asks it: re.match(r"(.*\.)?(PATTERN)$",
// name).
#include "model/adapter_pattern.h"

#include <gtest/gtest.h>

#include <array>
#include <chrono>

namespace dgemma {
namespace {

constexpr auto kNames = std::to_array<std::string_view>(
    {"model.decoder.layers.0.self_attn.q_proj", "model.decoder.layers.10.self_attn.q_proj",
     "model.encoder.language_model.layers.1.mlp.up_proj", "q_proj", "model.decoder.layers.0.experts.gate_up_proj"});

struct Verdicts {
  const char* pattern;
  const char* matched;  ///< '1' for each of kNames that matches
};

constexpr auto kRecorded = std::to_array<Verdicts>({
    {R"(q_proj)", "11010"},
    {R"(self_attn.q_proj)", "11000"},
    {R"(attn.q_proj)", "00000"},
    {R"(self_attn_q_proj)", "00000"},
    {R"(layers.0.self_attn.q_proj)", "10000"},
    {R"(^model.decoder.layers.0.self_attn.q_proj)", "10000"},
    {R"(^q_proj)", "00010"},
    {R"(layers.1.mlp.up_proj$)", "00100"},
    {R"(layers\.\d+\.self_attn\.(q|k)_proj)", "11000"},
    {R"(layers\.\d\.self_attn\..*)", "10000"},
    {R"(.*decoder.*q_proj)", "11000"},
    {R"((q|up)_proj)", "11110"},
    {R"(q_proj|up_proj)", "11110"},
    {R"([qu]p?_proj)", "11110"},
    {R"(layers\.[^1]\..*)", "10001"},
    {R"((?:a|b|model).*up_proj)", "00101"},
    {R"(q_?proj)", "11010"},
    {R"((q_)+proj)", "11010"},
    {R"(q_proj.?)", "11010"},
    {R"()", "00000"},
    {R"(model)", "00000"},
    {R"(decoder..*)", "11001"},
    {R"((layers.\d+.)?self_attn.q_proj)", "11000"},
    {R"((a|)q_proj)", "11010"},
    {R"(\w+)", "11111"},
    {R"((self_attn.)*q_proj)", "11010"},
    {R"(mlp.*)", "00100"},
    {R"(x*)", "00000"},
    {R"(gate_up_proj)", "00001"},
    {R"(up_proj)", "00100"},
    {R"([]q]_proj)", "11010"},
    {R"(q_proj+?)", "11010"},
    {R"(layers\.1.?\..+)", "01100"},
});

TEST(NamePattern, AgreesWithPython) {
  for (const auto& [text, matched] : kRecorded) {
    const auto pattern = NamePattern::Parse(text);
    ASSERT_TRUE(pattern) << pattern.error().message;
    std::string verdicts;
    for (const std::string_view name : kNames) verdicts += pattern->Matches(name) ? '1' : '0';
    EXPECT_EQ(verdicts, matched) << text;
  }
}

TEST(NamePattern, WhatIsNotUnderstoodIsRefused) {
  const auto code = [](std::string_view text) {
    const auto pattern = NamePattern::Parse(text);
    return pattern ? StatusCode::kInternal : pattern.error().code;
  };
  for (const char* text : {"a{2}", "(?=a)", R"(\1)", R"(\b)", "a**"})
    EXPECT_EQ(code(text), StatusCode::kUnsupported) << text;
  for (const char* text : {"(a", "a)", "[a", "*a", "a|+", "\\"})
    EXPECT_EQ(code(text), StatusCode::kInvalidFile) << text;
  EXPECT_EQ(code(std::string(17, '(') + "a" + std::string(17, ')')), StatusCode::kUnsupported);
  EXPECT_EQ(code(std::string(16, '(') + "a" + std::string(16, ')')), StatusCode::kInternal);
  EXPECT_EQ(code(std::string(100'000, '(')), StatusCode::kUnsupported) << "no recursion without bound";
}

// Python needs more than minutes for this one.
TEST(NamePattern, NothingTakesExponentialTime) {
  const auto begin = std::chrono::steady_clock::now();
  const auto pattern = NamePattern::Parse("((.*)*)*z");
  ASSERT_TRUE(pattern);
  EXPECT_FALSE(pattern->Matches(std::string(10'000, 'a')));
  EXPECT_TRUE(pattern->Matches(std::string(10'000, 'a') + "z"));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
}

}  // namespace
}  // namespace dgemma
