// POST /v1/chat/completions: requests and answers in the shape of OpenAI's Chat Completions.
#pragma once

#include "server/completion_wire.h"

namespace dgemma {

Result<CompletionRequest> ParseOpenAiChat(const boost::json::object& body, const ServerLimits& limits);

/// The conversation and the tools alone, as in a chat request; /apply-template reads these too.
Result<void> ReadOpenAiConversation(const Fields& body, const ServerLimits& limits, CompletionRequest& request);

std::string OpenAiChatWhole(const CompletionHead& head, const CompletionResult& result);
std::unique_ptr<WireStream> OpenAiChatStream(const CompletionHead& head);

const WireFamily& OpenAiChat();

}  // namespace dgemma
