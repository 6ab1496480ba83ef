// NaN and infinity in every output of every operation, in passes of every kind, for one of three answers that share the
// passes: it ends with kNonFinite in the same pass, its neighbours keep their bytes, its slot keeps nothing of it.
// Outputs that nobody reads change nothing, and are listed.
#include <cmath>

#include "engine/backend.h"
#include "engine/scheduler.h"
#include "support/golden.h"
#include "support/poisoned_kernels.h"
#include "text/starter_tokenizer.h"

namespace dgemma::test {
namespace {

constexpr int32_t kMark = 77;  // the first token of the watched prompt
constexpr int64_t kSlots = 3, kChunk = 8, kContext = 64;

/// Everything a request's listener sees, bit for bit.
class Transcript final : public RequestListener {
 public:
  void OnDraft(const Draft& draft) override {
    tokens.insert(tokens.end(), draft.tokens.begin(), draft.tokens.end());
    for (float value : draft.entropy) bits.push_back(std::bit_cast<uint32_t>(value));
    for (uint8_t value : draft.accepted) bits.push_back(value);
    bits.push_back(std::bit_cast<uint64_t>(draft.mean_entropy));
    bits.push_back(static_cast<uint64_t>(draft.computed_rows));
  }
  void OnText(std::string_view piece) override { text += piece; }
  void OnEnd(Result<Answer> result) override {
    EXPECT_FALSE(answer) << "ended twice";
    answer = std::move(result);
    if (on_end) on_end();
  }
  bool ended() const { return answer.has_value(); }
  bool SameAs(const Transcript& other) const {
    return *answer && *other.answer && tokens == other.tokens && bits == other.bits && text == other.text &&
           (*answer)->tokens == (*other.answer)->tokens && (*answer)->finish == (*other.answer)->finish &&
           (*answer)->figures.denoise_passes == (*other.answer)->figures.denoise_passes;
  }

  std::vector<int32_t> tokens;
  std::vector<uint64_t> bits;
  std::string text;
  std::optional<Result<Answer>> answer;
  std::function<void()> on_end;
};

Request Diffusion(int32_t first, int32_t tokens) {
  Request request;
  for (int32_t i = 0; i < tokens; ++i) request.prompt_tokens.push_back(i == 0 ? first : 3 + (first * 7 + i * 11) % 140);
  request.options.max_new_tokens = 12;  // two canvases
  request.options.steps = 3;
  request.options.confidence = 0;  // no early stop
  request.options.seed = static_cast<uint64_t>(first);
  return request;
}

Request Autoregressive(int32_t first, int32_t tokens) {
  Request request = Diffusion(first, tokens);
  request.options.mode = DecodeMode::kAutoregressive;
  request.options.max_new_tokens = 4;
  return request;
}

/// Nearly cold, and few rows accepted: these settle at once, and the next passes leave them out.
Request Skipping(int32_t first, int32_t tokens) {
  Request request = Diffusion(first, tokens);
  request.options.t_min = request.options.t_max = 0.02;
  request.options.entropy_bound = 1e-6;
  request.options.skip.settled_steps = 1;
  request.options.steps = 4;
  return request;
}

enum class Format : uint8_t { kAsStored, kInt8 };

struct Computing {
  Backend backend;
  Format format;
};

class PoisonTest : public testing::Test {
 protected:
  void Load(Computing computing) {
    const CheckpointFiles files = *OpenCheckpoint(GoldenRoot() + "/alternating-f32");
    const Config config = *ReadConfig(files);
    EngineOptions options;
    options.backend = computing.backend;
    options.threads = 1;
    auto kernels = std::make_unique<PoisonedKernels>(MakeKernels(options, config));
    kernels_ = kernels.get();
    const FormatChoice choice = computing.format == Format::kAsStored ? FormatChoice(ComputeFormat) : Int8;
    loaded_ = *LoadModel(files, config, std::move(kernels), {}, choice);
    runner_ = *PassRunner::Create(*loaded_.model, kSlots * (kChunk + 2 * config.canvas), kSlots);
    passes_.emplace(*runner_, *kernels_, kMark);
    parts_.answers.model = loaded_.model.get();
    parts_.answers.tokenizer = &StarterTokenizer();
    parts_.answers.chunk_rows = kChunk;
    parts_.executor = &*passes_;
    parts_.slots = kSlots;
    parts_.context_tokens = kContext;
  }

  static WeightFormat Int8(const TensorSpec& spec, const StoredTensor& stored) {
    const WeightFormat natural = ComputeFormat(spec, stored);
    return stored.cols % 16 == 0 ? WeightFormat{WeightKind::kInt8, 16, false} : natural;
  }

  struct Seen {
    Transcript watched, first_neighbour, second_neighbour, next;
    int64_t passes = 0;          // that the watched request had when it ended
    bool memory_finite = false;  // of all slots, at that moment
  };

  /// The watched request among two neighbours; a fourth one with the same prompt waits for its slot.
  std::unique_ptr<Seen> Run(const Request& request, int64_t pass, std::optional<Poison> poison) {
    auto seen = std::make_unique<Seen>();
    kernels_->WatchMemory();
    const auto scheduler = *Scheduler::Create(parts_, {});
    passes_->Watch(pass, poison);
    seen->watched.on_end = [&, watched = seen.get()] {
      watched->passes = passes_->passes();
      watched->memory_finite = kernels_->MemoryIsFinite();
    };
    const auto submit = [&](Request asked, const char* salt, Transcript& transcript) {
      RequestSpec spec;
      spec.request = std::move(asked);
      spec.salt = salt;
      spec.listener = {std::shared_ptr<void>(), &transcript};
      EXPECT_TRUE(scheduler->Submit(std::move(spec)));
    };
    submit(Diffusion(20, 13), "one", seen->first_neighbour);
    submit(request, "watched", seen->watched);
    submit(Autoregressive(30, 9), "other", seen->second_neighbour);
    submit(request, "watched", seen->next);
    while (scheduler->Step()) {
    }
    return seen;
  }

  /// Poisons every place of every kind of pass, and says how often an output of each name was not missed.
  std::map<std::string, int> Unread(const Request& request) {
    const auto clean = Run(request, -1, std::nullopt);
    EXPECT_TRUE(*clean->watched.answer && clean->next.SameAs(clean->watched)) << "reading its prefix again";
    const std::vector<std::vector<std::string>> places(passes_->places().begin(),
                                                       passes_->places().begin() + clean->passes);
    std::map<std::string, int> unread;
    for (size_t pass = 0; pass < places.size(); ++pass) {
      if (std::find(places.begin(), places.begin() + static_cast<int64_t>(pass), places[pass]) !=
          places.begin() + static_cast<int64_t>(pass)) {
        continue;  // a pass like one before
      }
      for (size_t place = 0; place < places[pass].size(); ++place) {
        const std::string name = fmt::format("pass {} place {}: {}", pass, place, places[pass][place]);
        int calm = 0;
        for (const float value : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
          for (const PoisonShape shape : {PoisonShape::kAllValues, PoisonShape::kOneValue}) {
            const auto seen = Run(request, static_cast<int64_t>(pass), Poison{value, shape, place});
            const std::string what =
                fmt::format("{} {} {}", name, value, shape == PoisonShape::kOneValue ? "once" : "all over");
            EXPECT_TRUE(seen->first_neighbour.SameAs(clean->first_neighbour)) << what;
            EXPECT_TRUE(seen->second_neighbour.SameAs(clean->second_neighbour)) << what;
            EXPECT_TRUE(seen->next.SameAs(clean->watched)) << what;
            EXPECT_TRUE(seen->memory_finite) << what;
            if (*seen->watched.answer) {
              EXPECT_TRUE(seen->watched.SameAs(clean->watched)) << what << " changed the answer";
              ++calm;
            } else {
              EXPECT_EQ(seen->watched.answer->error().code, StatusCode::kNonFinite) << what;
              EXPECT_EQ(seen->passes, static_cast<int64_t>(pass) + 1) << what << " was noticed later";
            }
          }
        }
        EXPECT_TRUE(calm == 0 || calm == 4) << name << " was noticed " << 4 - calm << " times of 4";
        if (calm > 0) ++unread[places[pass][place]];
      }
    }
    return unread;
  }

  PoisonedKernels* kernels_ = nullptr;
  LoadedModel loaded_;
  std::unique_ptr<PassRunner> runner_;
  std::optional<PoisonedPasses> passes_;
  SchedulerParts parts_;
};

using Counts = std::map<std::string, int>;

/// What nobody reads: the largest logit of a row; and in the last layer, of rows whose hidden state is not wanted,
/// everything behind K and V. `whole`: passes with such rows that run the last layer to its end, for the sake of others.
Counts BehindKeysAndValues(const std::string& kind, int whole) {
  Counts unread{{"RmsNorm.out of " + kind, 2 * whole}};
  for (const char* output : {"ProjectQkv.q", "Attend.out", "Linear.out", "NormAdd.residual", "GatedMlp.out",
                             "Route.weight", "Experts.out", "JoinBranches.h"}) {
    unread[std::string(output) + " of " + kind] = whole;
  }
  return unread;
}

TEST_F(PoisonTest, DiffusionWithMergedCommits) {
  Counts unread = BehindKeysAndValues("prompt", 2);  // beside a neighbour's canvas, and before the first canvas
  unread.merge(BehindKeysAndValues("commit", 1));
  unread["ProjectQkv.q of prompt"] += 1;  // the first pass, which nobody wants hidden states of, ends behind K and V
  unread["Denoise.max of canvas"] = 3;    // after a prompt, a later step, after a commit
  for (const Format format : {Format::kAsStored, Format::kInt8}) {
    Load({Backend::kCpu, format});
    EXPECT_EQ(Unread(Diffusion(kMark, 19)), unread);
  }
}

TEST_F(PoisonTest, DiffusionWithSeparateCommits) {
  Counts unread = BehindKeysAndValues("prompt", 1);
  unread.merge(BehindKeysAndValues("commit", 1));
  unread["ProjectQkv.q of prompt"] += 1;
  unread["Denoise.max of canvas"] = 2;
  Load({Backend::kCpu, Format::kAsStored});
  parts_.answers.commit = CommitMode::kSeparate;
  EXPECT_EQ(Unread(Diffusion(kMark, 19)), unread);
}

TEST_F(PoisonTest, SettledRows) {
  Counts unread = BehindKeysAndValues("prompt", 2);
  unread.merge(BehindKeysAndValues("commit", 1));
  unread["ProjectQkv.q of prompt"] += 1;
  unread["Denoise.max of canvas"] = 3;
  unread["Denoise.max of settled canvas"] = 1;
  Load({Backend::kCpu, Format::kAsStored});
  EXPECT_EQ(Unread(Skipping(kMark, 19)), unread);
}

TEST_F(PoisonTest, OneTokenAtATime) {
  Counts unread = BehindKeysAndValues("prompt", 1);  // but not of the last prompt token
  unread["ProjectQkv.q of prompt"] += 1;
  for (const Backend backend : {Backend::kCpu, Backend::kReference}) {
    Load({backend, Format::kAsStored});
    EXPECT_EQ(Unread(Autoregressive(kMark, 19)), unread);
  }
}

}  // namespace
}  // namespace dgemma::test
