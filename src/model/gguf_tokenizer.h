// The tokenizer as a GGUF file's metadata holds it, both ways: tokenizer.json and tokenizer_config.json from tokens,
// types, merges and ids, and the reverse. Only Gemma's kind of byte pair encoding; nothing here encodes text
// (text/tokenizer.h does).
#pragma once

#include <string>
#include <string_view>

#include "dgemma/status.h"
#include "files/gguf.h"
#include "files/gguf_writer.h"
#include "model/config.h"

namespace dgemma {

/// tokenizer.json of a file, in Gemma's form: spaces become U+2581, byte fallback. Control and unknown tokens are
/// special added tokens; user-defined ones are added tokens, special where the chat markup has them (converters show
/// those, Hugging Face calls them special). kInvalidFile names the key; kUnsupported for other kinds of tokenizers.
Result<std::string> TokenizerFromGguf(const GgufTable& table);

/// tokenizer_config.json of a file: token texts, and the chat template where there is one.
Result<std::string> TokenizerConfigFromGguf(const GgufTable& table);

/// What a model folder says about its tokenizer.
struct TokenizerTexts {
  std::string tokenizer;      ///< content of tokenizer.json
  std::string chat_template;  ///< empty where there is none
};

/// The keys of the tokenizer. kUnsupported when tokenizer.json is not of the kind that TokenizerFromGguf writes;
/// kInvalidFile when its ids are not those of a vocabulary of config.vocab entries.
Result<void> PutTokenizer(const TokenizerTexts& texts, const Config& config, GgufMetadata& metadata);

/// The chat template in tokenizer_config.json; empty when there is none.
Result<std::string> ChatTemplateOf(std::string_view tokenizer_config);

}  // namespace dgemma
