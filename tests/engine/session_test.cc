// Sessions through the public interface and stories together: the same bytes whatever the threads, neighbours, chunks, commits and
// prefixes; limits, cancellation, bad requests, a model with NaN in it.
#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <sstream>

#include "dgemma/dgemma.h"
#include "engine/generate.h"
#include "support/golden.h"

namespace dgemma::test {
namespace {

const std::string kStarter = DGEMMA_SOURCE_DIR "/models/starter";

/// Everything a listener sees, bit for bit.
class Transcript final : public Listener {
 public:
  void OnDraft(const Draft& draft) override {
    tokens.insert(tokens.end(), draft.tokens.begin(), draft.tokens.end());
    accepted.insert(accepted.end(), draft.accepted.begin(), draft.accepted.end());
    entropy.insert(entropy.end(), draft.entropy.begin(), draft.entropy.end());
    ++drafts;
    if (drafts == stop_at) stop.request_stop();
  }
  void OnText(std::string_view piece) override { text += piece; }
  bool operator==(const Transcript& other) const {
    return tokens == other.tokens && accepted == other.accepted && text == other.text &&
           entropy.size() == other.entropy.size() &&
           std::memcmp(entropy.data(), other.entropy.data(), entropy.size() * sizeof(float)) == 0;
  }

  std::vector<int32_t> tokens;
  std::vector<uint8_t> accepted;
  std::vector<float> entropy;
  std::string text;
  int drafts = 0, stop_at = 0;
  std::stop_source stop;
};

std::unique_ptr<Engine> LoadStarter(EngineOptions options = {}) {
  if (options.threads == 0) options.threads = 2;
  auto engine = Engine::Load(kStarter, options);
  EXPECT_TRUE(engine) << engine.error().message;
  return *std::move(engine);
}

Request Ask(const Engine& engine, const std::string& text, uint64_t seed = 0) {
  Request request;
  request.chat = {{"user", text, ""}};
  request.options = engine.Defaults();
  request.options.seed = seed;
  return request;
}

/// A request that takes several canvases: no stop token, exact length.
Request AskLong(const Engine& engine, int64_t tokens) {
  Request request = Ask(engine, "reverse stone", 7);
  request.options.stop_tokens.clear();
  request.options.max_new_tokens = tokens;
  request.options.steps = 6;
  return request;
}

Transcript Answered(Engine& engine, const Request& request) {
  Transcript transcript;
  const auto answer = (*engine.NewSession())->Generate(request, &transcript);
  EXPECT_TRUE(answer) << answer.error().message;
  return transcript;
}

TEST(SessionTest, ThreadsChunksAndCommitsDoNotChangeAByte) {
  const auto reference_engine = LoadStarter();
  const Request request = AskLong(*reference_engine, 150);  // four canvases of 48
  const Transcript reference = Answered(*reference_engine, request);
  EXPECT_GT(reference.drafts, 8);
  for (int threads : {1, 2, 3}) {
    for (int64_t chunk : {1, 7, 64}) {
      for (CommitMode commit : {CommitMode::kMerged, CommitMode::kSeparate}) {
        EngineOptions options;
        options.threads = threads;
        options.prefill_chunk_tokens = chunk;
        options.commit = commit;
        EXPECT_TRUE(Answered(*LoadStarter(options), request) == reference) << threads << " threads, chunk " << chunk;
      }
    }
  }
}

TEST(SessionTest, PrefixReuseEqualsNone) {
  const auto engine = LoadStarter();
  const auto session = *engine->NewSession();
  Request first = Ask(*engine, "count 3 to 9");
  const auto opening = session->Generate(first);
  ASSERT_TRUE(opening);
  Request second = first;
  second.chat.push_back({"assistant", opening->text, ""});
  second.chat.push_back({"user", "upper cat", ""});
  Transcript continued;
  const auto answer = session->Generate(second, &continued);
  ASSERT_TRUE(answer);
  EXPECT_GE(answer->figures.cached_tokens, opening->figures.prompt_tokens);
  EXPECT_TRUE(Answered(*engine, second) == continued);

  // A prompt that differs in the middle keeps what is common only.
  Transcript other;
  const auto changed = session->Generate(Ask(*engine, "count 4 to 9"), &other);
  ASSERT_TRUE(changed);
  EXPECT_LT(changed->figures.cached_tokens, changed->figures.prompt_tokens);
  EXPECT_TRUE(Answered(*engine, Ask(*engine, "count 4 to 9")) == other);
}

TEST(SessionTest, CancellationAtEveryStepLeavesTheSessionUsable) {
  const auto engine = LoadStarter();
  const Request request = AskLong(*engine, 150);
  const Transcript reference = Answered(*engine, request);
  const auto session = *engine->NewSession();
  for (int stop_at = 1; stop_at < reference.drafts; ++stop_at) {
    Transcript cancelled;
    cancelled.stop_at = stop_at;
    Request stopped = request;
    stopped.stop = cancelled.stop.get_token();
    const auto answer = session->Generate(stopped, &cancelled);
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->finish, FinishReason::kCancelled);
    EXPECT_EQ(cancelled.drafts, stop_at);
  }
  Transcript whole;
  ASSERT_TRUE(session->Generate(request, &whole));
  EXPECT_TRUE(whole == reference);
}

TEST(SessionTest, LoadingStopsAtTheNextTensor) {
  std::stop_source stop;
  EngineOptions options;
  options.stop = stop.get_token();
  int calls = 0;
  options.progress = [&](const Progress&) {
    if (++calls == 5) stop.request_stop();
  };
  const auto engine = Engine::Load(kStarter, options);
  ASSERT_FALSE(engine);
  EXPECT_EQ(engine.error(), (Status{StatusCode::kCancelled, kStarter + ": cancelled while loading"}));
  EXPECT_EQ(calls, 5);
}

TEST(SessionTest, TheTokenLimitIsExact) {
  const auto engine = LoadStarter();
  const auto session = *engine->NewSession();
  for (int64_t limit : {1, 47, 48, 49, 96, 97}) {
    const auto answer = session->Generate(AskLong(*engine, limit));
    ASSERT_TRUE(answer);
    EXPECT_EQ(std::ssize(answer->tokens), limit);
    EXPECT_EQ(answer->figures.canvases, (limit + 47) / 48);
    EXPECT_EQ(answer->finish, FinishReason::kLength);
  }
}

TEST(SessionTest, WithoutALimitTheAnswerEndsWithTheContext) {
  EngineOptions options;
  options.context_tokens = 200;
  const auto engine = LoadStarter(options);
  const auto answer = (*engine->NewSession())->Generate(AskLong(*engine, -1));
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->finish, FinishReason::kContext);
  EXPECT_LE(answer->figures.prompt_tokens + answer->figures.canvases * 48, 200);
  EXPECT_GT(answer->figures.prompt_tokens + (answer->figures.canvases + 1) * 48, 200);
}

TEST(SessionTest, AStartCanvasOfTheAnswerConvergesToIt) {
  const auto engine = LoadStarter();
  const auto session = *engine->NewSession();
  Request request = Ask(*engine, "upper cat");
  Transcript first;
  ASSERT_TRUE(session->Generate(request, &first));
  request.start_canvas = StartCanvas(first.tokens.end() - 48, first.tokens.end());
  const auto again = session->Generate(request);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->text, first.text);
  EXPECT_LE(again->figures.denoise_passes, 3);
}

TEST(SessionTest, BadRequestsNameTheField) {
  const auto engine = LoadStarter();
  const auto session = *engine->NewSession();
  const double nan = std::nan("");
  const auto expect = [&](const char* field, auto&& change) {
    Request request = Ask(*engine, "upper cat");
    change(request);
    const auto answer = session->Generate(request);
    ASSERT_FALSE(answer) << field;
    EXPECT_TRUE(answer.error().message.starts_with(field)) << answer.error().message;
    EXPECT_EQ(answer.error().message.find('\n'), std::string::npos);
  };
  expect("steps", [](Request& r) { r.options.steps = 0; });
  expect("steps", [](Request& r) { r.options.steps = 5000; });
  expect("entropy_bound", [](Request& r) { r.options.entropy_bound = 0; });
  expect("entropy_bound", [&](Request& r) { r.options.entropy_bound = nan; });
  expect("t_min", [&](Request& r) { r.options.t_min = nan; });
  expect("t_min", [](Request& r) { r.options.t_min = 0.9; });
  expect("t_max", [](Request& r) { r.options.t_max = INFINITY; });
  expect("stability", [](Request& r) { r.options.stability = -1; });
  expect("confidence", [&](Request& r) { r.options.confidence = nan; });
  expect("skip.settled_steps", [](Request& r) { r.options.skip.settled_steps = -1; });
  expect("skip.refresh_every", [](Request& r) { r.options.skip.refresh_every = 0; });
  expect("skip.full_passes", [](Request& r) { r.options.skip.full_passes = 5000; });
  expect("temperature", [&](Request& r) { r.options.temperature = -1; });
  expect("max_new_tokens", [](Request& r) { r.options.max_new_tokens = 0; });
  expect("stop_tokens", [](Request& r) { r.options.stop_tokens = {99999}; });
  expect("start_canvas", [](Request& r) { r.start_canvas = StartCanvas{1, 2, 3}; });
  expect("start_canvas", [](Request& r) { r.start_canvas = StartCanvas(48, -1); });
  expect("request", [](Request& r) { r.chat.clear(); });
  expect("request", [](Request& r) { r.prompt_tokens = {2}; });
  expect("prompt", [](Request& r) {
    r.chat.clear();
    r.prompt_tokens = {2, 512};
  });
  expect("prompt", [](Request& r) {
    r.chat.clear();
    r.prompt_tokens = {2, -1};
  });
  expect("prompt", [](Request& r) {
    r.chat.clear();
    r.prompt_tokens = std::vector<int32_t>(4090, 300);
  });
  expect("prompt: image", [](Request& r) {
    r.chat.clear();
    r.prompt_tokens = {2, 251};
  });
}

TEST(SessionTest, AutoregressiveGreedyIsThatOfTransformers) {
  for (const auto& [model, recording] : {std::pair("alternating-f32", "golden"), {"fivetoone-bf16", "golden-f32"}}) {
    for (TestBackend backend : {TestBackend::kRefF32, TestBackend::kCpu}) {
      const std::string folder = fmt::format("{}/{}/", model, recording);
      const Golden golden(folder + "autoregressive.safetensors");
      const TestModel loaded = TestModel::Load({model, recording, backend});
      const Config& config = loaded.config();
      const std::vector<int32_t> prompt = golden.Ids("prompt");
      KvCache cache = *KvCache::Create(config, 256, 9, *loaded.kernels);
      const auto runner = *PassRunner::Create(*loaded.model, 9 + config.canvas, 1);
      const SeededNoise noise(0, config.vocab);
      GenerationObserver observer;
      GenerationPlan plan;
      plan.model = loaded.model.get();
      plan.cache = &cache;
      plan.prompt = prompt;
      plan.noise = &noise;
      plan.observer = &observer;
      plan.options.max_new_tokens = 24;
      plan.chunk_rows = 9;
      GenerationResult result;
      Story story = GenerateAutoregressively(plan, result);
      Drive(*runner, std::span(&story, 1), {});
      ASSERT_TRUE(story.outcome());
      EXPECT_EQ(result.tokens, golden.Ids("tokens")) << folder << Name(backend);
    }
  }
}

/// Collects the steps of one story, bit for bit.
class StepLog final : public GenerationObserver {
 public:
  void OnStep(const Canvas& canvas) override {
    tokens.insert(tokens.end(), canvas.argmax().begin(), canvas.argmax().end());
    for (float h : canvas.entropy()) entropy.push_back(std::bit_cast<uint32_t>(h));
  }
  bool operator==(const StepLog& other) const { return tokens == other.tokens && entropy == other.entropy; }
  std::vector<int32_t> tokens;
  std::vector<uint32_t> entropy;
};

TEST(SessionTest, NeighboursInTheSamePassesDoNotChangeAByte) {
  const TestModel loaded = TestModel::Load(kStarter, TestBackend::kCpu);
  const Config& config = loaded.config();
  const std::vector<std::vector<int32_t>> prompts = {
      {2, 105, 300, 301, 302, 106}, std::vector<int32_t>(100, 333), {2, 270}, {2, 400, 401, 402}};
  // Each prompt alone, then pairs, then all four; a mixed batch holds an autoregressive story too.
  const auto run = [&](std::vector<size_t> members) {
    const auto runner = *PassRunner::Create(*loaded.model, 4 * (32 + config.canvas), 4);
    std::vector<KvCache> caches;
    std::vector<Buffer> soft;
    std::vector<std::unique_ptr<SeededNoise>> noises;
    std::vector<StepLog> logs(members.size());
    std::vector<GenerationResult> results(members.size());
    std::vector<Story> stories;
    for (size_t i = 0; i < members.size(); ++i) {
      caches.push_back(*KvCache::Create(config, 512, 64, *loaded.kernels));
      soft.push_back(*loaded.kernels->Allocate(SoftBytes(config)));
      noises.push_back(std::make_unique<SeededNoise>(members[i], config.vocab));
    }
    for (size_t i = 0; i < members.size(); ++i) {
      GenerationPlan plan;
      plan.model = loaded.model.get();
      plan.cache = &caches[i];
      plan.prompt = prompts[members[i]];
      plan.noise = noises[i].get();
      plan.observer = &logs[i];
      plan.options.max_new_tokens = 90;
      plan.options.steps = 5;
      plan.chunk_rows = 32;
      plan.soft_memory = {soft[i].Floats(), config.canvas, config.width, config.width};
      stories.push_back(members[i] == 2 ? GenerateAutoregressively(plan, results[i])
                                        : GenerateByDiffusion(plan, results[i]));
    }
    Drive(*runner, stories, {});
    for (const Story& story : stories) EXPECT_TRUE(story.outcome());
    std::vector<std::pair<StepLog, std::vector<int32_t>>> out;
    for (size_t i = 0; i < members.size(); ++i) out.emplace_back(logs[i], results[i].tokens);
    return out;
  };
  const auto together = run({0, 1, 2, 3});
  for (size_t member = 0; member < 4; ++member) {
    const auto alone = run({member});
    EXPECT_TRUE(alone[0].first == together[member].first) << member;
    EXPECT_EQ(alone[0].second, together[member].second) << member;
    EXPECT_EQ(alone[0].second.size(), 90u);
  }
  const auto pair = run({3, 1});
  EXPECT_TRUE(pair[0].first == together[3].first);
  EXPECT_TRUE(pair[1].first == together[1].first);
}

TEST(SessionTest, EveryChunkSizeUpToTheWindowFillsTheSameCache) {
  for (const char* folder : {"alternating-f32", "fivetoone-bf16"}) {
    const TestModel loaded = TestModel::Load(GoldenRoot() + "/" + folder, TestBackend::kCpu);
    const Config& config = loaded.config();
    std::vector<int32_t> prompt;
    for (int64_t i = 0; i < 2 * config.window + 4; ++i)
      prompt.push_back(static_cast<int32_t>((i * 37 + 11) % config.vocab));
    std::vector<float> reference;
    for (int64_t chunk = std::ssize(prompt); chunk >= 1; --chunk) {
      if (chunk > config.window + 1 && chunk != std::ssize(prompt)) continue;
      KvCache cache = *KvCache::Create(config, 256, chunk, *loaded.kernels);
      Activations activations = *Activations::Create(config, std::max(chunk, config.canvas), 1, *loaded.kernels);
      for (int64_t begin = 0; begin < std::ssize(prompt); begin += chunk) {
        const auto part = std::span(prompt).subspan(static_cast<size_t>(begin),
                                                    static_cast<size_t>(std::min(chunk, std::ssize(prompt) - begin)));
        ASSERT_TRUE(Forward(*loaded.model, activations,
                            {{{SegmentKind::kPrompt, &cache, part, begin, {}, HiddenRows::kNone}}, {}}));
      }
      const std::vector<int32_t> canvas(static_cast<size_t>(config.canvas), 5);
      const auto hidden = Forward(*loaded.model, activations,
                                  {{{SegmentKind::kCanvas, &cache, canvas, cache.end(), {}, HiddenRows::kAll}}, {}});
      ASSERT_TRUE(hidden);
      const std::vector<float> values = ToVector(*loaded.kernels, *hidden);
      if (reference.empty()) reference = values;
      EXPECT_EQ(std::memcmp(values.data(), reference.data(), values.size() * sizeof(float)), 0)
          << folder << " chunk " << chunk;
    }
  }
}

TEST(SessionTest, NaNInAWeightIsATypedErrorNotACrash) {
  std::vector<std::pair<std::string, std::string>> texts;
  for (const char* name : {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"}) {
    std::ifstream file(kStarter + "/" + name, std::ios::binary);
    std::stringstream content;
    content << file.rdbuf();
    texts.emplace_back(name, content.str());
  }
  std::string& model = texts[2].second;
  const CheckpointFiles whole = *OpenCheckpoint(kStarter);
  const TensorBytes tensor = *whole.Tensor("model.decoder.layers.3.mlp.up_proj.weight");
  const auto at = model.find(AsText(tensor.bytes.first(64)));  // the same bytes in our copy
  ASSERT_NE(at, std::string::npos);
  model[at] = '\xff';
  model[at + 1] = '\x7f';  // bfloat16 NaN
  std::vector<MemoryFile> files;
  for (const auto& [name, text] : texts) files.push_back({name, std::as_bytes(std::span(text))});
  const auto engine = Engine::FromMemory("broken", files, {});
  ASSERT_TRUE(engine) << engine.error().message;
  const auto answer = (*(*engine)->NewSession())->Generate(Ask(**engine, "upper cat"));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, StatusCode::kNonFinite);
}

}  // namespace
}  // namespace dgemma::test
