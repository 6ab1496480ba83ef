// What a model is worth: its answers to the questions of a file, counted by task.
#pragma once

#include <functional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "dgemma/dgemma.h"
#include "program.h"
#include "train/run_log.h"

namespace dgemma {

/// A question with the answer that counts as right: the text, or where there are calls these.
struct EvaluationQuestion {
  std::string task;
  Request request;     ///< the conversation before the answer; no options yet
  std::string prompt;  ///< the last user turn
  std::string expected;
  std::vector<FunctionCall> expected_calls;
};

struct EvaluationSuite {
  std::string name;  ///< of the file
  std::vector<EvaluationQuestion> questions;
  int64_t left_out = 0;        ///< records before the last question that are none
  std::string first_left_out;  ///< "heldout.jsonl:7: completion: has no text"
};

/// Of each JSONL file or CSV of puzzles the first `count` records that end with an assistant's answer; says what was left out. kNotFound,
/// kIo; kInvalidFile for a file without any.
Result<std::vector<EvaluationSuite>> ReadSuites(Program& program, std::span<const std::string> paths, int64_t count);

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
