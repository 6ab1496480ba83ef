// Typed reading of a GGUF file's metadata: like json_fields.h, the first failure is kept and later reads return
// defaults, so that readers are lists of keys. Used by gguf_config.cc and gguf_tokenizer.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dgemma/status.h"
#include "files/gguf.h"

namespace dgemma {

class GgufKeys {
 public:
  explicit GgufKeys(const GgufTable& table) : table_(table) {}

  bool Has(std::string_view key) const { return table_.Find(key) != nullptr; }
  int64_t Integer(std::string_view key, std::optional<int64_t> fallback = std::nullopt);  ///< no fallback: required
  double Real(std::string_view key, std::optional<double> fallback = std::nullopt);
  std::string_view Text(std::string_view key, std::string_view fallback);
  /// An integer for each of `count` layers, where the key holds one for all or one each.
  std::vector<int64_t> PerLayer(std::string_view key, int64_t count);
  std::vector<std::string_view> Texts(std::string_view key);  ///< required
  std::vector<int64_t> Integers(std::string_view key);        ///< required
  /// Ids of the tokens with these texts, in the order of `texts`; -1 where the vocabulary lacks one.
  std::vector<int32_t> TokenIds(const std::vector<std::string_view>& texts);

  /// Records "key: rule" unless something failed before.
  void Refuse(std::string_view key, const std::string& rule, StatusCode code = StatusCode::kInvalidFile);
  const std::optional<Status>& failure() const { return failure_; }

 private:
  const GgufTable& table_;
  std::optional<Status> failure_;
};

}  // namespace dgemma
