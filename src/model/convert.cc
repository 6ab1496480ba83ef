// Chooses types, lists what to write, and hands the rest to the writers.
#include "model/convert.h"

#include <algorithm>
#include <set>

#include "base/checked.h"
#include "files/atomic_file.h"
#include "files/gguf_writer.h"
#include "files/messages.h"
#include "model/convert_rows.h"
#include "model/gguf_config.h"
#include "model/gguf_names.h"
#include "model/gguf_tokenizer.h"
#include "model/model_folder.h"
#include "model/stored_tensors.h"
#include "tensor/ggml_blocks.h"

namespace dgemma {
namespace {

/// Vectors, scalars and the router: small, and llama.cpp expects them so.
bool StaysF32(const TensorSpec& spec) {
  return spec.role == TensorRole::kNorm || spec.role == TensorRole::kScalar || spec.role == TensorRole::kRouter;
}

/// The one type of a stored tensor; nothing for panels, codes with scales, and runs of several types.
std::optional<DType> OnlyType(const StoredTensor& stored) {
  if (stored.packed()) return std::nullopt;
  const DType first = stored.runs.front().dtype;
  const bool all =
      std::ranges::all_of(stored.runs, [&](const StoredRows& run) { return run.dtype == first && !run.scaled(); });
  return all ? std::optional(first) : std::nullopt;
}

std::string TypeName(const StoredTensor& stored) {
  if (stored.packed()) return Name(stored.panels.format);
  const CodeKind kind = stored.runs.front().scales.kind;
  const bool alike = std::ranges::all_of(stored.runs, [&](const StoredRows& run) { return run.scales.kind == kind; });
  if (kind != CodeKind::kNone && alike) return Name(kind);
  const auto only = OnlyType(stored);
  return only ? std::string(Name(*only)) : "mixed";
}

/// Everything of one conversion that the producers refer to; stays in place while the writer runs.
struct Job {
  const CheckpointFiles& files;
  TensorStream stream;
  std::vector<TensorOutcome> outcomes;  // reserved in full, so that producers may keep references

  Result<TensorToWrite> Add(const TensorSpec& spec, std::string name, DType to) {
    DG_TRY(const StoredTensor stored, FindStored(files, spec));
    TensorToWrite tensor{std::move(name), to, spec.shape, {}};
    TensorOutcome outcome{spec.name, TypeName(stored), to};
    DG_TRY(outcome.bytes, At(spec.name, StoredBytes(tensor)));
    stream.Expect(outcome.bytes);
    outcomes.push_back(std::move(outcome));
    tensor.produce = [this, stored, &kept = outcomes.back()](const ByteSink& sink) -> Result<void> {
      DG_CHECK_OK(ConvertRows(stored, kept, stream, sink));
      Release(files, stored);
      return {};
    };
    return tensor;
  }
};

/// llama.cpp's number for a file whose matrices are mostly of this type.
uint32_t FileType(DType type) {
  switch (type) {
    case DType::kF32:
      return 0;
    case DType::kF16:
      return 1;
    case DType::kQ4_0:
      return 2;
    case DType::kQ4_1:
      return 3;
    case DType::kQ8_0:
      return 7;
    case DType::kQ5_0:
      return 8;
    case DType::kQ5_1:
      return 9;
    case DType::kQ4K:
      return 14;
    case DType::kQ5K:
      return 16;
    case DType::kQ6K:
      return 18;
    case DType::kIq4Xs:
      return 30;
    default:
      return 32;  // BF16
  }
}

Result<void> PutAllMetadata(const CheckpointFiles& files, const Config& config, const ConvertOptions& options,
                            DType mostly, GgufMetadata& metadata) {
  metadata.Put("general.architecture", GgufArchitecture(config));
  metadata.Put("general.type", "model");
  const auto name = files.metadata().find("general.name");
  metadata.Put("general.name", std::string_view(name != files.metadata().end() ? name->second : options.name));
  metadata.Put("general.file_type", FileType(mostly));
  metadata.Put("general.quantization_version", uint32_t{2});
  DG_TRY(const std::string generation_text, TextOrNothing(files, "generation_config.json"));
  GenerationConfig generation;
  if (!generation_text.empty()) {
    DG_TRY(generation, At("generation_config.json", ParseGenerationConfig(generation_text, config.vocab)));
  }
  PutConfig(config, generation, metadata);
  TokenizerTexts texts;
  DG_TRY(texts.tokenizer, files.Text("tokenizer.json"));
  DG_TRY(const std::string tokenizer_config, TextOrNothing(files, "tokenizer_config.json"));
  if (!tokenizer_config.empty()) {
    DG_TRY(texts.chat_template, At("tokenizer_config.json", ChatTemplateOf(tokenizer_config)));
  }
  if (texts.chat_template.empty()) {
    DG_TRY(texts.chat_template, TextOrNothing(files, "chat_template.jinja"));
  }
  return PutTokenizer(texts, config, metadata);
}

}  // namespace

DType GgufTypeFor(const TensorSpec& spec, DType wanted) {
  if (StaysF32(spec)) return DType::kF32;
  const bool few_bits =
      wanted == DType::kQ4_0 || wanted == DType::kQ4K || wanted == DType::kQ5K || wanted == DType::kIq4Xs;
  DType type = spec.role == TensorRole::kEmbedding && few_bits ? DType::kQ6K : wanted;
  const auto fits = [&](DType dtype) { return spec.shape.back() % ValuesPerBlock(dtype) == 0; };
  if (!fits(type)) type = DType::kQ8_0;
  return fits(type) ? type : DType::kF16;
}

Result<std::vector<TensorOutcome>> SaveGguf(const CheckpointFiles& files, const Config& config,
                                            const std::filesystem::path& target, const ConvertOptions& options,
                                            ThreadPool& pool) {
  const std::vector<TensorSpec> specs = ListTensors(config);
  Job job{files, {options.stream, pool}, {}};
  job.outcomes.reserve(specs.size());
  std::vector<TensorToWrite> tensors;
  const std::vector<float> factors = RopeFactors(config);
  if (!factors.empty()) {
    tensors.push_back(TensorFromMemory(std::string(kGgufRopeFactors), DType::kF32, {factors.size()},
                                       std::as_bytes(std::span(factors))));
  }
  DType mostly = options.type.value_or(DType::kBF16);
  for (const TensorSpec& spec : specs) {
    if (spec.role == TensorRole::kVision) continue;
    DG_TRY(const StoredTensor stored, FindStored(files, spec));
    const DType kept = OnlyType(stored).value_or(DType::kF32);
    if (!options.type && spec.role == TensorRole::kExperts) mostly = kept;
    // A file of an autoregressive model has its only scalar under the decoder's name.
    const std::vector<std::string> names = GgufNames(spec.name);
    const bool renamed = config.causal_only && spec.role == TensorRole::kScalar;
    const bool chosen = options.type || StaysF32(spec);
    DG_TRY(TensorToWrite tensor, job.Add(spec, renamed ? names.back() : names.front(),
                                         chosen ? GgufTypeFor(spec, options.type.value_or(kept)) : kept));
    tensors.push_back(std::move(tensor));
  }
  GgufMetadata metadata;
  DG_CHECK_OK(PutAllMetadata(files, config, options, mostly, metadata));
  RemoveStaleTemporaries(target.has_parent_path() ? target.parent_path() : ".");
  DG_CHECK_OK(WriteGguf(target, metadata, tensors));
  return std::move(job.outcomes);
}

Result<std::vector<TensorOutcome>> SaveFolder(const CheckpointFiles& files, const Config& config,
                                              const std::filesystem::path& target, const ConvertOptions& options,
                                              ThreadPool& pool) {
  if (options.type && IsBlockType(*options.type)) {
    return Fail(StatusCode::kInvalidArgument,
                "type: a model folder holds f32, f16 or bf16 (block types need a .gguf file)");
  }
  const std::vector<TensorSpec> specs = ListTensors(config);
  Job job{files, {options.stream, pool}, {}};
  job.outcomes.reserve(specs.size());
  std::vector<TensorToWrite> tensors;
  for (const TensorSpec& spec : specs) {
    DG_TRY(const StoredTensor stored, FindStored(files, spec));
    const DType only = OnlyType(stored).value_or(DType::kF32);
    DG_TRY(TensorToWrite tensor,
           job.Add(spec, spec.name, options.type.value_or(IsBlockType(only) ? DType::kF32 : only)));
    tensors.push_back(std::move(tensor));
  }
  DG_TRY(const ModelTexts texts, ReadTexts(files));
  DG_CHECK_OK(SaveModelFolder(target, std::move(tensors), texts));
  return std::move(job.outcomes);
}

}  // namespace dgemma
