// What the weights of a checkpoint are worth: its answers to the questions of a file, counted by task.
#pragma once

#include <filesystem>
#include <stop_token>
#include <string>
#include <vector>

#include "train/run_log.h"

namespace dgemma {

/// A question with the answer that counts as right.
struct EvaluationQuestion {
  std::string task;
  std::vector<std::pair<std::string, std::string>> turns;  ///< role and text
  std::string prompt;                                      ///< the last user turn
  std::string expected;
};

struct EvaluationSuite {
  std::string name;  ///< of the file
  std::vector<EvaluationQuestion> questions;
};

/// The first `count` records of a JSONL file that end with an assistant's text and need no tools. kNotFound, kIo; kInvalidFile when
/// there are none.
Result<EvaluationSuite> ReadSuite(const std::string& path, int64_t count);

struct Evaluation {
  EvaluationLine line;
  std::vector<SampleLine> samples;  ///< the first answers, one of each task
};

/// Answers all questions with the model in `folder`, at the checkpoint's own settings, seed 0. kCancelled.
Result<Evaluation> Evaluate(const EvaluationSuite& suite, const std::filesystem::path& folder, int64_t steps_taken,
                            int threads, std::stop_token stop);

}  // namespace dgemma
