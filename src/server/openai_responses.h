// POST /v1/responses: OpenAI's Responses without memory between requests: no stored responses, no conversations.
#pragma once

#include "server/completion_wire.h"

namespace dgemma {

Result<CompletionRequest> ParseOpenAiResponse(const boost::json::object& body, const ServerLimits& limits);
std::string OpenAiResponseWhole(const CompletionHead& head, const CompletionResult& result);
std::unique_ptr<WireStream> OpenAiResponseStream(const CompletionHead& head);

const WireFamily& OpenAiResponses();

}  // namespace dgemma
