// Reads the fields that count and refuses those that would make an adapter something else.
#include "model/adapter_settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <charconv>
#include <cmath>

#include "base/try.h"
#include "files/json.h"
#include "files/messages.h"
#include "model/json_fields.h"

namespace dgemma {
namespace {

constexpr double kLargestAlpha = 1e6;
constexpr size_t kMostPatterns = 4096;
constexpr size_t kMostPatternBytes = 512;
constexpr size_t kMostOperatorBytes = 4096;

/// Fields that must be absent, null, false, empty or "none", and what they stand for.
struct RefusedField {
  const char* key;
  const char* meaning;
};

constexpr auto kRefused = std::to_array<RefusedField>({
    {"bias", "trained biases"},
    {"modules_to_save", "whole modules beside the low-rank matrices"},
    {"use_dora", "DoRA"},
    {"use_qalora", "QALoRA"},
    {"use_bdlora", "block-diagonal LoRA"},
    {"lora_bias", "biases of lora_B"},
    {"fan_in_fan_out", "transposed base weights"},
    {"layer_replication", "copied layers"},
    {"trainable_token_indices", "trained embeddings of single tokens"},
    {"alora_invocation_tokens", "an adapter that acts behind certain tokens only"},
    {"arrow_config", "a router between adapters"},
    {"kasa_config", "KaSA"},
});

bool IsUnset(const boost::json::value& value) {
  if (value.is_array()) return value.get_array().empty();
  if (value.is_object()) return value.get_object().empty();
  if (value.is_string()) return value.get_string() == "none" || value.get_string().empty();
  return value.is_null() || (value.is_bool() && !value.get_bool());
}

void RefuseOthers(const JsonFields& fields) {
  for (const auto& [key, meaning] : kRefused) {
    const boost::json::value* value = fields.object()->if_contains(key);
    if (value != nullptr && !IsUnset(*value))
      fields.Refuse(key, fmt::format("{} is not supported (plain LoRA is)", meaning), StatusCode::kUnsupported);
  }
  const boost::json::value* init = fields.object()->if_contains("init_lora_weights");
  if (init == nullptr || !init->is_string()) return;
  const std::string_view how = init->get_string();
  if (how != "gaussian" && how != "eva" && how != "orthogonal") {
    fields.Refuse("init_lora_weights",
                  fmt::format("{} may have changed the base weights, which then are not the model's (convert the "
                              "adapter with PEFT first)",
                              Quoted(how)),
                  StatusCode::kUnsupported);
  }
}

/// A pattern section: numbers by pattern, in the file's order.
template <typename T>
Result<std::vector<std::pair<NamePattern, T>>> ReadPatterns(JsonFields section, size_t& operator_bytes, T least,
                                                            T most) {
  std::vector<std::pair<NamePattern, T>> patterns;
  if (section.object() == nullptr) return patterns;
  if (section.object()->size() > kMostPatterns) {
    section.Refuse("", fmt::format("has more than {} patterns", kMostPatterns));
    return patterns;
  }
  for (const auto& [key, value] : *section.object()) {
    boost::json::error_code error;
    const T number = value.is_number() ? value.template to_number<T>(error) : T{};
    if (!value.is_number() || error || !(number >= least && number <= most)) {
      section.Refuse(key, fmt::format("must be a number in {}..{}", least, most));
      return patterns;
    }
    if (key.size() > kMostPatternBytes) {
      section.Refuse(key, fmt::format("is a pattern of more than {} bytes", kMostPatternBytes));
      return patterns;
    }
    DG_TRY(NamePattern pattern, NamePattern::Parse(key));
    if (pattern.has_operators()) operator_bytes += key.size();
    if (operator_bytes > kMostOperatorBytes) {
      section.Refuse("", fmt::format("has more than {} bytes of patterns with operators", kMostOperatorBytes));
      return patterns;
    }
    patterns.emplace_back(std::move(pattern), number);
  }
  return patterns;
}

/// True for "0.18.1" and older.
bool IsBeforeSwap(std::string_view version) {
  int major = 1, minor = 0;
  const char* end = version.data() + version.size();
  const auto [dot, error] = std::from_chars(version.data(), end, major);
  if (error != std::errc{} || dot == end || *dot != '.') return false;
  return std::from_chars(dot + 1, end, minor).ec == std::errc{} && major == 0 && minor < 19;
}

}  // namespace

int64_t AdapterSettings::RankOf(std::string_view module) const {
  for (const auto& [pattern, number] : rank_pattern) {
    if (pattern.Matches(module)) return number;
  }
  return rank;
}

double AdapterSettings::ScaleOf(std::string_view module, int64_t module_rank) const {
  double chosen = alpha;
  const auto found =
      std::ranges::find_if(alpha_pattern, [&](const auto& entry) { return entry.first.Matches(module); });
  if (found != alpha_pattern.end()) chosen = found->second;
  const auto size = static_cast<double>(module_rank);
  return chosen / (rank_stabilized ? std::sqrt(size) : size);
}

Result<AdapterSettings> ParseAdapterSettings(std::string_view text) {
  DG_TRY(const boost::json::value document, ParseJson(text, {.bytes = 1 << 20}));
  if (!document.is_object()) return Fail(StatusCode::kInvalidFile, "must be a JSON object");
  std::optional<Status> failure;
  JsonFields fields(&document.get_object(), "", failure);
  const std::string type = fields.Text("peft_type", "");
  if (type != "LORA") {
    fields.Refuse("peft_type", Quoted(type) + " is not supported (LORA is)", StatusCode::kUnsupported);
  }
  RefuseOthers(fields);
  AdapterSettings settings;
  settings.rank = fields.Int("r", {1, kMostAdapterRank}, std::nullopt);
  settings.alpha = fields.Real("lora_alpha", {-kLargestAlpha, kLargestAlpha}, std::nullopt);
  settings.rank_stabilized = fields.Bool("use_rslora", false);
  settings.base_model = fields.Text("base_model_name_or_path", "");
  settings.old_parameters = IsBeforeSwap(fields.Text("peft_version", ""));
  size_t operator_bytes = 0;
  DG_TRY(settings.rank_pattern, At("rank_pattern", ReadPatterns<int64_t>(fields.Section("rank_pattern"), operator_bytes,
                                                                         1, kMostAdapterRank)));
  DG_TRY(settings.alpha_pattern,
         At("alpha_pattern",
            ReadPatterns<double>(fields.Section("alpha_pattern"), operator_bytes, -kLargestAlpha, kLargestAlpha)));
  if (failure) return std::unexpected(*failure);
  return settings;
}

}  // namespace dgemma
