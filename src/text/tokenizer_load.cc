// Turns the contents of a tokenizer file into the tables that encoding and decoding use.
#include <cstdio>

#include "base/try.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace dgemma {
namespace {

constexpr std::string_view kLowerBlock = "\xE2\x96\x81";  // U+2581

/// The byte that a token such as "<0x41>" stands for; -1 when it is no such token.
int ByteOf(std::string_view content) {
  if (content.size() != 6 || !content.starts_with("<0x") || content.back() != '>') return -1;
  int value = 0;
  for (char digit : content.substr(3, 2)) {
    const int nibble = digit >= '0' && digit <= '9'   ? digit - '0'
                       : digit >= 'A' && digit <= 'F' ? digit - 'A' + 10
                       : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10
                                                      : -1;
    if (nibble < 0) return -1;
    value = value * 16 + nibble;
  }
  return value;
}

/// The only character of `content`; nothing when it has none or several.
std::optional<char32_t> OnlyCharacter(std::string_view content) {
  if (content.empty()) return std::nullopt;
  size_t position = 0;
  const char32_t character = NextCodePoint(content, position);
  return position == content.size() ? std::optional(character) : std::nullopt;
}

char32_t FirstCharacter(std::string_view content) {
  size_t position = 0;
  return NextCodePoint(content, position);
}

char32_t LastCharacter(std::string_view content) {
  size_t start = content.size() - 1;
  while (start > 0 && (static_cast<unsigned char>(content[start]) & 0xC0U) == 0x80U) --start;
  return NextCodePoint(content, start);
}

std::string OutputOf(std::string_view content) {
  if (const int byte = ByteOf(content); byte >= 0) return {static_cast<char>(static_cast<unsigned char>(byte))};
  std::string out;
  for (size_t found = content.find(kLowerBlock); found != std::string_view::npos; found = content.find(kLowerBlock)) {
    out += content.substr(0, found);
    out += ' ';
    content.remove_prefix(found + kLowerBlock.size());
  }
  out += content;
  return out;
}

}  // namespace

void Tokenizer::OutputTable::Append(std::string_view bytes) {
  bytes_ += bytes;
  ends_.push_back(static_cast<uint32_t>(bytes_.size()));
}

Result<Tokenizer> Tokenizer::FromJson(std::string_view tokenizer_json, const TokenizerLimits& limits) {
  DG_TRY(TokenizerFile file, ReadTokenizerFile(tokenizer_json, limits));
  Tokenizer tokenizer;
  tokenizer.fuse_unknown_ = file.fuse_unknown;
  tokenizer.byte_fallback_ = file.byte_fallback;
  tokenizer.ignore_merges_ = file.ignore_merges;
  tokenizer.replace_space_ = file.replace_space;
  tokenizer.split_at_space_ = file.split_at_space;
  DG_CHECK_OK(tokenizer.LoadTokens(file, limits));
  DG_CHECK_OK(tokenizer.LoadStartSymbols(file));
  DG_CHECK_OK(tokenizer.LoadMerges(file));
  return tokenizer;
}

Result<void> Tokenizer::LoadTokens(TokenizerFile& file, const TokenizerLimits& limits) {
  DG_TRY(tokens_, TokenTable::Build(file.vocabulary));
  const size_t from_model = file.vocabulary.size();
  for (const AddedToken& token : file.added) {
    const std::optional<int32_t> id = tokens_.Find(token.content);
    if (!id) {
      file.vocabulary.push_back({token.content, token.id});
    } else if (*id != token.id) {
      return Fail(StatusCode::kInvalidFile, "added token " + QuotedText(token.content) + ": id " +
                                                std::to_string(token.id) + " differs from the vocabulary's " +
                                                std::to_string(*id));
    }
  }
  if (file.vocabulary.size() > from_model) {
    DG_TRY(tokens_, TokenTable::Build(file.vocabulary));
  }
  if (static_cast<uint32_t>(tokens_.size()) > limits.vocabulary || tokens_.size() > MergeTable::kMaxIds) {
    return Fail(StatusCode::kResourceExhausted,
                "vocabulary: ids of " + std::to_string(limits.vocabulary) + " and more");
  }
  kinds_.resize(static_cast<size_t>(tokens_.size()));
  for (const AddedToken& token : file.added) {
    Kind& kind = kinds_[static_cast<size_t>(token.id)];
    kind.special = token.special;
    kind.control = token.IsControl();
  }
  for (int32_t id = 0; id < tokens_.size(); ++id) {
    kinds_[static_cast<size_t>(id)].byte = ByteOf(tokens_.Content(id)) >= 0;
    output_.Append(OutputOf(tokens_.Content(id)));
  }
  DG_TRY(added_, AddedTokens::Build(std::move(file.added)));
  return {};
}

Result<void> Tokenizer::LoadStartSymbols(const TokenizerFile& file) {
  constexpr size_t kPages = 0x110000 / 256;
  page_of_.assign(kPages, 0);
  pages_.emplace_back().fill(-1);
  for (const VocabularyEntry& entry : file.vocabulary) {
    // A control token never is a start symbol: as ordinary text its character goes the way of unknown characters.
    if (IsControl(entry.id)) continue;
    const std::optional<char32_t> character = OnlyCharacter(entry.content);
    if (!character) continue;
    uint32_t& page = page_of_[*character >> 8];
    if (page == 0) {
      page = static_cast<uint32_t>(pages_.size());
      pages_.emplace_back().fill(-1);
    }
    pages_[page][*character & 0xFF] = entry.id;
  }
  for (size_t byte = 0; byte < 256; ++byte) {
    std::array<char, 8> name{};
    std::snprintf(name.data(), name.size(), "<0x%02X>", static_cast<unsigned>(byte));
    const std::optional<int32_t> id = tokens_.Find(name.data());
    byte_ids_[byte] = id && !IsControl(*id) ? *id : -1;
  }
  if (!file.unknown_token.empty()) {
    const std::optional<int32_t> id = tokens_.Find(file.unknown_token);
    if (!id)
      return Fail(StatusCode::kInvalidFile,
                  "model.unk_token: " + QuotedText(file.unknown_token) + " is not in the vocabulary");
    unknown_id_ = *id;
  }
  return {};
}

Result<void> Tokenizer::LoadMerges(const TokenizerFile& file) {
  std::vector<MergeRule> rules;
  rules.reserve(file.merges.size());
  std::string joined;
  bool joins_opaque = false;  // a rule that takes a byte token or the unknown token, which are no characters
  const auto opaque_edge = [&](std::string_view edge, bool is_unknown) { return ByteOf(edge) >= 0 || is_unknown; };
  for (const auto& [left, right] : file.merges) {
    const auto refuse = [&](StatusCode code, const std::string& what) {
      return Fail(code, "model.merges[" + std::to_string(rules.size()) + "]: " + what);
    };
    if (left.empty() || right.empty()) return refuse(StatusCode::kUnsupported, "an empty side is not supported");
    joined.assign(left);
    joined += right;
    const std::optional<int32_t> left_id = tokens_.Find(left), right_id = tokens_.Find(right),
                                 result = tokens_.Find(joined);
    if (!left_id || !right_id || !result) {
      const std::string_view missing = !left_id ? left : !right_id ? right : std::string_view(joined);
      return refuse(StatusCode::kInvalidFile, QuotedText(missing) + " is not in the vocabulary");
    }
    if (IsControl(*result)) {
      return refuse(StatusCode::kUnsupported,
                    "builds the control token " + QuotedText(joined) + " (text could forge it)");
    }
    rules.push_back({*left_id, *right_id, *result});
    junctions_.Add(LastCharacter(left), FirstCharacter(right));
    const std::string_view& unknown = file.unknown_token;
    joins_opaque |= opaque_edge(left.substr(left.size() - std::min<size_t>(6, left.size())),
                                !unknown.empty() && left.ends_with(unknown));
    joins_opaque |= opaque_edge(right.substr(0, 6), !unknown.empty() && right.starts_with(unknown));
  }
  if (joins_opaque) {
    return Fail(StatusCode::kUnsupported, "model.merges: a rule joins a byte token or the unknown token");
  }
  DG_TRY(merges_, MergeTable::Build(rules));
  return {};
}

}  // namespace dgemma
