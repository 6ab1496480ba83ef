// Records to token ids: contexts through the chat format as inference makes them, answers on their own behind them.
#include "train/examples.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/try.h"
#include "text/utf8.h"

namespace dgemma {
namespace {

constexpr std::string_view kThoughtOpen = "<|channel>thought\n", kThoughtClose = "<channel|>";
constexpr std::string_view kTurnClose = "<turn|>\n";

std::unexpected<Fault> Failed(FaultKind kind, std::string message) {
  return std::unexpected(Fault{kind, std::move(message)});
}

/// What the chat format refuses, as a fault of the record.
OrFault<std::vector<ChatPiece>> Format(std::span<const Message> messages, std::span<const Tool> tools,
                                       const ChatOptions& options) {
  auto pieces = FormatChatPieces(messages, tools, options);
  if (!pieces) return Failed(FaultKind::kConversation, pieces.error().message);
  return *std::move(pieces);
}

bool HasContent(std::span<const ChatPiece> pieces) {
  return std::ranges::any_of(pieces, [](const ChatPiece& piece) { return piece.kind == ChatPiece::Kind::kContent; });
}

/// The pieces that a model writes for these assistant messages: its turn without the opening, and without the newline
/// behind the closing token, which inference does not wait for either.
OrFault<std::vector<ChatPiece>> AnswerPieces(std::span<const Message> answer) {
  DG_TRY(auto pieces, Format(answer, {}, {.add_generation_prompt = false}));
  DG_TRY(const auto opening, Format({}, {}, {}));
  std::string& first = pieces.front().text;
  first.erase(0, opening.front().text.size());
  std::string& last = pieces.back().text;
  if (last.ends_with(kTurnClose)) last.pop_back();
  return pieces;
}

/// Whether there is more to learn than a thought.
OrFault<bool> SaysSomething(std::span<const Message> answer) {
  std::vector<Message> spoken(answer.begin(), answer.end());
  for (Message& message : spoken) message.reasoning.clear();
  DG_TRY(const auto pieces, Format(spoken, {}, {.add_generation_prompt = false}));
  return HasContent(pieces);
}

/// A context may end with an opened thought (thinking on, after a tool's answer); then the answer goes on inside it.
void ContinueThought(std::span<const ChatPiece> context, std::vector<ChatPiece>& answer) {
  if (!context.back().text.ends_with(kThoughtOpen)) return;
  std::string& first = answer.front().text;
  if (first.starts_with(kThoughtOpen)) {
    first.erase(0, kThoughtOpen.size());
  } else {
    answer.insert(answer.begin(), {ChatPiece::Kind::kMarkup, std::string(kThoughtClose)});
  }
}

bool StartsWith(std::span<const int32_t> tokens, std::span<const int32_t> start) {
  return tokens.size() >= start.size() && std::ranges::equal(tokens.first(start.size()), start);
}

void AppendAnswer(std::span<const int32_t> answer, Example& example) {
  AnswerSpan span{std::ssize(example.tokens), 0};
  example.tokens.insert(example.tokens.end(), answer.begin(), answer.end());
  span.end = std::ssize(example.tokens);
  example.answers.push_back(span);
}

}  // namespace

const char* Name(FaultKind kind) {
  switch (kind) {
    case FaultKind::kLineTooLong:
      return "line too long";
    case FaultKind::kBadUtf8:
      return "bad UTF-8";
    case FaultKind::kNotJson:
      return "not JSON";
    case FaultKind::kWrongValue:
      return "wrong value";
    case FaultKind::kUnknownRole:
      return "unknown role";
    case FaultKind::kConversation:
      return "impossible conversation";
    case FaultKind::kEmptyAnswer:
      return "empty answer";
    case FaultKind::kBadPuzzle:
      return "bad puzzle";
    case FaultKind::kTooLong:
      return "too many tokens";
  }
  return "unknown";
}

ExampleMaker::ExampleMaker(const Tokenizer& tokenizer, const ExampleOptions& options)
    : tokenizer_(&tokenizer), options_(options) {
  has_chat_format_ = std::ranges::all_of(std::to_array({"<bos>", "<|turn>", "<turn|>"}), [&](const char* content) {
    const auto id = tokenizer.TokenId(content);
    return id && tokenizer.IsControl(*id);
  });
}

Result<ExampleMaker> ExampleMaker::Create(const Tokenizer& tokenizer, const ExampleOptions& options) {
  ExampleMaker maker(tokenizer, options);
  if (options.canvas < 1) return Fail(StatusCode::kInvalidArgument, "canvas: must be at least 1");
  if (options.max_tokens < options.canvas || options.max_tokens > kMostExampleTokens) {
    return Fail(StatusCode::kInvalidArgument, fmt::format("max_tokens: {} is not between a canvas ({}) and {}",
                                                          options.max_tokens, options.canvas, kMostExampleTokens));
  }
  if (options.end_of_text == -1) {
    const auto id = tokenizer.TokenId("<eos>");
    if (!id) return Fail(StatusCode::kInvalidArgument, "end_of_text: the tokenizer has no <eos> (give an id)");
    maker.options_.end_of_text = *id;
  } else if (!tokenizer.Has(options.end_of_text)) {
    return Fail(StatusCode::kInvalidArgument, fmt::format("end_of_text: there is no token {}", options.end_of_text));
  }
  return maker;
}

OrFault<std::vector<Example>> ExampleMaker::Make(const Record& record) const {
  if (has_chat_format_) return MakeConversation(record);
  if (record.form == Record::Form::kPair) return MakePlain(record);
  return Failed(FaultKind::kConversation,
                "messages: this model's tokenizer has no chat format (use prompt, completion)");
}

OrFault<void> ExampleMaker::CheckLength(size_t context_tokens, size_t answer_tokens) const {
  const auto context = static_cast<int64_t>(context_tokens), answer = static_cast<int64_t>(answer_tokens);
  const int64_t needed = context + CanvasesOf(answer, options_.canvas) * options_.canvas;
  if (needed <= options_.max_tokens) return {};
  return std::unexpected(
      Fault{FaultKind::kTooLong,
            fmt::format("{} tokens of context and {} of answer need {} with the canvas filled (at most {})", context,
                        answer, needed, options_.max_tokens),
            needed});
}

OrFault<std::vector<Example>> ExampleMaker::MakeConversation(const Record& record) const {
  const std::span<const Message> messages(record.messages);
  ChatOptions whole{.enable_thinking = record.thinking, .add_generation_prompt = false};
  DG_CHECK_OK(Format(messages, record.tools, whole));  // names the message that cannot be expressed

  std::vector<Example> examples;
  const auto is_assistant = [](const Message& message) { return message.role == Role::kAssistant; };
  for (size_t begin = 0, end = 0; end < messages.size(); begin = end) {
    while (begin < messages.size() && !is_assistant(messages[begin])) ++begin;
    end = begin;
    while (end < messages.size() && is_assistant(messages[end])) ++end;
    if (begin == end) break;
    const auto answer = messages.subspan(begin, end - begin);
    DG_TRY(const bool says_something, SaysSomething(answer));
    if (!says_something) {
      return Failed(FaultKind::kEmptyAnswer, record.form == Record::Form::kPair
                                                 ? std::string("completion: has no text")
                                                 : fmt::format("messages[{}]: the assistant says nothing", begin));
    }
    const ChatOptions options{.enable_thinking = record.thinking};
    DG_TRY(const auto context_pieces, Format(messages.first(begin), record.tools, options));
    DG_TRY(auto answer_pieces, AnswerPieces(answer));
    ContinueThought(context_pieces, answer_pieces);
    std::vector<int32_t> context = EncodeChat(*tokenizer_, context_pieces);
    const std::vector<int32_t> answer_ids = EncodeChat(*tokenizer_, answer_pieces);
    DG_CHECK_OK(CheckLength(context.size(), answer_ids.size()));
    if (examples.empty() || !StartsWith(context, examples.back().tokens)) {
      examples.push_back({.tokens = {}, .answers = {}, .task = record.task});
    }
    examples.back().tokens = std::move(context);
    AppendAnswer(answer_ids, examples.back());
  }
  if (examples.empty()) return Failed(FaultKind::kEmptyAnswer, "messages: no message of the assistant");
  return examples;
}

OrFault<std::vector<Example>> ExampleMaker::MakePlain(const Record& record) const {
  const auto& prompt = std::get<std::string>(record.messages[0].content);
  const auto& completion = std::get<std::string>(record.messages[1].content);
  if (StripWhitespace(completion).empty()) return Failed(FaultKind::kEmptyAnswer, "completion: has no text");
  Example example{.tokens = {}, .answers = {}, .task = record.task};
  if (const auto begin_of_text = tokenizer_->TokenId("<bos>")) example.tokens.push_back(*begin_of_text);
  std::ranges::copy(tokenizer_->Encode(prompt, SpecialTokens::kAsText), std::back_inserter(example.tokens));
  std::vector<int32_t> answer = tokenizer_->Encode(completion, SpecialTokens::kAsText);
  answer.push_back(options_.end_of_text);
  DG_CHECK_OK(CheckLength(example.tokens.size(), answer.size()));
  AppendAnswer(answer, example);
  return std::vector{std::move(example)};
}

}  // namespace dgemma
