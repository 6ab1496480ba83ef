// POST /v1/messages and /v1/messages/count_tokens: requests and answers in the shape of Anthropic's Messages.
#pragma once

#include "server/completion_wire.h"

namespace dgemma {

Result<CompletionRequest> ParseAnthropic(const boost::json::object& body, const ServerLimits& limits);
/// The part of a request that counts as input; other members are not looked at.
Result<CompletionRequest> ParseAnthropicCount(const boost::json::object& body, const ServerLimits& limits);
std::string AnthropicWhole(const CompletionHead& head, const CompletionResult& result);
std::unique_ptr<WireStream> AnthropicStream(const CompletionHead& head);

const WireFamily& Anthropic();

}  // namespace dgemma
