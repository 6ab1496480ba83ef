// Strips what is known in front and behind, and looks the rest up in one list of modules.
#include "model/adapter_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "base/try.h"
#include "files/messages.h"
#include "model/gguf_names.h"

namespace dgemma {
namespace {

/// Wrappers of training programs in front of a module's name; each may stand there several times.
constexpr auto kWrappers = std::to_array<std::string_view>({"base_model.model.", "_orig_mod.", "module."});

struct Stack {
  std::string_view prefix;
  DeltaRole role;
};

// The first that fits counts.
constexpr auto kStacks = std::to_array<Stack>({
    {"model.encoder.language_model.", DeltaRole::kEncoder},
    {"encoder.language_model.", DeltaRole::kEncoder},
    {"model.decoder.", DeltaRole::kDecoder},
    {"decoder.", DeltaRole::kDecoder},
    {"model.language_model.", DeltaRole::kBoth},
    {"language_model.model.", DeltaRole::kBoth},
    {"language_model.", DeltaRole::kBoth},
    {"model.", DeltaRole::kBoth},
    {"", DeltaRole::kBoth},
});

constexpr auto kLayerModules =
    std::to_array<std::string_view>({"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                                     "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "router.proj"});
constexpr auto kSelfConditioning = std::to_array<std::string_view>(
    {"self_conditioning.gate_proj", "self_conditioning.up_proj", "self_conditioning.down_proj"});
constexpr std::string_view kGateUp = "experts.gate_up_proj", kDown = "experts.down_proj";

bool StripFront(std::string_view& text, std::string_view front) {
  if (!text.starts_with(front)) return false;
  text.remove_prefix(front.size());
  return true;
}

bool StripBack(std::string_view& text, std::string_view back) {
  if (!text.ends_with(back)) return false;
  text.remove_suffix(back.size());
  return true;
}

/// A number of at most six digits and the dot behind it, taken off the front.
std::optional<int64_t> StripNumber(std::string_view& text) {
  int64_t number = 0;
  const size_t dot = text.find('.');
  if (dot == 0 || dot > 6) return std::nullopt;  // npos is greater, too
  const auto [end, error] = std::from_chars(text.data(), text.data() + dot, number);
  if (error != std::errc{} || end != text.data() + dot || number < 0) return std::nullopt;
  text.remove_prefix(dot + 1);
  return number;
}

bool IsVision(std::string_view key) {
  return key.find("vision_tower.") != std::string_view::npos || key.find("embed_vision.") != std::string_view::npos;
}

std::unexpected<Status> NoEmbedding(std::string_view name) {
  return Fail(StatusCode::kUnsupported,
              fmt::format("{}: changes the token table or the vocabulary head (adapters of linear layers, routers and "
                          "experts are supported, of embeddings not)",
                          Quoted(name)));
}

/// What stands behind "experts." in the name of one expert's module.
std::optional<AdapterPlace> OneExpert(std::string_view rest, AdapterPlace place) {
  const auto expert = StripNumber(rest);
  if (!expert) return std::nullopt;
  place.expert = *expert;
  place.module = rest == "down_proj" ? kDown : kGateUp;
  place.part = rest == "gate_proj" ? AdapterPart::kGate : rest == "up_proj" ? AdapterPart::kUp : AdapterPart::kWhole;
  const bool known = rest == "down_proj" || rest == "gate_up_proj" || place.part != AdapterPart::kWhole;
  return known ? std::optional(place) : std::nullopt;
}

/// A module within its layer.
std::optional<AdapterPlace> InLayer(std::string_view module, AdapterPlace place) {
  place.module = module;
  if (std::ranges::find(kLayerModules, module) != kLayerModules.end()) return place;
  place.form = AdapterForm::kStacked;
  if (module == kGateUp || module == kDown) return place;
  place.form = AdapterForm::kParameters;
  if (module == "experts") return place;
  place.form = AdapterForm::kMatrix;
  return StripFront(module, "experts.") ? OneExpert(module, place) : std::nullopt;
}

}  // namespace

std::string AdapterPlace::Tensor() const {
  if (layer < 0) return fmt::format("model.decoder.{}.weight", module);
  const bool experts = module.starts_with("experts");
  return fmt::format("model.decoder.layers.{}.{}{}", layer, module, experts ? "" : ".weight");
}

Result<std::optional<AdapterKey>> SplitAdapterKey(std::string_view key) {
  const auto refuse = [&](const char* what) {
    return Fail(StatusCode::kUnsupported, fmt::format("{}: {} (plain LoRA is supported)", Quoted(key), what));
  };
  if (IsVision(key)) return std::nullopt;
  if (key.find("lora_embedding_") != std::string_view::npos) return NoEmbedding(key);
  if (key.find("lora_magnitude_vector") != std::string_view::npos) return refuse("belongs to DoRA");
  if (key.find("modules_to_save") != std::string_view::npos) return refuse("is a module saved as a whole");
  constexpr auto kFused = std::to_array<std::pair<std::string_view, std::string_view>>(
      {{".lora_gate_up_", ".gate_up_proj"}, {".lora_down_", ".down_proj"}});
  for (const auto& [mark, module] : kFused) {
    const size_t at = key.rfind(mark);
    if (at == std::string_view::npos) continue;
    const std::string_view side = key.substr(at + mark.size());
    if (side != "A" && side != "B") continue;
    return AdapterKey{std::string(key.substr(0, at)) + std::string(module),
                      side == "A" ? AdapterSide::kDown : AdapterSide::kUp};
  }
  for (const AdapterSide side : {AdapterSide::kDown, AdapterSide::kUp}) {
    const std::string_view mark = side == AdapterSide::kDown ? ".lora_A" : ".lora_B";
    const size_t at = key.rfind(mark);
    if (at == std::string_view::npos) continue;
    std::string_view rest = key.substr(at + mark.size());  // "", ".weight", ".default", ".default.weight"
    if (rest.ends_with(".bias")) return refuse("is a bias");
    StripBack(rest, ".weight");
    const bool named = rest.empty() || (rest.starts_with('.') && rest.find('.', 1) == std::string_view::npos);
    if (named) return AdapterKey{std::string(key.substr(0, at)), side};
  }
  if (key.find("lora_") == std::string_view::npos && (key.ends_with(".weight") || key.ends_with(".bias")))
    return refuse("is a whole tensor");
  return std::nullopt;
}

std::string_view PatternName(std::string_view module) {
  for (bool again = true; again;) {
    again = std::ranges::any_of(kWrappers, [&](std::string_view wrapper) { return StripFront(module, wrapper); });
  }
  while (StripBack(module, ".base_layer")) {
  }
  return module;
}

Result<std::optional<AdapterPlace>> PlaceOfModule(std::string_view module) {
  if (IsVision(module)) return std::nullopt;
  std::string_view rest = PatternName(module);
  StripBack(rest, ".linear");
  if (rest == "lm_head") return NoEmbedding(module);
  const auto stack = std::ranges::find_if(kStacks, [&](const Stack& s) { return StripFront(rest, s.prefix); });
  if (rest == "embed_tokens" || rest == "lm_head") return NoEmbedding(module);
  AdapterPlace place;
  place.role = stack->role;
  if (std::ranges::find(kSelfConditioning, rest) != kSelfConditioning.end()) {
    if (place.role == DeltaRole::kEncoder) return std::nullopt;
    place.role = DeltaRole::kDecoder;
    place.module = rest;
    return place;
  }
  if (!StripFront(rest, "layers.")) return std::nullopt;
  const auto layer = StripNumber(rest);
  if (!layer) return std::nullopt;
  place.layer = *layer;
  return InLayer(rest, std::move(place));
}

Result<std::optional<AdapterPlace>> PlaceOfGguf(std::string_view tensor) {
  if (tensor == "token_embd.weight" || tensor == "output.weight") return NoEmbedding(tensor);
  const auto is_named = [&](const AdapterPlace& place) {
    const std::vector<std::string> names = GgufNames(place.Tensor());
    return std::ranges::find(names, tensor) != names.end();
  };
  for (const std::string_view module : kSelfConditioning) {
    AdapterPlace place;
    place.role = DeltaRole::kDecoder;
    place.module = module;
    if (is_named(place)) return place;
  }
  std::string_view rest = tensor;
  if (!StripFront(rest, "blk.")) return std::nullopt;
  const auto layer = StripNumber(rest);
  if (!layer) return std::nullopt;
  AdapterPlace place;
  place.layer = *layer;
  for (const std::string_view module : kLayerModules) {
    place.module = module;
    if (is_named(place)) return place;
  }
  place.form = AdapterForm::kStacked;
  for (const std::string_view module : {kGateUp, kDown}) {
    place.module = module;
    if (is_named(place)) return place;
  }
  place.module = kGateUp;
  const auto halves = GgufHalves(place.Tensor());
  place.part = halves && halves->first == tensor ? AdapterPart::kGate : AdapterPart::kUp;
  if (halves && (halves->first == tensor || halves->second == tensor)) return place;
  return std::nullopt;
}

std::string PeftModule(std::string_view tensor, DeltaRole role) {
  StripFront(tensor, "model.decoder.");
  StripBack(tensor, ".weight");
  const auto stack = std::ranges::find(kStacks, role, &Stack::role);
  return fmt::format("{}{}", stack->prefix, tensor);
}

}  // namespace dgemma
