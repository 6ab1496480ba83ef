// Questions are asked as `dgemma run` would ask them, so that what is counted is what users get.
#include "evaluate.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <filesystem>
#include <set>
#include <span>

#include "base/try.h"
#include "dgemma/dgemma.h"
#include "files/json.h"
#include "train/data_file.h"
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

/// The text of a message: its parts one after the other.
std::string TextOf(const Message& message) {
  if (const auto* text = std::get_if<std::string>(&message.content)) return *text;
  std::string joined;
  if (const auto* parts = std::get_if<std::vector<ContentPart>>(&message.content)) {
    for (const ContentPart& part : *parts) joined += part.text;
  }
  return joined;
}

std::vector<FunctionCall> CallsOf(const Message& message) {
  std::vector<FunctionCall> calls;
  for (const ToolCall& call : message.tool_calls) {
    calls.push_back({call.name, call.arguments.is_null() ? "{}" : boost::json::serialize(call.arguments), call.id});
  }
  return calls;
}

/// The question of a record that ends with an assistant's answer.
std::optional<EvaluationQuestion> QuestionOf(const Record& record) {
  if (record.messages.size() < 2 || record.messages.back().role != Role::kAssistant) return std::nullopt;
  EvaluationQuestion question;
  question.task = record.task;
  question.request.thinking = record.thinking ? Thinking::kOn : Thinking::kOff;
  for (const Tool& tool : record.tools) {
    const bool bare = tool.parameters.is_null();
    question.request.tools.push_back(
        {tool.name, tool.description, bare ? std::string() : boost::json::serialize(tool.parameters)});
  }
  for (const Message& message : std::span(record.messages).first(record.messages.size() - 1)) {
    question.request.chat.push_back({RoleName(message.role), TextOf(message), message.reasoning, CallsOf(message),
                                     message.tool_call_id, message.name});
    if (message.role == Role::kUser) question.prompt = question.request.chat.back().text;
  }
  question.expected = TextOf(record.messages.back());
  question.expected_calls = CallsOf(record.messages.back());
  return question;
}

/// The same tools with the same arguments, members in any order.
bool SameCalls(std::span<const FunctionCall> expected, std::span<const FunctionCall> called) {
  return std::ranges::equal(expected, called, [](const FunctionCall& a, const FunctionCall& b) {
    const auto wanted = ParseJson(a.arguments_json), given = ParseJson(b.arguments_json);
    return a.name == b.name && wanted && given && *wanted == *given;
  });
}

bool IsRight(const EvaluationQuestion& question, const Answer& answer) {
  if (!question.expected_calls.empty()) return SameCalls(question.expected_calls, answer.tool_calls);
  return Correct(question.task, question.prompt, question.expected, answer.text);
}

/// What was written, for people: the text, or the calls.
std::string Shown(const std::string& text, std::span<const FunctionCall> calls) {
  std::string shown = text;
  for (const FunctionCall& call : calls) {
    shown += fmt::format("{}{} {}", shown.empty() ? "" : "\n", call.name, call.arguments_json);
  }
  return shown;
}

/// The first `count` questions of a file.
Result<EvaluationSuite> ReadSuite(const std::string& path, int64_t count) {
  const DatasetLimits limits;
  DG_TRY(const std::unique_ptr<DataFile> file, DataFile::Open(path, limits));
  EvaluationSuite suite{std::filesystem::path(path).stem().string(), {}, 0, {}};
  DG_CHECK_OK(file->ForEachLine(limits, {}, [&](const DataLine& line) -> Result<bool> {
    const auto record = file->ReadRecord(line, limits);
    auto question = record ? QuestionOf(*record) : std::nullopt;
    if (question) {
      suite.questions.push_back(*std::move(question));
    } else if (suite.left_out++ == 0) {
      suite.first_left_out = fmt::format("{}:{}: {}", path, line.number,
                                         record ? "does not end with an assistant's answer" : record.error().message);
    }
    return std::ssize(suite.questions) < count;
  }));
  if (!suite.questions.empty()) return suite;
  return Fail(StatusCode::kInvalidFile, suite.left_out == 0
                                            ? path + ": has no records"
                                            : path + ": no question with an answer (" + suite.first_left_out + ")");
}

}  // namespace

Result<std::vector<EvaluationSuite>> ReadSuites(Program& program, std::span<const std::string> paths, int64_t count) {
  std::vector<EvaluationSuite> suites;
  for (const std::string& path : paths) {
    DG_TRY(EvaluationSuite suite, ReadSuite(path, count));
    if (suite.left_out > 0) {
      program.Note(fmt::format("{} records left out, the first: {}", suite.left_out, suite.first_left_out));
    }
    suites.push_back(std::move(suite));
  }
  return suites;
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
    Request request = question.request;
    request.options = options.generate;
    request.stop = options.stop;
    DG_TRY(const Answer answer, session->Generate(request));
    if (answer.finish == FinishReason::kCancelled) return Fail(StatusCode::kCancelled, "cancelled");
    TaskScore& score = evaluation.line.tasks[question.task];
    ++score.answers;
    score.correct += IsRight(question, answer) ? 1 : 0;
    score.canvases += answer.figures.canvases;
    score.canvas_steps += answer.figures.denoise_passes;
    if (shown.insert(question.task).second) {
      evaluation.samples.push_back({options.steps_taken, question.task, question.prompt,
                                    Shown(answer.text, answer.tool_calls),
                                    Shown(question.expected, question.expected_calls)});
    }
    if (progress) progress(++done);
  }
  evaluation.line.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return evaluation;
}

}  // namespace dgemma
