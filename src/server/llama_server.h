// llama-server's own endpoints: /completion as a family, and what /tokenize, /detokenize, /props and /slots answer.
#pragma once

#include "engine/scheduler.h"
#include "server/completion_wire.h"

namespace dgemma {

Result<CompletionRequest> ParseLlamaCompletion(const boost::json::object& body, const ServerLimits& limits);

const WireFamily& LlamaCompletion();

/// {"content", "add_special", "parse_special", "with_pieces"} to {"tokens"}.
Result<std::string> LlamaTokenize(const boost::json::object& body, const Engine& engine);
/// {"tokens"} to {"content"}.
Result<std::string> LlamaDetokenize(const boost::json::object& body, const Engine& engine);
/// A chat request to {"prompt"}, the text that the model would read.
Result<std::string> LlamaApplyTemplate(const boost::json::object& body, const Engine& engine,
                                       const ServerLimits& limits);

/// What /props says beyond the model's facts.
struct ServedFacts {
  GenerateOptions defaults;
  bool single_prompts = false;  ///< the model knows single prompts only
  std::vector<std::string> examples;
};
std::string LlamaProps(const ModelFacts& facts, const ServedFacts& served, int64_t slots);
std::string LlamaSlots(const ModelFacts& facts, const SchedulerStats& stats);

}  // namespace dgemma
