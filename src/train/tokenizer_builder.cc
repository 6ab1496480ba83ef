// Counting words of the texts, choosing merges, and writing the file.
#include "train/tokenizer_builder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <map>
#include <utility>
#include <vector>

#include "base/try.h"
#include "files/messages.h"
#include "text/added_tokens.h"

namespace dgemma {
namespace {

namespace json = boost::json;

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581, how the vocabulary spells a space
constexpr int32_t kFirstByte = 256, kByteCount = 256;
constexpr size_t kMostPunctuation = 4;  // bytes of a learnt piece of punctuation
constexpr int64_t kFewestUses = 2;      // of a pair that is worth a token

struct Control {
  int32_t id;
  std::string_view content;
};

constexpr auto kControls = std::to_array<Control>({{0, "<pad>"},
                                                   {1, "<eos>"},
                                                   {2, "<bos>"},
                                                   {3, "<unk>"},
                                                   {4, "<mask>"},
                                                   {46, "<|tool>"},
                                                   {47, "<tool|>"},
                                                   {48, "<|tool_call>"},
                                                   {49, "<tool_call|>"},
                                                   {50, "<|tool_response>"},
                                                   {51, "<tool_response|>"},
                                                   {52, "<|\"|>"},
                                                   {98, "<|think|>"},
                                                   {100, "<|channel>"},
                                                   {101, "<channel|>"},
                                                   {105, "<|turn>"},
                                                   {106, "<turn|>"},
                                                   {250, "<|image>"},
                                                   {251, "<|image|>"},
                                                   {252, "<image|>"},
                                                   {253, "<|audio>"},
                                                   {254, "<|audio|>"},
                                                   {255, "<audio|>"}});

bool IsLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsPunctuation(char c) { return c > ' ' && c < 0x7F && !IsLetter(c) && !IsDigit(c); }

/// Whether a run of punctuation may be one token: JSON's, around a quote. Brackets and dots alone stay single, since
/// tasks ask for each of them.
bool IsQuoted(std::string_view run) {
  return run.size() <= kMostPunctuation && run.find('"') != std::string_view::npos;
}

/// Contents by id; an empty one is a free place. Places are taken in ascending order.
class Vocabulary {
 public:
  explicit Vocabulary(int32_t size) : contents_(static_cast<size_t>(size)) {}

  void Put(int32_t id, std::string_view content) { contents_[static_cast<size_t>(id)] = content; }
  bool full() {
    while (next_ < contents_.size() && !contents_[next_].empty()) ++next_;
    return next_ == contents_.size();
  }
  /// Puts a content in the next free place, of which there is one.
  int32_t Add(std::string_view content) {
    full();
    contents_[next_] = content;
    return static_cast<int32_t>(next_);
  }
  /// The next free place; one behind the last when there is none.
  size_t next() {
    full();
    return next_;
  }
  const std::vector<std::string>& contents() const { return contents_; }

 private:
  std::vector<std::string> contents_;
  size_t next_ = 0;
};

using Merge = std::pair<std::string, std::string>;

/// A different word of the texts: its pieces so far, and how often it occurs.
struct Word {
  std::vector<std::string> pieces;
  int64_t uses = 0;
  bool letters = false;  // a space and letters: only the first two pieces may merge
};

/// Counts the words of texts. Words are what merges may happen in.
class WordCounter {
 public:
  void Count(std::string_view text) {
    for (size_t at = 0; at < text.size();) {
      const size_t begin = at;
      if (text[at] == ' ') ++at;
      const size_t behind_space = at;
      const bool letters = at > begin && at < text.size() && IsLetter(text[at]);
      while (at < text.size() && (letters ? IsLetter(text[at]) : IsPunctuation(text[at]))) ++at;
      if (at > behind_space) ++counts_[text.substr(begin, at - begin)];
      if (at == begin) ++at;
    }
  }

  std::vector<Word> Words() const {
    std::vector<Word> words;
    for (const auto& [text, uses] : counts_) {
      Word word{.pieces = {}, .uses = uses, .letters = IsLetter(text.back())};
      for (const char c : text) word.pieces.push_back(c == ' ' ? std::string(kSpace) : std::string(1, c));
      words.push_back(std::move(word));
    }
    return words;
  }

 private:
  std::map<std::string_view, int64_t> counts_;
};

/// The merges so far, applied to all words.
class Merger {
 public:
  explicit Merger(std::vector<Word> words) : words_(std::move(words)) {}

  /// The pair that occurs most often, the first in spelling of equals; both empty when none occurs kFewestUses times.
  Merge Best() const {
    std::map<Merge, int64_t> uses;
    for (const Word& word : words_) {
      const size_t pairs = word.letters ? std::min<size_t>(word.pieces.size(), 2) : word.pieces.size();
      for (size_t i = 0; i + 1 < pairs; ++i) {
        if (word.letters || IsQuoted(word.pieces[i] + word.pieces[i + 1]))
          uses[{word.pieces[i], word.pieces[i + 1]}] += word.uses;
      }
    }
    const auto best = std::ranges::max_element(uses, {}, [](const auto& entry) { return entry.second; });
    return best == uses.end() || best->second < kFewestUses ? Merge{} : best->first;
  }

  void Apply(const Merge& merge) {
    merges_.push_back(merge);
    for (Word& word : words_) {
      for (size_t i = 0; i + 1 < word.pieces.size(); ++i) {
        if (word.pieces[i] != merge.first || word.pieces[i + 1] != merge.second) continue;
        word.pieces[i] += merge.second;
        word.pieces.erase(word.pieces.begin() + static_cast<std::ptrdiff_t>(i) + 1);
      }
    }
  }

  const std::vector<Merge>& merges() const { return merges_; }

 private:
  std::vector<Word> words_;
  std::vector<Merge> merges_;
};

Result<void> CheckPlan(const TokenizerPlan& plan) {
  if (plan.vocabulary < kFewestTokens || plan.vocabulary > kMostTokens) {
    return Fail(StatusCode::kInvalidArgument,
                fmt::format("vocabulary: {} entries ({} to {})", plan.vocabulary, kFewestTokens, kMostTokens));
  }
  // Below the bytes 137 places are free and between them and kFewestTokens 128; letters with a space take 52.
  if (std::ssize(plan.keywords) > plan.vocabulary - kFewestTokens + 128) {
    return Fail(StatusCode::kInvalidArgument,
                fmt::format("keywords: {} do not fit in {} entries", plan.keywords.size(), plan.vocabulary));
  }
  for (const std::string_view keyword : plan.keywords) {
    const auto refuse = [&](std::string_view what) {
      return Fail(StatusCode::kInvalidArgument, fmt::format("keyword {}: {}", Quoted(keyword), what));
    };
    const AddedToken as_token{.content = std::string(keyword), .id = 0, .special = false};
    if (keyword.size() < 2 || keyword.size() > 64) return refuse("has to have 2 to 64 bytes");
    if (as_token.IsControl()) return refuse("looks like markup");
    if (std::ranges::any_of(keyword, [](char c) { return c != '\n' && (c < ' ' || c >= 0x7F); })) {
      return refuse("has to be printable ASCII");
    }
    if (std::ranges::count(plan.keywords, keyword) > 1) return refuse("is listed twice");
  }
  return {};
}

json::string_view View(std::string_view text) { return {text.data(), text.size()}; }

json::object StringPattern(std::string_view text) { return {{"String", View(text)}}; }

json::object Replace(std::string_view from, std::string_view to) {
  return {{"type", "Replace"}, {"pattern", StringPattern(from)}, {"content", View(to)}};
}

std::string WriteFile(const std::vector<std::string>& contents, const std::vector<AddedToken>& added,
                      const std::vector<Merge>& merges) {
  json::array added_tokens, rules;
  for (const AddedToken& token : added) {
    added_tokens.push_back({{"id", token.id},
                            {"content", token.content},
                            {"single_word", false},
                            {"lstrip", false},
                            {"rstrip", false},
                            {"normalized", false},
                            {"special", token.special}});
  }
  json::object vocabulary;
  for (size_t id = 0; id < contents.size(); ++id) vocabulary[contents[id]] = id;
  for (const auto& [left, right] : merges) rules.push_back(json::array{json::string(left), json::string(right)});
  const json::object file{
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", std::move(added_tokens)},
      {"normalizer", Replace(" ", kSpace)},
      {"pre_tokenizer",
       {{"type", "Split"}, {"pattern", StringPattern(" ")}, {"behavior", "MergedWithPrevious"}, {"invert", false}}},
      {"post_processor", nullptr},
      {"decoder",
       {{"type", "Sequence"},
        {"decoders",
         json::array{Replace(kSpace, " "), json::object{{"type", "ByteFallback"}}, json::object{{"type", "Fuse"}}}}}},
      {"model",
       {{"type", "BPE"},
        {"dropout", nullptr},
        {"unk_token", "<unk>"},
        {"continuing_subword_prefix", nullptr},
        {"end_of_word_suffix", nullptr},
        {"fuse_unk", true},
        {"byte_fallback", true},
        {"ignore_merges", false},
        {"vocab", std::move(vocabulary)},
        {"merges", std::move(rules)}}}};
  return json::serialize(file) + "\n";
}

}  // namespace

Result<std::string> BuildTokenizer(std::span<const std::string> texts, const TokenizerPlan& plan) {
  DG_CHECK_OK(CheckPlan(plan));
  Vocabulary vocabulary(plan.vocabulary);
  std::vector<AddedToken> added;
  for (const Control& control : kControls) {
    vocabulary.Put(control.id, control.content);
    added.push_back({.content = std::string(control.content), .id = control.id, .special = true});
  }
  for (int32_t byte = 0; byte < kByteCount; ++byte) vocabulary.Put(kFirstByte + byte, fmt::format("<0x{:02X}>", byte));
  vocabulary.Add(kSpace);
  vocabulary.Add("\n");
  const auto add_range = [&](char first, char last, auto wanted) {
    for (char c = first; c <= last; ++c) {
      if (wanted(c)) vocabulary.Add(std::string_view(&c, 1));
    }
  };
  add_range('0', '9', IsDigit);
  add_range('a', 'z', IsLetter);
  add_range('A', 'Z', IsLetter);
  add_range('!', '~', IsPunctuation);
  for (const std::string_view keyword : plan.keywords) {
    added.push_back({.content = std::string(keyword), .id = vocabulary.Add(keyword), .special = false});
  }

  WordCounter counter;
  DG_TRY(const AddedTokens tokens, AddedTokens::Build(added));
  for (const std::string& text : texts) {
    AddedTokenScanner scanner(tokens, text, {});
    size_t done = 0;
    for (auto match = scanner.Next(); match; match = scanner.Next()) {
      counter.Count(std::string_view(text).substr(done, match->begin - done));
      done = match->end;
    }
    counter.Count(std::string_view(text).substr(done));
  }
  Merger merger(counter.Words());
  const auto learn = [&](const Merge& merge) {
    vocabulary.Add(merge.first + merge.second);
    merger.Apply(merge);
  };
  // Every letter behind a space is one token, whether the texts have it or not: spelt words have even steps.
  for (const char first : {'a', 'A'}) {
    for (char c = first; c < first + 26; ++c) learn({std::string(kSpace), std::string(1, c)});
  }
  while (!vocabulary.full()) {
    const Merge best = merger.Best();
    if (best.first.empty()) break;
    learn(best);
  }
  while (!vocabulary.full()) vocabulary.Add(fmt::format("<unused{}>", vocabulary.next()));
  return WriteFile(vocabulary.contents(), added, merger.merges());
}

}  // namespace dgemma
