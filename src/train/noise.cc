// The keyed draws, and the walk over an example's canvases.
#include "train/noise.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/philox.h"

namespace dgemma {
namespace {

DrawKey Key(uint64_t seed, DrawPlace place, int64_t row, Draw purpose) {
  return {seed, static_cast<uint32_t>(place.example), static_cast<uint32_t>(place.step), static_cast<uint32_t>(row),
          purpose};
}

int64_t RowInExample(CanvasRow row) { return row.canvas * row.canvas_rows + row.row; }

/// Where a canvas of the example stands.
struct CanvasPlace {
  AnswerSpan answer;
  int64_t pos = 0;
};

std::vector<CanvasPlace> CanvasPlaces(const Example& example, int64_t canvas_rows) {
  std::vector<CanvasPlace> places;
  for (const AnswerSpan& answer : example.answers) {
    for (int64_t pos = answer.begin; pos < answer.end; pos += canvas_rows) places.push_back({answer, pos});
  }
  return places;
}

/// clean[i + 1] where it is wanted, else -1.
std::vector<int32_t> NextTokens(std::span<const int32_t> clean, std::span<const AnswerSpan> answers,
                                NextTokenTargets wanted) {
  std::vector<int32_t> next(clean.size(), -1);
  std::copy(clean.begin() + 1, clean.end(), next.begin());
  if (wanted == NextTokenTargets::kText) return next;
  size_t done = 0;  // rows before this one are settled
  for (const AnswerSpan& answer : answers) {
    // Row begin - 1 predicts the answer's first token; an answer at the very start has none that predicts it.
    const auto begin = static_cast<size_t>(std::max<int64_t>(answer.begin - 1, 0));
    std::fill(next.begin() + static_cast<std::ptrdiff_t>(done), next.begin() + static_cast<std::ptrdiff_t>(begin), -1);
    done = static_cast<size_t>(answer.end) - 1;
  }
  return next;  // behind the last answer is only its fill
}

/// Drops the clean rows at the end that nothing reads; one always stays, since no answer starts a sequence.
void DropUnreadRows(TrainExample& example) {
  size_t rows = example.clean.size();
  const auto seen = static_cast<size_t>(example.canvases.back().pos);
  while (rows > std::max<size_t>(seen, 1) && example.next_token[rows - 1] == -1) --rows;
  example.clean.resize(rows);
  example.next_token.resize(rows);
}

}  // namespace

Result<void> CheckNoiseOptions(const NoiseOptions& options) {
  // Written so that NaN is refused.
  if (!(options.t_min >= 0 && options.t_min <= options.t_max && options.t_max <= 1)) {
    return Fail(StatusCode::kInvalidArgument,
                fmt::format("t_min, t_max: {} and {} are not 0 <= t_min <= t_max <= 1", options.t_min, options.t_max));
  }
  if (!(options.self_condition >= 0 && options.self_condition <= 1)) {
    return Fail(StatusCode::kInvalidArgument,
                fmt::format("self_condition: {} is not a probability", options.self_condition));
  }
  if (options.vocab < 1 || options.vocab > INT32_MAX) {
    return Fail(StatusCode::kInvalidArgument, fmt::format("vocab: {} is not 1 to {}", options.vocab, INT32_MAX));
  }
  return {};
}

double SeededTrainNoise::Level(DrawPlace place) const {
  return options_.t_min + (options_.t_max - options_.t_min) * UniformDouble(Key(seed_, place, 0, Draw::kNoiseLevel));
}

int64_t SeededTrainNoise::Canvas(DrawPlace place, int64_t canvases) const {
  return UniformInt(Key(seed_, place, 0, Draw::kCanvasChoice), static_cast<uint32_t>(canvases));
}

bool SeededTrainNoise::SelfCondition(DrawPlace place) const {
  return UniformDouble(Key(seed_, place, 0, Draw::kSelfCondition)) < options_.self_condition;
}

int32_t SeededTrainNoise::Corrupt(DrawPlace place, CanvasRow row, int32_t clean, double level) const {
  const int64_t in_example = RowInExample(row);
  if (UniformDouble(Key(seed_, place, in_example, Draw::kCorrupt)) >= level) return clean;
  const DrawKey key = Key(seed_, place, in_example, Draw::kCorruption);
  return static_cast<int32_t>(UniformInt(key, static_cast<uint32_t>(options_.vocab)));
}

int32_t RecordedTrainNoise::Corrupt(DrawPlace place, CanvasRow row, int32_t, double) const {
  const int64_t index = canvases_ == CanvasesTrained::kOne ? row.row : RowInExample(row);
  return At(place).noisy[static_cast<size_t>(index)];
}

TrainExample MakeTrainExample(const Example& example, const ExampleOptions& shape, const TargetOptions& targets,
                              const TrainNoise& noise, DrawPlace place) {
  const int64_t rows = shape.canvas;
  TrainExample made;
  made.answers = example.answers;
  made.task = example.task;
  made.noise_level = noise.Level(place);
  made.self_condition = noise.SelfCondition(place);
  const std::vector<CanvasPlace> places = CanvasPlaces(example, rows);
  made.clean = example.tokens;
  made.clean.resize(static_cast<size_t>(places.back().pos + rows), shape.end_of_text);
  made.next_token = NextTokens(made.clean, made.answers, targets.next_token);
  if (targets.fill != FillTargets::kBoth)
    std::fill(made.next_token.begin() + std::ssize(example.tokens) - 1, made.next_token.end(), -1);

  const auto count = std::ssize(places);
  const bool one = targets.canvases == CanvasesTrained::kOne;
  const int64_t first = one ? noise.Canvas(place, count) : 0;
  for (int64_t number = first; number < (one ? first + 1 : count); ++number) {
    const CanvasPlace& at = places[static_cast<size_t>(number)];
    TrainCanvas canvas{.pos = at.pos, .noisy = {}, .target = {}};
    for (int64_t row = 0; row < rows; ++row) {
      const bool is_fill = at.pos + row >= at.answer.end;
      const int32_t clean = is_fill ? shape.end_of_text : example.tokens[static_cast<size_t>(at.pos + row)];
      canvas.noisy.push_back(noise.Corrupt(place, {number, row, rows}, clean, made.noise_level));
      canvas.target.push_back(is_fill && targets.fill == FillTargets::kNone ? -1 : clean);
    }
    made.canvases.push_back(std::move(canvas));
  }
  DropUnreadRows(made);
  return made;
}

}  // namespace dgemma
