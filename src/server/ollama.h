// Ollama's endpoints: /api/chat and /api/generate as families, and what /api/tags, show, ps and version answer.
#pragma once

#include "server/completion_wire.h"

namespace dgemma {

Result<CompletionRequest> ParseOllamaChat(const boost::json::object& body, const ServerLimits& limits);
Result<CompletionRequest> ParseOllamaGenerate(const boost::json::object& body, const ServerLimits& limits);

const WireFamily& OllamaChat();
const WireFamily& OllamaGenerate();

/// True for a request without messages or prompt: Ollama loads a model then, and says so.
bool IsOllamaLoad(const boost::json::object& body);
/// The answer to such a request.
std::string OllamaLoaded(const ModelFacts& facts, bool chat, int64_t now_us);

std::string OllamaTags(const ModelFacts& facts, const MemoryPlan& plan, int64_t now_us);
std::string OllamaShow(const ModelFacts& facts, const GenerateOptions& defaults, int64_t now_us);
std::string OllamaRunning(const ModelFacts& facts, const MemoryPlan& plan, int64_t now_us);
std::string OllamaVersion();

}  // namespace dgemma
