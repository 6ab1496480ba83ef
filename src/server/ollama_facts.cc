// Ollama: what is said about the model. There is one, it is always loaded, and nothing can be pulled or deleted.
#include <fmt/format.h>

#include <boost/json/array.hpp>

#include "server/ollama.h"

namespace dgemma {
namespace {

namespace json = boost::json;

// Whose interface this is. Clients compare it with the least they take (0.6.4 in VS Code's Copilot).
constexpr std::string_view kOllamaVersion = "0.12.0";
constexpr int64_t kForever = 100LL * 365 * 86'400 * 1'000'000;  // microseconds

json::object Details(const ModelFacts& facts) {
  return {{"parent_model", ""},
          {"format", "dgemma"},
          {"family", "diffusion_gemma"},
          {"families", {"diffusion_gemma"}},
          {"parameter_size", facts.parameters >= 1'000'000'000
                                 ? fmt::format("{:.1f}B", static_cast<double>(facts.parameters) / 1e9)
                                 : fmt::format("{:.1f}M", static_cast<double>(facts.parameters) / 1e6)},
          {"quantization_level", facts.dtype}};
}

json::object Entry(const ModelFacts& facts, const MemoryPlan& plan) {
  return {{"name", facts.name},
          {"model", facts.name},
          {"size", plan.weights},
          {"digest", std::string(64, '0')},  // the files are not hashed
          {"details", Details(facts)}};
}

}  // namespace

std::string OllamaTags(const ModelFacts& facts, const MemoryPlan& plan, int64_t now_us) {
  json::object entry = Entry(facts, plan);
  entry["modified_at"] = UtcTime(now_us);
  return JsonLine(json::object{{"models", json::array{std::move(entry)}}});
}

std::string OllamaRunning(const ModelFacts& facts, const MemoryPlan& plan, int64_t now_us) {
  json::object entry = Entry(facts, plan);
  entry["expires_at"] = UtcTime(now_us + kForever);
  entry["size_vram"] = 0;
  entry["context_length"] = facts.context_tokens;
  return JsonLine(json::object{{"models", json::array{std::move(entry)}}});
}

std::string OllamaShow(const ModelFacts& facts, const GenerateOptions& defaults, int64_t now_us) {
  const json::object info{{"general.architecture", "diffusion_gemma"},
                          {"general.parameter_count", facts.parameters},
                          {"diffusion_gemma.context_length", facts.context_tokens},
                          {"diffusion_gemma.embedding_length", facts.width},
                          {"diffusion_gemma.block_count", facts.layers},
                          {"diffusion_gemma.expert_count", facts.experts},
                          {"diffusion_gemma.expert_used_count", facts.active_experts},
                          {"diffusion_gemma.canvas_length", facts.canvas_tokens},
                          {"diffusion_gemma.vocab_size", facts.vocabulary}};
  return JsonLine(json::object{
      {"modelfile", ""},
      {"parameters", fmt::format("steps {}\nt_max {}\nt_min {}", defaults.steps, defaults.t_max, defaults.t_min)},
      {"template", ""},
      {"license", ""},
      {"details", Details(facts)},
      {"model_info", info},
      {"capabilities", {"completion", "tools", "thinking"}},
      {"modified_at", UtcTime(now_us)}});
}

std::string OllamaVersion() {
  return JsonLine(json::object{{"version", kOllamaVersion}, {"dgemma_version", Version()}});
}

std::string OllamaLoaded(const ModelFacts& facts, bool chat, int64_t now_us) {
  json::object line{{"model", facts.name}, {"created_at", UtcTime(now_us)}};
  if (chat) {
    line["message"] = json::object{{"role", "assistant"}, {"content", ""}};
  } else {
    line["response"] = "";
  }
  line["done"] = true;
  line["done_reason"] = "load";
  return JsonLine(line);
}

}  // namespace dgemma
