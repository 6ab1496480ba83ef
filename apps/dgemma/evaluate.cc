// Questions are asked as `dgemma run` would ask them, so that what is counted is what users get.
#include "evaluate.h"

#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <set>

#include "base/try.h"
#include "dgemma/dgemma.h"
#include "train/jsonl.h"
#include "train/tasks.h"

namespace dgemma {
namespace {

const char* RoleName(Role role) {
  switch (role) {
    case Role::kAssistant:
      return "assistant";
    case Role::kUser:
      return "user";
    case Role::kTool:
      return "tool";
    default:
      return "system";
  }
}

/// The question of a record, where it is one of plain texts.
std::optional<EvaluationQuestion> QuestionOf(const Record& record) {
  if (record.messages.size() < 2 || !record.tools.empty()) return std::nullopt;
  EvaluationQuestion question{record.task, {}, {}, {}, record.thinking};
  for (size_t i = 0; i < record.messages.size(); ++i) {
    const Message& message = record.messages[i];
    const auto* text = std::get_if<std::string>(&message.content);
    if (text == nullptr || !message.tool_calls.empty() || message.role == Role::kTool) return std::nullopt;
    if (i + 1 < record.messages.size()) {
      question.turns.emplace_back(RoleName(message.role), *text);
      if (message.role == Role::kUser) question.prompt = *text;
    } else if (message.role == Role::kAssistant) {
      question.expected = *text;
    } else {
      return std::nullopt;
    }
  }
  return question;
}

Request RequestOf(const EvaluationQuestion& question, const EvaluationOptions& options) {
  Request request;
  for (const auto& [role, text] : question.turns) request.chat.push_back({role, text, {}});
  request.thinking = question.thinking ? Thinking::kOn : Thinking::kOff;
  request.options = options.generate;
  request.stop = options.stop;
  return request;
}

}  // namespace

Result<EvaluationSuite> ReadSuite(const std::string& path, int64_t count) {
  std::error_code error;
  const bool regular = std::filesystem::is_regular_file(path, error);
  if (!std::filesystem::exists(path, error)) return Fail(StatusCode::kNotFound, path + ": there is no such file");
  if (!regular) return Fail(StatusCode::kInvalidFile, path + ": is no regular file");
  std::ifstream file(path);
  if (!file) return Fail(StatusCode::kIo, path + ": cannot be read");
  EvaluationSuite suite{std::filesystem::path(path).stem().string(), {}};
  for (std::string line; std::ssize(suite.questions) < count && std::getline(file, line);) {
    const auto record = ReadJsonRecord(line);
    const auto question = record ? QuestionOf(*record) : std::nullopt;
    if (question) suite.questions.push_back(*question);
  }
  if (suite.questions.empty())
    return Fail(StatusCode::kInvalidFile, path + ": no record that ends with an assistant's text");
  return suite;
}

Result<Evaluation> Evaluate(const EvaluationSuite& suite, Engine& engine, const EvaluationOptions& options,
                            const std::function<void(int64_t done)>& progress) {
  const auto begin = std::chrono::steady_clock::now();
  Evaluation evaluation;
  evaluation.line.suite = suite.name;
  evaluation.line.steps_taken = options.steps_taken;
  DG_TRY(const std::unique_ptr<Session> session, engine.NewSession());
  std::set<std::string> shown;
  int64_t done = 0;
  for (const EvaluationQuestion& question : suite.questions) {
    session->Reset();
    DG_TRY(const Answer answer, session->Generate(RequestOf(question, options)));
    if (answer.finish == FinishReason::kCancelled) return Fail(StatusCode::kCancelled, "cancelled");
    TaskScore& score = evaluation.line.tasks[question.task];
    ++score.answers;
    score.correct += Correct(question.task, question.prompt, question.expected, answer.text) ? 1 : 0;
    score.canvases += answer.figures.canvases;
    score.canvas_steps += answer.figures.denoise_passes;
    if (shown.insert(question.task).second) {
      evaluation.samples.push_back(
          {options.steps_taken, question.task, question.prompt, answer.text, question.expected});
    }
    if (progress) progress(++done);
  }
  evaluation.line.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return evaluation;
}

}  // namespace dgemma
