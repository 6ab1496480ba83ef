// What OpenAI's endpoints have in common: members of requests, usage, errors inside a stream.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <string_view>

#include "server/completion_options.h"
#include "server/completion_wire.h"

namespace dgemma {

/// model, temperature, top_p, seed, n, stop, stream, stream_options, penalties, logit_bias, diffusion.
Result<void> ReadOpenAiSampling(const Fields& body, const ServerLimits& limits, CompletionRequest& request);

/// "stop", "length", "tool_calls"
std::string_view OpenAiFinish(EndKind kind);

/// usage of chat completions and completions.
boost::json::object OpenAiUsage(std::span<const EndOfAnswer> ends, int32_t choices);

/// An entry of GET /v1/models, which is also the answer of GET /v1/models/{id}. Has Anthropic's members too.
boost::json::object ModelEntry(const ModelFacts& facts, int64_t created);
std::string ModelList(const ModelFacts& facts, int64_t created);

}  // namespace dgemma
