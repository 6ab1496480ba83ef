// POST /v1/completions: raw prompts, in the shape of OpenAI's (legacy) Completions.
#pragma once

#include "server/completion_wire.h"

namespace dgemma {

Result<CompletionRequest> ParseOpenAiCompletion(const boost::json::object& body, const ServerLimits& limits);
std::string OpenAiCompletionWhole(const CompletionHead& head, const CompletionResult& result);
std::unique_ptr<WireStream> OpenAiCompletionStream(const CompletionHead& head);

/// A list of token ids. kInvalidArgument names the entry.
Result<std::vector<int32_t>> ReadTokenIds(const boost::json::array& list, const std::string& path);

const WireFamily& OpenAiCompletions();

}  // namespace dgemma
