// See synthesize.h. Random codes are drawn as such, so that a file of the released size takes no longer than writing it.
#include "model/synthesize.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/thread_pool.h"
#include "base/try.h"
#include "files/messages.h"
#include "tensor/panels.h"
#include "tensor/rounding.h"

namespace dgemma {
namespace {

struct Shape {
  std::string_view name;
  int vocab, width, layers, heads, kv_heads, head, full_kv_heads, full_head, dense, experts, active, expert, window,
      positions;
};

constexpr Shape kShapes[] = {
    {"26b", 262'144, 2816, 30, 16, 8, 256, 2, 512, 2112, 128, 8, 704, 1024, 262'144},
    {"mid", 32'768, 1024, 12, 8, 4, 128, 1, 256, 768, 32, 4, 256, 512, 32'768},
};

/// A generator whose stream is a function of (seed, tensor, piece): splitmix64 (Steele, Lea, Flood 2014).
class Stream {
 public:
  Stream(uint64_t seed, uint64_t tensor, uint64_t piece) : state_(seed * 0x9E3779B97F4A7C15u + (tensor << 40) + piece) {
    Next();
  }
  uint64_t Next() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }

 private:
  uint64_t state_;
};

constexpr int64_t kPieceBytes = 1 << 20;

/// Deviation of a tensor's values; 0 for those that are 1 throughout.
double DeviationOf(const TensorSpec& spec) {
  if (spec.role == TensorRole::kNorm || spec.role == TensorRole::kScalar) return 0;
  const double in = static_cast<double>(spec.shape.back());
  return (spec.role == TensorRole::kEmbedding ? 8.0 : 1.0) / std::sqrt(in);
}

/// Whole panels: random codes, and scales that give their uniform distribution this deviation.
void FillPanels(const WeightFormat& format, int64_t in, double deviation, Stream stream, std::span<std::byte> bytes) {
  const auto panel_bytes = static_cast<size_t>(PanelBytes(format, in)),
             scale_bytes = static_cast<size_t>(PanelScaleBytes(format, in));
  const double levels = format.kind == WeightKind::kInt8 || format.stepped() ? 256 : 16;  // steps of 16
  const auto scale = static_cast<float>(deviation * std::sqrt(12.0) / levels);
  const uint16_t scale_bits = ToF16(scale), min_bits = ToF16(scale * 7.5f);
  const auto scales = static_cast<size_t>(ScaleCount(format, in) * kPanelLanes);
  const int64_t stepped_groups = format.stepped() ? GroupCount(format, in) : 0;
  for (size_t at = 0; at < bytes.size(); at += panel_bytes) {
    std::byte* panel = bytes.data() + at;
    for (size_t i = 0; i < scales; ++i) {
      std::memcpy(panel + 2 * i, &scale_bits, 2);
      if (format.has_min) std::memcpy(panel + 2 * (scales + i), &min_bits, 2);
    }
    for (int64_t group = 0; group < stepped_groups; ++group) {  // 16 code + 8 - 128
      std::byte* steps = std::fill_n(panel + kStepsBegin + group * kStepBytes, kPanelLanes, std::byte{15});
      std::fill_n(steps, kPanelLanes, std::byte{8});
    }
    for (size_t i = scale_bytes; i < panel_bytes; i += 8) {
      const uint64_t random = stream.Next();
      std::memcpy(panel + i, &random, 8);
    }
  }
}

/// Plain values, uniform with this deviation around 0; 1 where the deviation is 0.
void FillPlain(DType dtype, double deviation, Stream stream, std::span<std::byte> bytes) {
  const auto width = static_cast<size_t>(BytesPerValue(dtype));
  for (size_t at = 0; at < bytes.size(); at += width) {
    const double unit = static_cast<double>(stream.Next() >> 11) * 0x1p-53 - 0.5;
    const float value = deviation == 0 ? 1.0f : static_cast<float>(unit * deviation * std::sqrt(12.0));
    const uint16_t half = ToBf16(value);
    std::memcpy(bytes.data() + at, dtype == DType::kF32 ? static_cast<const void*>(&value) : &half, width);
  }
}

/// Bytes in pieces, several at a time on all threads.
Result<void> Produce(int64_t total, int64_t piece, ThreadPool& pool, const ByteSink& sink,
                     const std::function<void(uint64_t index, std::span<std::byte>)>& fill) {
  const int64_t at_once = int64_t{4} * pool.threads();
  std::vector<std::byte> buffer(static_cast<size_t>(std::min(total, piece * at_once)));
  for (int64_t begin = 0; begin < total; begin += piece * at_once) {
    const int64_t bytes = std::min(total - begin, piece * at_once);
    pool.ParallelFor((bytes + piece - 1) / piece, [&](int64_t task, int) {
      const auto at = static_cast<size_t>(task * piece);
      fill(static_cast<uint64_t>(begin / piece + task),
           std::span(buffer).subspan(at, std::min(static_cast<size_t>(piece), static_cast<size_t>(bytes) - at)));
    });
    DG_CHECK_OK(sink({buffer.data(), static_cast<size_t>(bytes)}));
  }
  return {};
}

}  // namespace

std::vector<std::string_view> SyntheticShapes() {
  std::vector<std::string_view> names;
  for (const Shape& shape : kShapes) names.push_back(shape.name);
  return names;
}

Result<std::string> SyntheticConfig(std::string_view name) {
  const Shape* s = std::ranges::find(kShapes, name, &Shape::name);
  if (s == std::end(kShapes)) {
    return Fail(StatusCode::kInvalidArgument, fmt::format("shape {}: not one of 26b, mid", Quoted(name)));
  }
  std::string layers;
  for (int layer = 0; layer < s->layers; ++layer) {
    layers += fmt::format("{}\"{}_attention\"", layer == 0 ? "" : ", ", layer % 6 == 5 ? "full" : "sliding");
  }
  return fmt::format(R"({{
  "model_type": "diffusion_gemma", "canvas_length": 256, "tie_word_embeddings": true,
  "text_config": {{
    "vocab_size": {}, "hidden_size": {}, "num_hidden_layers": {}, "layer_types": [{}],
    "num_attention_heads": {}, "num_key_value_heads": {}, "head_dim": {}, "num_global_key_value_heads": {},
    "global_head_dim": {}, "intermediate_size": {}, "num_experts": {}, "top_k_experts": {},
    "moe_intermediate_size": {}, "sliding_window": {}, "max_position_embeddings": {},
    "final_logit_softcapping": 30.0,
    "rope_parameters": {{
      "sliding_attention": {{"rope_type": "default", "rope_theta": 10000.0}},
      "full_attention": {{"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1000000.0}}
    }}
  }}
}}
)",
                     s->vocab, s->width, s->layers, layers, s->heads, s->kv_heads, s->head, s->full_kv_heads,
                     s->full_head, s->dense, s->experts, s->active, s->expert, s->window, s->positions);
}

Result<void> WriteSynthetic(std::string_view shape, const std::filesystem::path& folder, const ModelTexts& texts,
                            const SynthesizeOptions& options) {
  DG_TRY(const std::string config_text, SyntheticConfig(shape));
  DG_TRY(const Config config, At("config.json", ParseConfig(config_text)));
  ThreadPool pool(options.threads);
  std::vector<TensorToWrite> tensors;
  ModelMetadata metadata;
  int64_t total = 0, written = 0;
  const auto counted = [&](const ByteSink& sink) {
    return [&, sink](std::span<const std::byte> bytes) -> Result<void> {
      DG_CHECK_OK(sink(bytes));
      written += static_cast<int64_t>(bytes.size());
      if (options.progress && !options.progress(written, total)) return Fail(StatusCode::kCancelled, "cancelled");
      return {};
    };
  };
  uint64_t index = 0;
  for (const TensorSpec& spec : ListTensors(config)) {
    const double deviation = DeviationOf(spec);
    const uint64_t tensor = ++index;
    const auto format = options.recipe ? FormatFor(*options.recipe, spec) : std::nullopt;
    if (format) {
      const auto in = static_cast<int64_t>(spec.shape.back()),
                 out = static_cast<int64_t>(spec.shape[spec.shape.size() - 2]);
      const int64_t count = spec.shape.size() == 3 ? static_cast<int64_t>(spec.shape[0]) : 1;
      const int64_t bytes = GroupedBytes(*format, count, out, in), panel = PanelBytes(*format, in);
      const int64_t piece = std::max<int64_t>(1, kPieceBytes / panel) * panel;
      metadata[spec.name] = Name(*format);
      tensors.push_back(
          {spec.name, DType::kU8, {static_cast<uint64_t>(bytes)}, [=, &pool, &options](const ByteSink& sink) {
             return Produce(bytes, piece, pool, counted(sink), [&](uint64_t at, std::span<std::byte> to) {
               FillPanels(*format, in, deviation, {options.seed, tensor, at}, to);
             });
           }});
      total += bytes;
    } else {
      const DType dtype = deviation == 0 || options.plain.kind == WeightKind::kF32 ? DType::kF32 : DType::kBF16;
      const auto bytes = static_cast<int64_t>(spec.Values() * BytesPerValue(dtype));
      tensors.push_back({spec.name, dtype, spec.shape, [=, &pool, &options](const ByteSink& sink) {
                           return Produce(bytes, kPieceBytes, pool, counted(sink),
                                          [&](uint64_t at, std::span<std::byte> to) {
                                            FillPlain(dtype, deviation, {options.seed, tensor, at}, to);
                                          });
                         }});
      total += bytes;
    }
  }
  ModelTexts all = texts;
  all["config.json"] = config_text;
  return SaveModelFolder(folder, std::move(tensors), all, metadata);
}

}  // namespace dgemma
