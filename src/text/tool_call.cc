// A hand-written scanner with bounded depth.
#include "text/tool_call.h"

#include <charconv>
#include <cmath>

#include "base/try.h"
#include "text/utf8.h"

namespace dgemma {
namespace {

namespace json = boost::json;

constexpr std::string_view kSpaces = " \t\r\n";

std::string_view Trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpaces);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpaces) - begin + 1);
}

/// Whether `text` is a number as JSON spells it.
bool IsJsonNumber(std::string_view text) {
  size_t i = 0;
  const auto digits = [&] {
    const size_t begin = i;
    while (i < text.size() && text[i] >= '0' && text[i] <= '9') ++i;
    return i - begin;
  };
  if (i < text.size() && text[i] == '-') ++i;
  const bool zero = i < text.size() && text[i] == '0';
  const size_t whole = digits();
  if (whole == 0 || (zero && whole > 1)) return false;
  if (i < text.size() && text[i] == '.') {
    ++i;
    if (digits() == 0) return false;
  }
  if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
    ++i;
    if (i < text.size() && (text[i] == '+' || text[i] == '-')) ++i;
    if (digits() == 0) return false;
  }
  return i == text.size();
}

/// null, true, false or a number; anything else as a string.
json::value BareValue(std::string_view text) {
  if (text == "null") return nullptr;
  if (text == "true") return true;
  if (text == "false") return false;
  if (IsJsonNumber(text)) {
    const char* end = text.data() + text.size();
    int64_t whole = 0;
    if (const auto read = std::from_chars(text.data(), end, whole); read.ec == std::errc() && read.ptr == end)
      return whole;
    uint64_t large = 0;
    if (const auto read = std::from_chars(text.data(), end, large); read.ec == std::errc() && read.ptr == end)
      return large;
    double real = 0;
    if (const auto read = std::from_chars(text.data(), end, real); read.ec == std::errc() && read.ptr == end)
      return real;
  }
  return json::value(json::string_view(text.data(), text.size()));
}

class Scanner {
 public:
  explicit Scanner(const ToolCallSource& source) : text_(source.text), quotes_(source.quotes) {}

  Result<ParsedToolCall> Call() {
    constexpr std::string_view kIntro = "call:";
    SkipSpaces();
    if (AtQuote() || !text_.substr(position_).starts_with(kIntro)) return Wrong("does not begin with call:");
    position_ += kIntro.size();
    ParsedToolCall call;
    call.name = std::string(Trim(Until("{")));
    if (call.name.empty()) return Wrong("a call without a name");
    if (!Take('{')) return Wrong("no { behind the name");
    DG_TRY(call.arguments, Object(1));
    SkipSpaces();
    if (AtQuote() || position_ < text_.size()) return Wrong("text behind the call");
    return call;
  }

 private:
  std::unexpected<Status> Wrong(const char* what) const {
    return Fail(StatusCode::kInvalidArgument,
                "tool call: " + std::string(what) + " at byte " + std::to_string(position_));
  }

  bool AtQuote() const { return next_quote_ < quotes_.size() && quotes_[next_quote_] == position_; }
  bool Take(char c) {
    if (AtQuote() || position_ >= text_.size() || text_[position_] != c) return false;
    ++position_;
    return true;
  }
  void SkipSpaces() {
    while (!AtQuote() && position_ < text_.size() && kSpaces.find(text_[position_]) != std::string_view::npos)
      ++position_;
  }
  /// Text up to the first of `ends`, a quote, or the end of the source.
  std::string_view Until(std::string_view ends) {
    const size_t begin = position_;
    while (!AtQuote() && position_ < text_.size() && ends.find(text_[position_]) == std::string_view::npos) ++position_;
    return text_.substr(begin, position_ - begin);
  }

  /// What stands between this quote and the next one.
  Result<std::string_view> Quoted() {
    ++next_quote_;
    if (next_quote_ >= quotes_.size()) return Wrong("a string without an end");
    const size_t begin = position_;
    position_ = quotes_[next_quote_++];
    return text_.substr(begin, position_ - begin);
  }

  /// Members and the closing brace; the opening one has been taken.
  Result<json::object> Object(int depth) {
    json::object object;
    SkipSpaces();
    if (Take('}')) return object;
    while (true) {
      SkipSpaces();
      std::string_view key;
      if (AtQuote()) {
        DG_TRY(key, Quoted());
        SkipSpaces();
      } else {
        key = Trim(Until(":,{}[]"));
      }
      if (key.empty()) return Wrong("an empty key");
      if (!Take(':')) return Wrong("no : behind a key");
      DG_TRY(json::value value, Value(depth));
      if (!object.emplace(json::string_view(key.data(), key.size()), std::move(value)).second)
        return Wrong("a repeated key");
      SkipSpaces();
      if (Take('}')) return object;
      if (!Take(',')) return Wrong("neither , nor } behind a value");
    }
  }

  Result<json::array> Array(int depth) {
    json::array array;
    SkipSpaces();
    if (Take(']')) return array;
    while (true) {
      DG_TRY(json::value value, Value(depth));
      array.push_back(std::move(value));
      SkipSpaces();
      if (Take(']')) return array;
      if (!Take(',')) return Wrong("neither , nor ] behind a value");
    }
  }

  Result<json::value> Value(int depth) {
    SkipSpaces();
    if (AtQuote()) {
      DG_TRY(const std::string_view text, Quoted());
      return json::value(json::string_view(text.data(), text.size()));
    }
    if (depth >= kMaxToolCallDepth && position_ < text_.size() &&
        (text_[position_] == '{' || text_[position_] == '[')) {
      return Wrong("nested too deep");
    }
    if (Take('{')) {
      DG_TRY(json::object object, Object(depth + 1));
      return json::value(std::move(object));
    }
    if (Take('[')) {
      DG_TRY(json::array array, Array(depth + 1));
      return json::value(std::move(array));
    }
    const std::string_view bare = Trim(Until(",}]"));
    if (bare.empty()) return Wrong("a missing value");
    return BareValue(bare);
  }

  std::string_view text_;
  const std::vector<size_t>& quotes_;
  size_t position_ = 0;
  size_t next_quote_ = 0;
};

}  // namespace

Result<ParsedToolCall> ParseToolCall(const ToolCallSource& source) {
  if (source.text.size() > kMaxToolCallBytes || source.quotes.size() >= kMaxToolCallBytes) {
    return Fail(StatusCode::kInvalidArgument, "tool call: longer than " + std::to_string(kMaxToolCallBytes) + " bytes");
  }
  return Scanner(source).Call();
}

}  // namespace dgemma
