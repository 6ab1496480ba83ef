// Numbers may be stored as texts (some writers do), and float32 values mean the decimal number that was rounded to
// them.
#include "model/gguf_keys.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "files/messages.h"

namespace dgemma {
namespace {

template <typename T>
std::optional<T> Parse(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

/// The double nearest to the shortest decimal that rounds to `value`: 0.1f means 0.1.
double Decimal(float value) {
  char digits[32];
  const auto written = std::to_chars(digits, digits + sizeof(digits), value);
  return Parse<double>({digits, static_cast<size_t>(written.ptr - digits)}).value_or(static_cast<double>(value));
}

}  // namespace

void GgufKeys::Refuse(std::string_view key, const std::string& rule, StatusCode code) {
  if (!failure_) failure_ = Status{code, std::string(key) + ": " + rule};
}

int64_t GgufKeys::Integer(std::string_view key, std::optional<int64_t> fallback) {
  const GgufValue* value = table_.Find(key);
  if (value == nullptr) {
    if (!fallback) Refuse(key, "missing (required)");
    return fallback.value_or(0);
  }
  const auto text = value->Text();
  const auto integer = text ? Parse<int64_t>(*text) : value->Integer();
  if (!integer) Refuse(key, "is not an integer");
  return integer.value_or(0);
}

double GgufKeys::Real(std::string_view key, std::optional<double> fallback) {
  const GgufValue* value = table_.Find(key);
  if (value == nullptr) {
    if (!fallback) Refuse(key, "missing (required)");
    return fallback.value_or(0);
  }
  const auto text = value->Text();
  const auto number = text ? Parse<double>(*text) : value->Number();
  if (!number || !std::isfinite(*number)) {
    Refuse(key, "is not a finite number");
    return 0;
  }
  return value->type == GgufType::kF32 ? Decimal(static_cast<float>(*number)) : *number;
}

std::string_view GgufKeys::Text(std::string_view key, std::string_view fallback) {
  const GgufValue* value = table_.Find(key);
  if (value == nullptr) return fallback;
  const auto text = value->Text();
  if (!text) Refuse(key, "is not a text");
  return text.value_or(fallback);
}

std::vector<int64_t> GgufKeys::PerLayer(std::string_view key, int64_t count) {
  const auto layers = static_cast<size_t>(std::max<int64_t>(count, 0));
  const GgufValue* value = table_.Find(key);
  if (value == nullptr || !value->is_array) return std::vector<int64_t>(layers, Integer(key));
  const auto integers = value->Integers();
  if (!integers) Refuse(key, "is no list of integers");
  if (integers && integers->size() != layers) {
    Refuse(key,
           "has " + std::to_string(integers->size()) + " entries, the model has " + std::to_string(layers) + " layers");
  }
  return integers && integers->size() == layers ? *integers : std::vector<int64_t>(layers);
}

std::vector<std::string_view> GgufKeys::Texts(std::string_view key) {
  const GgufValue* value = table_.Find(key);
  auto texts = value == nullptr ? std::nullopt : value->Texts();
  if (!texts) Refuse(key, value == nullptr ? "missing (required)" : "is no list of texts");
  return texts ? *std::move(texts) : std::vector<std::string_view>();
}

std::vector<int64_t> GgufKeys::Integers(std::string_view key) {
  const GgufValue* value = table_.Find(key);
  auto integers = value == nullptr ? std::nullopt : value->Integers();
  if (!integers) Refuse(key, value == nullptr ? "missing (required)" : "is no list of integers");
  return integers ? *std::move(integers) : std::vector<int64_t>();
}

std::vector<int32_t> GgufKeys::TokenIds(const std::vector<std::string_view>& texts) {
  std::vector<int32_t> ids(texts.size(), -1);
  const std::vector<std::string_view> tokens = Texts("tokenizer.ggml.tokens");
  for (size_t id = 0; id < tokens.size(); ++id) {
    const auto found = std::ranges::find(texts, tokens[id]);
    if (found == texts.end()) continue;
    int32_t& place = ids[static_cast<size_t>(found - texts.begin())];
    if (place < 0) place = static_cast<int32_t>(id);
  }
  return ids;
}

}  // namespace dgemma
