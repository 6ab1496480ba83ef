// Any bytes as lines of training data, JSONL and CSV: no crash, faults are one printable line, and examples keep their
// promises: answers lie in order inside the tokens, end with what closes a turn, and fit the limit with their canvases
// filled.
#include <algorithm>
#include <cstdint>

#include "expect.h"
#include "files/bytes.h"
#include "small_tokenizer.h"
#include "train/csv_puzzles.h"
#include "train/jsonl.h"
#include "train/noise.h"

using dgemma::Expect;

namespace {

constexpr dgemma::ExampleOptions kOptions{.canvas = 8, .max_tokens = 512};

void CheckFault(const dgemma::Fault& fault) {
  Expect(!fault.message.empty() &&
             std::ranges::all_of(fault.message, [](char byte) { return byte >= 0x20 && byte < 0x7f; }),
         "one printable line");
}

void CheckExample(const dgemma::Example& example) {
  const dgemma::Tokenizer& tokenizer = dgemma::SmallTokenizer();
  int64_t done = 0;
  for (const dgemma::AnswerSpan& answer : example.answers) {
    Expect(answer.begin >= done && answer.begin < answer.end, "answers ascend and are not empty");
    const std::string_view close = tokenizer.TokenContent(example.tokens[static_cast<size_t>(answer.end - 1)]);
    Expect(close == "<turn|>" || close == "<|tool_response>", "an answer ends with what closes it");
    done = answer.end;
  }
  Expect(!example.answers.empty() && done == std::ssize(example.tokens), "the last answer ends the tokens");

  const dgemma::SeededTrainNoise noise(1, {.vocab = tokenizer.vocab_size()});
  dgemma::ExampleOptions shape = kOptions;
  shape.end_of_text = 1;
  const auto made = dgemma::MakeTrainExample(example, shape, {.canvases = dgemma::CanvasesTrained::kAll}, noise, {});
  Expect(std::ssize(made.clean) <= kOptions.max_tokens, "filled, it fits the limit");
  for (const dgemma::TrainCanvas& canvas : made.canvases) {
    Expect(std::ssize(canvas.noisy) == shape.canvas && std::ssize(canvas.target) == shape.canvas, "canvases are whole");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const auto maker = dgemma::ExampleMaker::Create(dgemma::SmallTokenizer(), kOptions);
  Expect(maker.has_value(), "options hold");
  std::string_view rest = dgemma::AsText(std::as_bytes(std::span(bytes, size)));
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    for (const auto& record : {dgemma::ReadJsonRecord(line), dgemma::ReadPuzzleRecord(line)}) {
      if (!record) {
        CheckFault(record.error());
        continue;
      }
      const auto examples = maker->Make(*record);
      if (!examples) {
        CheckFault(examples.error());
        continue;
      }
      Expect(!examples->empty(), "a record without a fault gives examples");
      for (const dgemma::Example& example : *examples) CheckExample(example);
    }
  }
  return 0;
}
