// `dgemma dump`: intermediate results as safetensors, for people who compare engines. Tensor names as in tests/golden/README.md.
// It works on ids and recorded draws only; no tokenizer, no text.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <boost/json/value.hpp>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>

#include "base/checked.h"
#include "engine/generate.h"
#include "engine/loaded_model.h"
#include "engine/replay.h"
#include "files/json.h"
#include "files/mapped_file.h"
#include "files/messages.h"
#include "files/safetensors_writer.h"
#include "model/gguf_model.h"
#include "model/json_fields.h"
#include "model_source.h"
#include "thread_count.h"
#include "verbs.h"

namespace dgemma {
namespace {

struct DumpArguments {
  std::string model, in, out, generate;
  std::vector<AdapterFile> adapters;
  Backend backend = Backend::kCpu;
  int threads = 0;
};

/// Results by name until they are written.
class Results {
 public:
  void PutFloats(const std::string& name, std::vector<uint64_t> shape, std::vector<float> values) {
    floats_[name] = {std::move(shape), std::move(values)};
  }
  void PutIds(const std::string& name, std::vector<uint64_t> shape, std::vector<int64_t> values) {
    ids_[name] = {std::move(shape), std::move(values)};
  }
  size_t count() const { return floats_.size() + ids_.size(); }
  Result<void> Write(const std::string& path) const {
    std::vector<TensorToWrite> tensors;
    for (const auto& [name, entry] : floats_) {
      tensors.push_back(TensorFromMemory(name, DType::kF32, entry.first, std::as_bytes(std::span(entry.second))));
    }
    for (const auto& [name, entry] : ids_) {
      tensors.push_back(TensorFromMemory(name, DType::kI64, entry.first, std::as_bytes(std::span(entry.second))));
    }
    return WriteSafetensors(path, std::move(tensors));
  }

 private:
  std::map<std::string, std::pair<std::vector<uint64_t>, std::vector<float>>> floats_;
  std::map<std::string, std::pair<std::vector<uint64_t>, std::vector<int64_t>>> ids_;
};

/// Keeps "x0" and "layer.l" under a prefix.
class LayerKeeper final : public ForwardObserver {
 public:
  LayerKeeper(Kernels& kernels, Results& results, std::string prefix, bool with_input)
      : kernels_(kernels), results_(results), prefix_(std::move(prefix)), with_input_(with_input) {}

  void Observe(const char* name, int64_t layer, Matrix value) override {
    const std::string_view what = name;
    if (what == "layer") Keep(fmt::format("{}layer.{}", prefix_, layer), value);
    if (what == "x0" && with_input_) Keep(prefix_ + "x0", value);
  }

 private:
  void Keep(const std::string& name, Matrix value) {
    std::vector<float> values(static_cast<size_t>(value.rows * value.cols));
    kernels_.Download(value, values);
    results_.PutFloats(name, {1, static_cast<uint64_t>(value.rows), static_cast<uint64_t>(value.cols)},
                       std::move(values));
  }

  Kernels& kernels_;
  Results& results_;
  std::string prefix_;
  bool with_input_;
};

/// Ids of a [B, N] tensor, checked against the vocabulary.
struct IdTable {
  int64_t batch = 0, columns = 0;
  std::vector<int32_t> ids;
};

Result<IdTable> ReadIds(const CheckpointFiles& files, const std::string& name, int64_t vocab) {
  DG_TRY(const TensorBytes tensor, files.Tensor(name));
  if (tensor.shape.size() != 2 || tensor.shape[0] == 0 || tensor.shape[1] == 0) {
    return Fail(StatusCode::kInvalidFile, name + ": must have the shape [batch, tokens], not empty");
  }
  DG_TRY(const std::vector<int64_t> values, ReadIntegers(tensor));
  IdTable table{static_cast<int64_t>(tensor.shape[0]), static_cast<int64_t>(tensor.shape[1]), {}};
  for (int64_t id : values) {
    if (id < 0 || id >= vocab)
      return Fail(StatusCode::kInvalidFile, fmt::format("{}: id {} is not in the vocabulary", name, id));
    table.ids.push_back(static_cast<int32_t>(id));
  }
  return table;
}

void KeepLogits(const Model& model, Matrix hidden, const std::string& name, Results& results) {
  const int64_t vocab = model.config.vocab;
  std::vector<float> logits(static_cast<size_t>(hidden.rows * vocab));
  model.kernels.Logits(hidden, model.weights.embedding, static_cast<float>(model.config.softcap),
                       {logits.data(), hidden.rows, vocab, vocab});
  results.PutFloats(name, {1, static_cast<uint64_t>(hidden.rows), static_cast<uint64_t>(vocab)}, std::move(logits));
}

/// Keys and values as Transformers' dynamic cache holds them: full layers everything, sliding layers the last window - 1 positions.
void KeepCache(const Model& model, const KvCache& cache, Results& results) {
  for (size_t l = 0; l < model.config.layers.size(); ++l) {
    const KvStore store = cache.Layer(l);
    const int64_t length = cache.end() - cache.begin();
    const int64_t kept = model.config.layers[l].sliding ? std::min(length, model.config.window - 1) : length;
    std::vector<float> k, v;
    for (int64_t head = 0; head < store.kv_heads; ++head) {
      for (int64_t pos = cache.end() - kept; pos < cache.end(); ++pos) {
        for (int64_t dim = 0; dim < store.head_size; ++dim) {
          k.push_back(store.k[store.KeyIndex(head, pos % store.slots, dim)]);
          v.push_back(store.v[store.ValueIndex(head, pos % store.slots, dim)]);
        }
      }
    }
    const std::vector<uint64_t> shape = {1, static_cast<uint64_t>(store.kv_heads), static_cast<uint64_t>(kept),
                                         static_cast<uint64_t>(store.head_size)};
    results.PutFloats(fmt::format("cache.{}.k", l), shape, std::move(k));
    results.PutFloats(fmt::format("cache.{}.v", l), shape, std::move(v));
  }
}

Result<void> DumpPasses(const Model& model, const CheckpointFiles& in, Results& results) {
  DG_TRY(const IdTable ids, ReadIds(in, "ids", model.config.vocab));
  if (ids.batch != 1) return Fail(StatusCode::kUnsupported, "ids: one row only (use --generate for batches)");
  if (ids.columns > model.config.max_positions) {
    return Fail(StatusCode::kInvalidFile,
                fmt::format("ids: {} tokens exceed the model's {} positions", ids.columns, model.config.max_positions));
  }
  DG_TRY(Activations activations,
         Activations::Create(model.config, std::max(ids.columns, model.config.canvas), 1, model.kernels));
  DG_TRY(KvCache cache, KvCache::Create(model.config, ids.columns, ids.columns, model.kernels));
  LayerKeeper encoder(model.kernels, results, "encoder.", false);
  DG_TRY(
      const Matrix prompt_hidden,
      Forward(model, activations, {{{SegmentKind::kPrompt, &cache, ids.ids, 0, {}, HiddenRows::kAll}}, {}}, &encoder));
  KeepLogits(model, prompt_hidden, "ar_logits", results);
  KeepCache(model, cache, results);
  if (!in.HasTensor("canvas")) return {};

  DG_TRY(const IdTable canvas, ReadIds(in, "canvas", model.config.vocab));
  if (canvas.batch != 1 || canvas.columns != model.config.canvas) {
    return Fail(StatusCode::kInvalidFile, fmt::format("canvas: must have the shape [1, {}]", model.config.canvas));
  }
  Segment segment{SegmentKind::kCanvas, &cache, canvas.ids, cache.end(), {}, HiddenRows::kAll};
  Buffer soft_memory;
  if (in.HasTensor("self_conditioning_logits")) {
    DG_TRY(const TensorBytes tensor, in.Tensor("self_conditioning_logits"));
    DG_TRY(std::vector<float> logits, ReadNumbers(tensor));
    if (std::ssize(logits) != canvas.columns * model.config.vocab) {
      return Fail(StatusCode::kInvalidFile, fmt::format("self_conditioning_logits: must have the shape [1, {}, {}]",
                                                        canvas.columns, model.config.vocab));
    }
    if (!std::all_of(logits.begin(), logits.end(), [](float logit) { return std::isfinite(logit); })) {
      return Fail(StatusCode::kInvalidFile, "self_conditioning_logits: hold NaN or infinity");
    }
    DG_TRY(soft_memory, model.kernels.Allocate(SoftBytes(model.config)));
    segment.soft = {soft_memory.Floats(), canvas.columns, model.config.width, model.config.width};
    model.kernels.SoftEmbed({logits.data(), canvas.columns, model.config.vocab, model.config.vocab},
                            model.weights.embedding, model.embed_scale, segment.soft);
  }
  LayerKeeper decoder(model.kernels, results, "", true);
  DG_TRY(const Matrix hidden, Forward(model, activations, {{segment}, {}, true}, &decoder));
  KeepLogits(model, hidden, "logits", results);
  return {};
}

struct ReplayOptions {
  GenerateOptions generate;
  int64_t canvases = 1;
  int32_t pad_token = 0;
};

constexpr std::array<std::string_view, 9> kReplayKeys = {"canvases",      "max_denoising_steps", "t_min",
                                                         "t_max",         "stability_threshold", "confidence_threshold",
                                                         "entropy_bound", "eos_token_id",        "pad_token_id"};

Result<ReplayOptions> ParseReplayOptions(const std::string& text, const Config& config) {
  DG_TRY(const boost::json::value value, ParseJson(text));
  if (!value.is_object()) return Fail(StatusCode::kInvalidFile, "must be a JSON object");
  std::optional<Status> failure;
  JsonFields fields(&value.as_object(), "", failure);
  for (const auto& item : value.as_object()) {
    const std::string_view key(item.key());
    if (std::ranges::find(kReplayKeys, key) == kReplayKeys.end()) {
      fields.Refuse(key, fmt::format("is no option of a generation ({})", fmt::join(kReplayKeys, ", ")));
    }
  }
  ReplayOptions options;
  GenerateOptions& g = options.generate;
  options.canvases = fields.Int("canvases", {1, 1 << 20}, 1);
  g.max_new_tokens = options.canvases * config.canvas;
  g.steps = static_cast<int32_t>(fields.Int("max_denoising_steps", {1, 4096}, g.steps));
  g.t_min = fields.Real("t_min", {0, 1e3}, g.t_min);
  g.t_max = fields.Real("t_max", {0, 1e3}, g.t_max);
  g.stability = static_cast<int32_t>(fields.Int("stability_threshold", {0, 4096}, g.stability));
  g.confidence = fields.Real("confidence_threshold", {0, 1e3}, g.confidence);
  g.entropy_bound = fields.Real("entropy_bound", {1e-12, 1e9}, g.entropy_bound);
  g.stop_tokens = fields.Ids("eos_token_id", {0, config.vocab - 1});
  options.pad_token = static_cast<int32_t>(fields.Int("pad_token_id", {0, config.vocab - 1}, config.pad_token));
  if (failure) return std::unexpected(*failure);
  return options;
}

/// What one row of the batch did, step by step. While other rows go on, Transformers computes a canvas that is done again
/// at every lower temperature: the canvas stays, entropy and acceptance are recorded anew. `idle` runs these passes; null
/// for a single row.
class RowRecord final : public GenerationObserver {
 public:
  struct Step {
    std::vector<int32_t> argmax;
    std::vector<uint8_t> accepted;
    std::vector<float> entropy;
  };

  RowRecord(const GenerateOptions& options, KvCache& cache, PassRunner* idle)
      : options_(options), cache_(cache), idle_(idle) {}

  void OnStep(const Canvas& canvas) override {
    if (canvas.steps_done() == 1) steps.emplace_back();
    steps.back().push_back({{canvas.argmax().begin(), canvas.argmax().end()},
                            {canvas.accepted().begin(), canvas.accepted().end()},
                            {canvas.entropy().begin(), canvas.entropy().end()}});
    if (!canvas.done()) return;
    steps_taken.push_back(steps.back().size());
    if (idle_ != nullptr && outcome) outcome = TakeIdleSteps(canvas);
  }
  void OnTokens(std::span<const int32_t> canvas, std::span<const int32_t>) override {
    canvases.emplace_back(canvas.begin(), canvas.end());
  }

  std::vector<std::vector<Step>> steps;  // [canvas][step], with the idle ones
  std::vector<size_t> steps_taken;       // [canvas], without them
  std::vector<std::vector<int32_t>> canvases;
  Result<void> outcome;  // of the idle passes

 private:
  Result<void> TakeIdleSteps(const Canvas& canvas) {
    const TemperatureSchedule schedule{options_.t_min, options_.t_max, options_.steps};
    for (int32_t step = canvas.steps_done(); step < options_.steps; ++step) {
      PassJob job;
      job.segments = {{SegmentKind::kCanvas, &cache_, canvas.tokens(), cache_.end(), canvas.soft(), HiddenRows::kAll}};
      job.temperature = schedule.At(step);
      PassJob* const jobs[] = {&job};
      DG_CHECK_OK(idle_->Run(jobs, {}));
      Step idle = steps.back().back();
      for (size_t row = 0; row < idle.entropy.size(); ++row) {
        const HeadRow& head = job.predictions.rows[row];
        if (!head.finite) return Fail(StatusCode::kNonFinite, fmt::format("logits: NaN or infinity at row {}", row));
        idle.entropy[row] = head.entropy;
      }
      AcceptByEntropy(idle.entropy, options_.entropy_bound, idle.accepted);
      steps.back().push_back(std::move(idle));
    }
    return {};
  }

  const GenerateOptions& options_;
  KvCache& cache_;
  PassRunner* idle_;
};

/// The same draws seen from a later canvas on.
class LaterNoise final : public Noise {
 public:
  LaterNoise(const Noise& noise, int32_t first_canvas) : noise_(noise), first_(first_canvas) {}
  int32_t StartToken(int32_t canvas, int32_t row) const override { return noise_.StartToken(first_ + canvas, row); }
  double SampleUniform(int32_t canvas, int32_t step, int32_t row) const override {
    return noise_.SampleUniform(first_ + canvas, step, row);
  }
  int32_t RenoiseToken(int32_t canvas, int32_t step, int32_t row) const override {
    return noise_.RenoiseToken(first_ + canvas, step, row);
  }

 private:
  const Noise& noise_;
  int32_t first_;
};

/// Transformers keeps denoising a row whose text has ended while other rows of the batch go on, behind padding in place of its canvases.
/// `plan` is the row's plan, `padded` the row's prompt and new tokens with that padding. Nothing of it reaches the sequences.
Result<void> DenoiseEndedRow(PassRunner& runner, GenerationPlan plan, std::span<const int32_t> padded, int64_t canvases,
                             RowRecord& record) {
  const int64_t rows = plan.model->config.canvas, prompt = std::ssize(plan.prompt);
  const Noise& noise = *plan.noise;
  plan.options.max_new_tokens = rows;
  plan.options.stop_tokens.clear();
  plan.start_canvas = {};
  for (int64_t c = std::ssize(record.canvases); c < canvases; ++c) {
    const LaterNoise later(noise, static_cast<int32_t>(c));
    plan.noise = &later;
    plan.prompt = padded.first(static_cast<size_t>(prompt + c * rows));
    GenerationResult ignored;
    Story story = GenerateByDiffusion(plan, ignored);
    Drive(runner, std::span(&story, 1), {});
    DG_CHECK_OK(story.outcome());
  }
  return record.outcome;
}

/// canvas.c.step.s.{argmax, accepted, entropy} [B, C], for as many steps as the slowest row took. Every row has every
/// canvas (DenoiseEndedRow) and every step (RowRecord).
void KeepSteps(const std::vector<std::unique_ptr<RowRecord>>& rows, int64_t canvas_rows, Results& results) {
  for (size_t c = 0; c < rows.front()->steps.size(); ++c) {
    size_t steps = 0;
    for (const auto& row : rows) steps = std::max(steps, row->steps_taken[c]);
    for (size_t s = 0; s < steps; ++s) {
      std::vector<int64_t> argmax, accepted;
      std::vector<float> entropy;
      for (const auto& row : rows) {
        const RowRecord::Step& step = row->steps[c][s];
        argmax.insert(argmax.end(), step.argmax.begin(), step.argmax.end());
        accepted.insert(accepted.end(), step.accepted.begin(), step.accepted.end());
        entropy.insert(entropy.end(), step.entropy.begin(), step.entropy.end());
      }
      const std::vector<uint64_t> shape = {rows.size(), static_cast<uint64_t>(canvas_rows)};
      results.PutIds(fmt::format("canvas.{}.step.{}.argmax", c, s), shape, std::move(argmax));
      results.PutIds(fmt::format("canvas.{}.step.{}.accepted", c, s), shape, std::move(accepted));
      results.PutFloats(fmt::format("canvas.{}.step.{}.entropy", c, s), shape, std::move(entropy));
    }
  }
}

Result<void> DumpGeneration(const Model& model, const CheckpointFiles& in, const ReplayOptions& options,
                            Results& results) {
  const Config& config = model.config;
  DG_TRY(const IdTable prompt, ReadIds(in, "prompt", config.vocab));
  IdTable mask{prompt.batch, prompt.columns, std::vector<int32_t>(prompt.ids.size(), 1)};
  if (in.HasTensor("attention_mask")) {
    DG_TRY(mask, ReadIds(in, "attention_mask", 2));
    if (mask.ids.size() != prompt.ids.size())
      return Fail(StatusCode::kInvalidFile, "attention_mask: its shape differs from the prompt's");
  }
  std::vector<int32_t> start;
  if (in.HasTensor("start_canvas")) {
    DG_TRY(IdTable table, ReadIds(in, "start_canvas", config.vocab));
    if (std::ssize(table.ids) != prompt.batch * config.canvas)
      return Fail(StatusCode::kInvalidFile, "start_canvas: wrong shape");
    start = std::move(table.ids);
  }
  if (prompt.columns + options.canvases * config.canvas > config.max_positions) {
    return Fail(StatusCode::kInvalidFile,
                fmt::format("prompt: {} tokens and {} canvases exceed the model's {} positions", prompt.columns,
                            options.canvases, config.max_positions));
  }
  const int64_t context = prompt.columns + (options.canvases + 1) * config.canvas;
  const int64_t rows = prompt.batch * (prompt.columns + config.canvas);
  DG_TRY(const auto runner, PassRunner::Create(model, rows, prompt.batch));
  DG_TRY(const auto idle, PassRunner::Create(model, config.canvas, 1));
  std::vector<std::unique_ptr<KvCache>> caches;
  std::vector<std::unique_ptr<RecordedNoise>> noises;
  std::vector<std::unique_ptr<RowRecord>> records;
  std::vector<Buffer> soft;
  std::vector<GenerationResult> outcomes(static_cast<size_t>(prompt.batch));
  std::vector<GenerationPlan> plans;
  std::vector<Story> stories;
  for (int64_t row = 0; row < prompt.batch; ++row) {
    const auto all =
        std::span(prompt.ids).subspan(static_cast<size_t>(row * prompt.columns), static_cast<size_t>(prompt.columns));
    const auto real = std::span(mask.ids).subspan(static_cast<size_t>(row * prompt.columns), all.size());
    const auto padding = std::find(real.begin(), real.end(), 1) - real.begin();
    if (std::find(real.begin() + padding, real.end(), 0) != real.end()) {
      return Fail(StatusCode::kUnsupported, "attention_mask: only padding on the left is supported");
    }
    DG_TRY(KvCache cache, KvCache::Create(config, context, prompt.columns + config.canvas, model.kernels));
    caches.push_back(std::make_unique<KvCache>(std::move(cache)));
    caches.back()->Reset(padding);
    DG_TRY(RecordedNoise noise, RecordedNoise::Read(in, row, config.canvas, config.vocab));
    noises.push_back(std::make_unique<RecordedNoise>(std::move(noise)));
    records.push_back(
        std::make_unique<RowRecord>(options.generate, *caches.back(), prompt.batch > 1 ? idle.get() : nullptr));
    DG_TRY(Buffer memory, model.kernels.Allocate(SoftBytes(config)));
    soft.push_back(std::move(memory));
    GenerationPlan plan;
    plan.model = &model;
    plan.cache = caches.back().get();
    plan.prompt = all.subspan(static_cast<size_t>(padding));
    plan.noise = noises.back().get();
    plan.observer = records.back().get();
    plan.options = options.generate;
    plan.chunk_rows = std::max(prompt.columns, config.canvas);
    plan.soft_memory = {soft.back().Floats(), config.canvas, config.width, config.width};
    if (!start.empty())
      plan.start_canvas =
          std::span(start).subspan(static_cast<size_t>(row * config.canvas), static_cast<size_t>(config.canvas));
    plans.push_back(plan);
    stories.push_back(GenerateByDiffusion(plan, outcomes[static_cast<size_t>(row)]));
  }
  Drive(*runner, stories, {});

  int64_t canvases = 0;
  for (const auto& record : records) canvases = std::max(canvases, std::ssize(record->canvases));
  std::vector<int64_t> sequences;
  std::vector<float> tokens_per_forward;
  for (size_t row = 0; row < stories.size(); ++row) {
    DG_CHECK_OK(stories[row].outcome());
    const auto shaped = AsTransformers(records[row]->canvases, canvases, config.canvas, options.generate.stop_tokens,
                                       options.pad_token, outcomes[row].denoise_passes);
    const auto begin = prompt.ids.begin() + static_cast<int64_t>(row) * prompt.columns;
    sequences.insert(sequences.end(), begin, begin + prompt.columns);
    sequences.insert(sequences.end(), shaped.new_tokens.begin(), shaped.new_tokens.end());
    std::vector<int32_t> padded(plans[row].prompt.begin(), plans[row].prompt.end());
    padded.insert(padded.end(), shaped.new_tokens.begin(), shaped.new_tokens.end());
    DG_CHECK_OK(DenoiseEndedRow(*runner, plans[row], padded, canvases, *records[row]));
    tokens_per_forward.push_back(static_cast<float>(shaped.tokens_per_forward));
  }
  const auto batch = static_cast<uint64_t>(prompt.batch);
  const uint64_t columns = sequences.size() / batch;  // before the move: arguments are evaluated in any order
  results.PutIds("sequences", {batch, columns}, std::move(sequences));
  results.PutFloats("tokens_per_forward", {batch}, std::move(tokens_per_forward));
  KeepSteps(records, config.canvas, results);
  return {};
}

/// Returns how many tensors were written.
Result<size_t> Dump(const DumpArguments& arguments) {
  std::error_code ignored;
  if (std::filesystem::equivalent(arguments.in, arguments.out, ignored))
    return Fail(StatusCode::kInvalidArgument, "--out: is the file of --in, which would be lost");
  DG_TRY(const CheckpointFiles in, OpenSafetensors(arguments.in));
  DG_TRY(const CheckpointFiles files, OpenModelFiles(arguments.model));
  DG_TRY(Config config, AtPath(arguments.model, ReadConfig(files)));
  ReplayOptions replay;
  if (!arguments.generate.empty()) {
    DG_TRY(const std::string text, ReadWholeFile(arguments.generate, 1 << 20));
    DG_TRY(replay, At(arguments.generate, ParseReplayOptions(text, config)));
  }
  EngineOptions options;
  options.backend = arguments.backend;
  options.threads = arguments.threads;
  options.adapters = arguments.adapters;
  DG_TRY(const LoadedModel loaded, AtPath(arguments.model, LoadModel(files, std::move(config), options)));
  Results results;
  DG_CHECK_OK(AtPath(arguments.in, arguments.generate.empty() ? DumpPasses(*loaded.model, in, results)
                                                              : DumpGeneration(*loaded.model, in, replay, results)));
  DG_CHECK_OK(results.Write(arguments.out));
  return results.count();
}

}  // namespace

void AddDump(CLI::App& app, Program& program) {
  auto arguments = std::make_shared<DumpArguments>();
  const auto named = [](const std::string& path) { return path.empty() ? "the name of the file is empty" : ""; };
  CLI::App* verb = app.add_subcommand("dump", "Writes intermediate results as safetensors, to compare engines.");
  verb->add_option("MODEL", arguments->model, "a model folder, a GGUF file, or `embedded`")
      ->check(NotEmpty)
      ->required();
  verb->add_option("--in", arguments->in,
                   "safetensors with ids [1,T], optional canvas [1,C] and self_conditioning_logits [1,C,V]; "
                   "with --generate: prompt [B,T], optional attention_mask, the recorded draws")
      ->check(named)
      ->required();
  verb->add_option("--out", arguments->out,
                   "safetensors to write: cache.l.k/v, encoder.layer.l, ar_logits, x0, layer.l, logits; "
                   "with --generate: sequences, tokens_per_forward, canvas.c.step.s.{argmax,accepted,entropy}")
      ->check(named)
      ->required();
  verb->add_option("--generate", arguments->generate,
                   "JSON options of a generation to replay (max_denoising_steps, t_min, ...)")
      ->check(named);
  AddLoraFlag(*verb, arguments->adapters);
  AddBackendFlag(*verb, arguments->backend);
  verb->add_option("-t,--threads", arguments->threads, "threads (default: all cores)")->check(IsThreadCount);
  AddCommonFlags(*verb, program);
  verb->footer(
      "Examples:\n"
      "  dgemma dump embedded --in case.safetensors --out results.safetensors\n"
      "  dgemma dump DIR --in case.safetensors --out ref.safetensors --backend ref");
  verb->callback([arguments, &program] {
    const auto tensors = Dump(*arguments);
    if (!tensors) {
      program.Fail("dump", tensors.error());
      return;
    }
    program.Note(fmt::format("{}: {} tensors", arguments->out, *tensors));
  });
}

}  // namespace dgemma
