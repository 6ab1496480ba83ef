// `dgemma tokenize` and `dgemma detokenize`: text to token ids and back. They need a tokenizer.json and nothing else.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <boost/json/value_from.hpp>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>

#include "base/try.h"
#include "embedded_model.h"
#include "files/limits.h"
#include "files/mapped_file.h"
#include "input.h"
#include "json_text.h"
#include "model/gguf_model.h"
#include "numbers.h"
#include "text/tokenizer.h"
#include "text/utf8.h"
#include "verbs.h"

namespace dgemma {
namespace {

enum class Form { kTable, kIds, kJson };

struct TokenizeArguments {
  std::string model;
  std::optional<std::string> text;
  std::vector<std::string> ids;
  SpecialTokens special = SpecialTokens::kParse;
  SpecialText special_text = SpecialText::kKeep;
  Form form = Form::kTable;
};

Result<std::string> TextOfGguf(const std::filesystem::path& path) {
  DG_TRY(const CheckpointFiles files, OpenModel(path));
  return files.Text("tokenizer.json");
}

Result<Tokenizer> LoadTokenizer(const std::string& model) {
  if (model == "embedded") return Tokenizer::FromJson(EmbeddedText("tokenizer.json"));
  std::error_code ignored;
  if (!std::filesystem::exists(model, ignored)) {
    return Fail(StatusCode::kNotFound, Quoted(model) + ": there is no such model folder or file (MODEL comes first; " +
                                           "`embedded` is the model inside the program)");
  }
  const bool gguf = IsGgufFile(model);
  const std::filesystem::path folder(model), path = gguf ? folder : folder / "tokenizer.json";
  DG_TRY(const std::string json, gguf ? TextOfGguf(path) : ReadWholeFile(path, FileLimits().tokenizer_bytes));
  auto tokenizer = Tokenizer::FromJson(json);
  if (!tokenizer) return std::unexpected(tokenizer.error().At(path.string()));
  return tokenizer;
}

// A token as a table shows it: one line, quoted.
std::string Shown(const Tokenizer& tokenizer, int32_t id) {
  std::string shown = "'";
  for (const char byte : PrintableText(tokenizer.TokenContent(id))) {
    if (byte == '\n') {
      shown += "\\n";
    } else if (byte == '\t') {
      shown += "\\t";
    } else {
      shown += byte;
    }
  }
  return shown + "'";
}

Result<void> TokenizeText(Program& program, const TokenizeArguments& arguments) {
  DG_TRY(const Tokenizer tokenizer, LoadTokenizer(arguments.model));
  std::string text = arguments.text.value_or("");
  if (!arguments.text) {
    DG_TRY(text, ReadStandardInput());
  }
  const std::vector<int32_t> ids = tokenizer.Encode(text, arguments.special);
  std::string shown;
  if (arguments.form == Form::kJson) {
    shown = JsonText(boost::json::value_from(ids)) + "\n";
  } else if (arguments.form == Form::kIds) {
    shown = fmt::format("{}\n", fmt::join(ids, " "));
  } else {
    for (const int32_t id : ids) shown += fmt::format("{:>7}  {}\n", id, Shown(tokenizer, id));
  }
  program.out.Write(shown);
  return {};
}

// Numbers separated by white space, commas or brackets: the forms that tokenize prints.
Result<std::vector<int32_t>> ParseIds(std::string_view text) {
  constexpr std::string_view kBetween = " \t\r\n,[]";
  std::vector<int32_t> ids;
  size_t begin = text.find_first_not_of(kBetween);
  while (begin != std::string_view::npos) {
    const size_t end = std::min(text.find_first_of(kBetween, begin), text.size());
    auto id = ParseNumber<int32_t>(text.substr(begin, end - begin), 0, std::numeric_limits<int32_t>::max());
    if (!id) return std::unexpected(id.error().At("token id"));
    ids.push_back(*id);
    begin = text.find_first_not_of(kBetween, end);
  }
  return ids;
}

Result<void> DetokenizeIds(Program& program, const TokenizeArguments& arguments) {
  DG_TRY(const Tokenizer tokenizer, LoadTokenizer(arguments.model));
  std::string input = fmt::format("{}", fmt::join(arguments.ids, " "));
  if (arguments.ids.empty()) {
    DG_TRY(input, ReadStandardInput());
  }
  DG_TRY(const std::vector<int32_t> ids, ParseIds(input));
  for (const int32_t id : ids) {
    if (!tokenizer.Has(id)) {
      return Fail(StatusCode::kInvalidArgument,
                  fmt::format("token id: {} is not in the vocabulary ({} ids)", id, tokenizer.vocab_size()));
    }
  }
  const std::string text = tokenizer.Decode(ids, arguments.special_text);
  if (arguments.form == Form::kJson) {
    program.out.Write(JsonText(boost::json::string(text)) + "\n");
  } else if (program.OutTraits().is_terminal) {
    program.out.Write(PrintableText(text) + "\n");
  } else {
    program.out.Write(text);
  }
  return {};
}

void Finish(Program& program, const char* verb, const Result<void>& done) {
  if (!done) {
    program.Fail(verb, done.error());
  } else if (program.out.failed()) {
    program.exit_code = kExitFailure;
  }
}

constexpr const char* kModelHelp = "a folder with a tokenizer.json, a GGUF file, or `embedded`";

}  // namespace

void AddTokenize(CLI::App& app, Program& program) {
  CLI::App* verb = app.add_subcommand(
      "tokenize", "Token ids of a text, one a line with its content. Text such as <|turn> becomes the control token.");
  verb->footer(
      "Examples:\n"
      "  dgemma tokenize embedded \"reverse stone\"\n"
      "  dgemma tokenize DIR --json < file.txt");
  auto arguments = std::make_shared<TokenizeArguments>();
  verb->add_option("model", arguments->model, kModelHelp)->type_name("MODEL")->required();
  verb->add_option("text", arguments->text, "the text; without it standard input, to the byte")->type_name("TEXT");
  auto* json = verb->add_flag_callback("--json", [arguments] { arguments->form = Form::kJson; }, "an array of ids");
  auto* ids = verb->add_flag_callback("--ids", [arguments] { arguments->form = Form::kIds; }, "ids in one line");
  json->excludes(ids);
  verb->add_flag_callback(
      "--no-special", [arguments] { arguments->special = SpecialTokens::kAsText; },
      "text that spells a control token stays text");
  verb->callback([arguments, &program] { Finish(program, "tokenize", TokenizeText(program, *arguments)); });
}

void AddDetokenize(CLI::App& app, Program& program) {
  CLI::App* verb =
      app.add_subcommand("detokenize", "Text of token ids; without ids they are read from standard input.");
  verb->footer(
      "Examples:\n"
      "  dgemma detokenize embedded 139 5 35 162 30 21\n"
      "  dgemma tokenize DIR TEXT --json | dgemma detokenize DIR");
  auto arguments = std::make_shared<TokenizeArguments>();
  verb->add_option("model", arguments->model, kModelHelp)->type_name("MODEL")->required();
  verb->add_option("ids", arguments->ids, "ids, or a JSON array of them")->type_name("ID");
  verb->add_flag_callback("--json", [arguments] { arguments->form = Form::kJson; }, "a JSON string");
  verb->add_flag_callback(
      "--skip-special", [arguments] { arguments->special_text = SpecialText::kSkip; }, "leave control tokens out");
  verb->callback([arguments, &program] { Finish(program, "detokenize", DetokenizeIds(program, *arguments)); });
}

}  // namespace dgemma
