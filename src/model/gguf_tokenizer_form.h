// Gemma's form of tokenizer.json and its counterpart in GGUF files: what gguf_tokenizer.cc writes and
// gguf_tokenizer_writer.cc expects.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace dgemma {

/// Token types of the format.
enum GgufTokenType : int32_t {
  kNormalToken = 1,
  kUnknownToken = 2,
  kControlToken = 3,
  kUserToken = 4,
  kUnusedToken = 5,
  kByteToken = 6
};

inline constexpr std::string_view kGemmaNormalizer = R"({"type":"Replace","pattern":{"String":" "},"content":"▁"})";
inline constexpr std::string_view kGemmaPreTokenizer =
    R"({"type":"Split","pattern":{"String":" "},"behavior":"MergedWithPrevious","invert":false})";
inline constexpr std::string_view kGemmaDecoder =
    R"({"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},)"
    R"({"type":"ByteFallback"},{"type":"Fuse"}]})";

/// Special tokens that converters mark as user-defined, so that llama.cpp shows them to what parses answers.
inline constexpr std::array<std::string_view, 7> kShownTokens = {
    "<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>", "<|\"|>"};

inline bool IsShownToken(std::string_view token) {
  return std::ranges::find(kShownTokens, token) != kShownTokens.end();
}

/// What fills ids that no token has.
inline std::string PlaceholderToken(size_t id) { return "[PAD" + std::to_string(id) + "]"; }

/// "<0x41>".
inline bool IsByteToken(std::string_view token) {
  const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'); };
  return token.size() == 6 && token.starts_with("<0x") && token.back() == '>' && is_digit(token[3]) &&
         is_digit(token[4]);
}

}  // namespace dgemma
