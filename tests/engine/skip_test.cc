// Leaving out settled rows: canvases end with passes that computed every row and meet the stop rule; the same bytes
// whatever the threads, chunks, commits and neighbours; with every row computed the bytes of exact answers.
#include <algorithm>
#include <cstring>
#include <numeric>

#include "dgemma/dgemma.h"
#include "engine/generate.h"
#include "support/golden.h"

namespace dgemma::test {
namespace {

const std::string kStarter = DGEMMA_SOURCE_DIR "/models/starter";
const std::vector<std::string> kPrompts = {"sort 7 3 9 1 5", "add 48 67", "reverse stone",
                                           "json name=ada age=36 city=rome"};

std::unique_ptr<Engine> LoadStarter(EngineOptions options = {}) {
  if (options.threads == 0) options.threads = 2;
  auto engine = Engine::Load(kStarter, options);
  EXPECT_TRUE(engine) << engine.error().message;
  return *std::move(engine);
}

Request Ask(const Engine& engine, const std::string& text, SkipOptions skip, uint64_t seed = 3) {
  Request request;
  request.chat = {{"user", text, ""}};
  request.options = engine.Defaults();
  request.options.seed = seed;
  request.options.skip = skip;
  return request;
}

/// A draft as it was shown.
struct Shown {
  int32_t canvas = 0, step = 0, steps = 0;
  int64_t computed_rows = 0;
  std::vector<int32_t> tokens;
  std::vector<float> entropy;

  bool full() const { return computed_rows == std::ssize(tokens); }
  double mean_entropy() const {
    return std::accumulate(entropy.begin(), entropy.end(), 0.0) / static_cast<double>(entropy.size());
  }
};

class Drafts final : public Listener {
 public:
  void OnDraft(const Draft& draft) override {
    shown.push_back({draft.canvas,
                     draft.step,
                     draft.steps,
                     draft.computed_rows,
                     {draft.tokens.begin(), draft.tokens.end()},
                     {draft.entropy.begin(), draft.entropy.end()}});
  }
  bool operator==(const Drafts& other) const {
    return std::equal(shown.begin(), shown.end(), other.shown.begin(), other.shown.end(),
                      [](const Shown& a, const Shown& b) {
                        return a.tokens == b.tokens && a.computed_rows == b.computed_rows &&
                               std::memcmp(a.entropy.data(), b.entropy.data(), a.entropy.size() * sizeof(float)) == 0;
                      });
  }
  int64_t ComputedRows() const {
    return std::accumulate(shown.begin(), shown.end(), int64_t{0},
                           [](int64_t sum, const Shown& draft) { return sum + draft.computed_rows; });
  }
  int64_t FullRows() const {
    return std::accumulate(shown.begin(), shown.end(), int64_t{0},
                           [](int64_t sum, const Shown& draft) { return sum + std::ssize(draft.tokens); });
  }
  std::vector<Shown> shown;
};

Drafts Answered(Engine& engine, const Request& request) {
  Drafts drafts;
  const auto answer = (*engine.NewSession())->Generate(request, &drafts);
  EXPECT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->figures.denoise_rows, drafts.ComputedRows());
  EXPECT_EQ(answer->figures.full_rows, drafts.FullRows());
  return drafts;
}

/// The stop rule, from its definition, on the drafts of one canvas up to `last`; and that the last passes were full.
void ExpectMetByFullPasses(const std::vector<Shown>& shown, size_t last, const GenerateOptions& options) {
  EXPECT_TRUE(shown[last].full()) << "draft " << last;
  if (shown[last].step == options.steps) return;
  EXPECT_LT(shown[last].mean_entropy(), options.confidence);
  for (size_t back = 1; back <= static_cast<size_t>(options.stability); ++back) {
    EXPECT_EQ(shown[last - back].tokens, shown[last].tokens);
  }
  for (size_t back = 1; back < static_cast<size_t>(options.skip.full_passes); ++back) {
    EXPECT_TRUE(shown[last - back].full());
  }
}

TEST(SkipTest, CanvasesEndWithFullPassesThatMeetTheStopRule) {
  const auto engine = LoadStarter();
  int64_t computed = 0, full = 0, at_the_limit = 0;
  for (const SkipOptions skip : {SkipOptions{1, 4096, 1}, SkipOptions{2, 8, 1}, SkipOptions{2, 8, 2}}) {
    for (const int32_t steps : {4, 48}) {
      for (const std::string& prompt : kPrompts) {
        Request request = Ask(*engine, prompt, skip);
        request.options.steps = steps;
        request.options.stop_tokens.clear();
        request.options.max_new_tokens = 90;  // two canvases
        const Drafts drafts = Answered(*engine, request);
        computed += drafts.ComputedRows();
        full += drafts.FullRows();
        for (size_t i = 0; i < drafts.shown.size(); ++i) {
          if (drafts.shown[i].step == 1) {
            EXPECT_TRUE(drafts.shown[i].full());
          }
          if (i + 1 < drafts.shown.size() && drafts.shown[i + 1].canvas == drafts.shown[i].canvas) continue;
          at_the_limit += drafts.shown[i].step == steps;
          ExpectMetByFullPasses(drafts.shown, i, request.options);
        }
      }
    }
  }
  EXPECT_LT(computed, full) << "no row was left out: the test shows nothing";
  EXPECT_GT(at_the_limit, 0);
}

TEST(SkipTest, WithEveryRowComputedTheBytesAreThoseOfExactAnswers) {
  const auto engine = LoadStarter();
  for (const std::string& prompt : kPrompts) {
    const Drafts exact = Answered(*engine, Ask(*engine, prompt, {}));
    EXPECT_EQ(exact.ComputedRows(), exact.FullRows());
    EXPECT_TRUE(exact == Answered(*engine, Ask(*engine, prompt, {2, 1, 1}))) << prompt;
  }
}

TEST(SkipTest, ThreadsChunksCommitsAndEarlierAnswersDoNotChangeAByte) {
  const auto reference_engine = LoadStarter();
  Request request = Ask(*reference_engine, kPrompts[0], {2, 8, 1});
  request.options.stop_tokens.clear();
  request.options.max_new_tokens = 90;
  const Drafts reference = Answered(*reference_engine, request);
  EXPECT_LT(reference.ComputedRows(), reference.FullRows());
  for (const int threads : {1, 3}) {
    for (const CommitMode commit : {CommitMode::kMerged, CommitMode::kSeparate}) {
      EngineOptions options;
      options.threads = threads;
      options.prefill_chunk_tokens = threads == 1 ? 7 : 64;
      options.commit = commit;
      EXPECT_TRUE(Answered(*LoadStarter(options), request) == reference) << threads << " threads";
    }
  }
  const auto session = *reference_engine->NewSession();
  ASSERT_TRUE(session->Generate(Ask(*reference_engine, kPrompts[3], {1, 16, 1})));
  Drafts again;
  ASSERT_TRUE(session->Generate(request, &again));
  EXPECT_TRUE(again == reference) << "what an earlier answer left in the store was seen";
}

/// Collects the steps of one story.
class StepLog final : public GenerationObserver {
 public:
  void OnStep(const Canvas& canvas) override {
    tokens.insert(tokens.end(), canvas.argmax().begin(), canvas.argmax().end());
    rows.push_back(canvas.last_pass_rows());
  }
  bool operator==(const StepLog& other) const { return tokens == other.tokens && rows == other.rows; }
  std::vector<int32_t> tokens;
  std::vector<int64_t> rows;
};

TEST(SkipTest, NeighboursInTheSamePassesDoNotChangeAByte) {
  const auto engine = LoadStarter();
  const TestModel loaded = TestModel::Load(kStarter, TestBackend::kCpu);
  const Config& config = loaded.config();
  std::vector<std::vector<int32_t>> prompts;
  for (const std::string& prompt : kPrompts) prompts.push_back(*engine->PromptTokens(Ask(*engine, prompt, {})));
  const auto run = [&](const std::vector<size_t>& members) {
    const auto runner = *PassRunner::Create(*loaded.model, 4 * (64 + config.canvas), 4);
    std::vector<KvCache> caches;
    std::vector<CanvasStore> stores;
    std::vector<Buffer> soft;
    std::vector<SeededNoise> noises;
    for (size_t member : members) {
      caches.push_back(*KvCache::Create(config, 512, 64, *loaded.kernels));
      stores.push_back(*CanvasStore::Create(config, *loaded.kernels));
      soft.push_back(*loaded.kernels->Allocate(SoftBytes(config)));
      noises.emplace_back(member, config.vocab);
    }
    std::vector<StepLog> logs(members.size());
    std::vector<GenerationResult> results(members.size());
    std::vector<Story> stories;
    for (size_t i = 0; i < members.size(); ++i) {
      GenerationPlan plan;
      plan.model = loaded.model.get();
      plan.cache = &caches[i];
      plan.prompt = prompts[members[i]];
      plan.noise = &noises[i];
      plan.observer = &logs[i];
      plan.options = engine->Defaults();
      plan.options.max_new_tokens = 90;
      plan.options.stop_tokens.clear();
      if (members[i] != 1) {  // one of them exact
        plan.options.skip = {2, 8, 1};
        plan.store = &stores[i];
      }
      plan.chunk_rows = 64;
      plan.soft_memory = {soft[i].Floats(), config.canvas, config.width, config.width};
      stories.push_back(GenerateByDiffusion(plan, results[i]));
    }
    Drive(*runner, stories, {});
    for (const Story& story : stories) EXPECT_TRUE(story.outcome());
    return logs;
  };
  const std::vector<StepLog> together = run({0, 1, 2, 3});
  for (size_t member = 0; member < 4; ++member) EXPECT_TRUE(run({member})[0] == together[member]) << member;
  EXPECT_LT(*std::min_element(together[0].rows.begin(), together[0].rows.end()), config.canvas);
}

TEST(SkipTest, RowsLeftOutAreSeenAsTheyWereComputed) {
  for (const char* folder : {"alternating-f32", "fivetoone-bf16"}) {
    for (const TestBackend backend : {TestBackend::kRefF32, TestBackend::kCpu}) {
      const TestModel loaded = TestModel::Load(GoldenRoot() + "/" + folder, backend);
      const Config& config = loaded.config();
      KvCache cache = *KvCache::Create(config, 256, 64, *loaded.kernels);
      CanvasStore store = *CanvasStore::Create(config, *loaded.kernels);
      Activations activations = *Activations::Create(config, 64 + config.canvas, 1, *loaded.kernels);
      const std::vector<int32_t> prompt = {2, 9, 14, 7, 30};
      std::vector<int32_t> canvas;
      for (int32_t row = 0; row < config.canvas; ++row)
        canvas.push_back(static_cast<int32_t>((row * 7 + 3) % config.vocab));
      const auto run = [&](const Segment& segment) {
        const auto hidden = Forward(*loaded.model, activations, {{segment}, {}});
        EXPECT_TRUE(hidden) << hidden.error().message;
        return ToVector(*loaded.kernels, *hidden);
      };
      run({SegmentKind::kPrompt, &cache, prompt, 0, {}, HiddenRows::kNone});
      Buffer soft_memory = *loaded.kernels->Allocate(SoftBytes(config));
      for (int64_t i = 0; i < config.canvas * config.width; ++i)
        soft_memory.Floats()[i] = static_cast<float>((i * 31) % 17) - 8.0f;
      Segment full{SegmentKind::kCanvas,
                   &cache,
                   canvas,
                   cache.end(),
                   {soft_memory.Floats(), config.canvas, config.width, config.width},
                   HiddenRows::kAll};
      const std::vector<float> scratch = run(full);
      full.store = &store;
      const std::vector<float> expected = run(full);
      EXPECT_EQ(scratch, expected) << "where keys and values are kept must not matter";

      // The same inputs again for some rows only: what they see did not change, so neither do they, by a bit.
      std::vector<int32_t> places, tokens;
      std::vector<float> wanted;
      for (int32_t row = 0; row < config.canvas; ++row) {
        if (row % 5 > 1 && row != config.canvas - 1) continue;
        places.push_back(row);
        tokens.push_back(canvas[static_cast<size_t>(row)]);
        wanted.insert(wanted.end(), expected.begin() + row * config.width, expected.begin() + (row + 1) * config.width);
      }
      Segment some = full;
      some.tokens = tokens;
      some.places = places;
      EXPECT_EQ(run(some), wanted) << folder << Name(backend);

      some.store = nullptr;
      EXPECT_FALSE(Forward(*loaded.model, activations, {{some}, {}})) << "rows cannot be left out without a store";
      some.store = &store;
      std::swap(places[0], places[1]);
      EXPECT_FALSE(Forward(*loaded.model, activations, {{some}, {}})) << "places ascend";
    }
  }
}

}  // namespace
}  // namespace dgemma::test
