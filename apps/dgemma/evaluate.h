// What a model is worth: its answers to the questions of a file, counted by task.
#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "dgemma/dgemma.h"
#include "train/run_log.h"

namespace dgemma {

/// A question with the answer that counts as right.
struct EvaluationQuestion {
  std::string task;
  std::vector<std::pair<std::string, std::string>> turns;  ///< role and text
  std::string prompt;                                      ///< the last user turn
  std::string expected;
  bool thinking = false;  ///< asks for a thought, which is not graded
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

struct EvaluationOptions {
  GenerateOptions generate;
  int64_t steps_taken = 0;  ///< of the training, for the log
  std::stop_token stop;
};

/// Answers all questions, each in a fresh conversation. kCancelled.
Result<Evaluation> Evaluate(const EvaluationSuite& suite, Engine& engine, const EvaluationOptions& options,
                            const std::function<void(int64_t done)>& progress = {});

}  // namespace dgemma
