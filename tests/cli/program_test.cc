// The program without a terminal, as scripts use it: what goes to which stream, JSON, exit codes, bad input.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <boost/json/parse.hpp>
#include <boost/json/value_to.hpp>
#include <filesystem>
#include <fstream>
#include <set>
#include <span>
#include <sstream>

#include "child.h"
#include "embedded_model.h"
#include "files/safetensors_writer.h"
#include "files/temp_folder.h"
#include "refusal.h"
#include "zero_adapter.h"

namespace dgemma {
namespace {

const std::string kStarter = DGEMMA_SOURCE_DIR "/models/starter";
const std::string kEmbedded = DGEMMA_SOURCE_DIR "/models/tasks";
const std::vector<std::string> kVerbs = {"run",    "sudoku",     "inspect",  "tokenize", "detokenize", "convert",
                                         "dump",   "help",       "quantize", "synth",    "lora",       "bench",
                                         "doctor", "completion", "version",  "serve"};
const std::string kJsonPrompt = "json name=ada age=36 city=rome";
const std::string kJsonAnswer = R"({"name":"ada","age":36,"city":"rome"})";

boost::json::object Object(const std::string& text) {
  boost::system::error_code error;
  const auto value = boost::json::parse(text, error);
  EXPECT_FALSE(error) << text;
  return value.is_object() ? value.get_object() : boost::json::object();
}

size_t Occurrences(const std::string& text, const std::string& of) {
  size_t count = 0;
  for (size_t at = text.find(of); at != std::string::npos; at = text.find(of, at + of.size())) ++count;
  return count;
}

TEST(Program, AnswerAloneGoesToStandardOutput) {
  const Ran ran = RunProgram({"run", kJsonPrompt});
  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(ran.out, kJsonAnswer + "\n");
  for (const char* figure : {"ttft", "passes/canvas", "tok/pass", "tok/s", "seed 0"}) {
    EXPECT_NE(ran.err.find(figure), std::string::npos) << figure << " in " << ran.err;
  }
  EXPECT_EQ((ran.out + ran.err).find('\x1b'), std::string::npos);
  EXPECT_EQ(RunProgram({"run", "-q", kJsonPrompt}).err, "");
}

TEST(Program, ViewsFallBackToPlainWithoutATerminal) {
  for (const char* view : {"auto", "canvas", "plain", "heat"}) {
    const Ran ran = RunProgram({"run", "--view", view, "upper cat"});
    EXPECT_EQ(ran.out, "CAT\n") << view;
    EXPECT_EQ((ran.out + ran.err).find('\x1b'), std::string::npos) << view;
  }
}

TEST(Program, PromptsComeFromEverywhere) {
  const TempFolder folder;
  const std::string file = folder / "prompt.txt";
  std::ofstream(file) << "upper cat\n";
  for (const auto& [arguments, input] :
       std::vector<std::pair<std::vector<std::string>, std::string>>{{{"run"}, "upper cat\n"},
                                                                     {{"run", "-"}, "upper cat"},
                                                                     {{"run", "-f", "-"}, "upper cat\n"},
                                                                     {{"run", "-f", file}, ""},
                                                                     {{"run", "-p", "upper cat"}, ""},
                                                                     {{"run", kStarter, "upper cat"}, ""},
                                                                     {{"run", kStarter}, "upper cat\n"},
                                                                     {{"run", "-m", kStarter, "upper cat"}, ""},
                                                                     {{"run", "-st", "--", "upper cat"}, ""}}) {
    const Ran ran = RunProgram(arguments, input);
    EXPECT_EQ(ran.out, "CAT\n") << arguments.back() << ": " << ran.err;
    EXPECT_EQ(ran.code, 0);
  }
}

TEST(Program, SameSeedSameAnswer) {
  const auto answer = [](const char* seed, const char* threads) {
    return RunProgram({"run", "-q", "--steps", "2", "-s", seed, "-t", threads, "sort 7 3 9 1 22 5"}).out;
  };
  EXPECT_EQ(answer("5", "1"), answer("5", "1"));
  EXPECT_EQ(answer("5", "1"), answer("5", "3"));
}

TEST(Program, AliasesMeanTheSame) {
  const std::string expected = RunProgram({"run", "-q", "--steps", "2", "reverse stone"}).out;
  for (const char* alias :
       {"--diffusion-steps", "--diffusion-eb-max-steps", "--max-denoising-steps", "--num-inference-steps"}) {
    EXPECT_EQ(RunProgram({"run", "-q", alias, "2", "reverse stone"}).out, expected) << alias;
  }
}

TEST(Program, RunJsonIsOneObject) {
  const Ran ran = RunProgram({"run", "--json", kJsonPrompt});
  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(std::ranges::count(ran.out, '\n'), 1);
  const auto object = Object(ran.out);
  EXPECT_EQ(object.at("text").as_string(), kJsonAnswer);
  EXPECT_EQ(object.at("finish").as_string(), "stop");
  EXPECT_EQ(object.at("model").as_string(), "embedded");
  EXPECT_TRUE(object.at("tool_calls").as_array().empty());
  const auto& figures = object.at("figures").as_object();
  EXPECT_GT(figures.at("answer_tokens").to_number<int64_t>(), 0);
  EXPECT_EQ(figures.at("canvases").to_number<int64_t>(), 1);
  EXPECT_EQ(figures.at("answer_tokens").to_number<size_t>(), object.at("tokens").as_array().size());
  EXPECT_GT(figures.at("total_ms").to_number<double>(), 0.0);
}

TEST(Program, AutoregressiveModeAnswersToo) {
  const auto object = Object(RunProgram({"run", "--json", "--ar", "-n", "3", "upper cat"}).out);
  EXPECT_EQ(object.at("finish").as_string(), "length");
  EXPECT_EQ(object.at("tokens").as_array().size(), 3U);
  EXPECT_EQ(object.at("figures").at("canvases").to_number<int64_t>(), 0);
}

TEST(Program, WrongOptionsAreOneLineAndExitCodeTwo) {
  for (const auto& [option, value] : std::vector<std::pair<std::string, std::string>>{{"--steps", "0"},
                                                                                      {"--steps", "4097"},
                                                                                      {"--steps", "many"},
                                                                                      {"--steps", "1.5"},
                                                                                      {"--entropy-bound", "nan"},
                                                                                      {"--entropy-bound", "0"},
                                                                                      {"--t-max", "nan"},
                                                                                      {"--t-max", "inf"},
                                                                                      {"--t-min", "-1"},
                                                                                      {"--stability", "-1"},
                                                                                      {"--confidence", "nan"},
                                                                                      {"--seed", "-3"},
                                                                                      {"--seed", "x"},
                                                                                      {"--max-tokens", "0"},
                                                                                      {"--max-tokens", "-2"},
                                                                                      {"--view", "cube"},
                                                                                      {"--view-fps", "0"},
                                                                                      {"--slow", "-1"},
                                                                                      {"--threads", "0"},
                                                                                      {"--ctx", "0"},
                                                                                      {"--backend", "tpu"},
                                                                                      {"--temp", "nan"},
                                                                                      {"--early-stop", "maybe"}}) {
    ExpectRefused({"run", option, value, "upper cat"}, 2, option);
  }
  ExpectRefused({"run", "--colour", "upper cat"}, 2, "--colour");
  ExpectRefused({"run", "--steps"}, 2, "--steps");
  ExpectRefused({"run", "a", "b", "c"}, 2, "too many arguments");
  ExpectRefused({"run", "a\nb", "b\x1b[31m", "c", "--steps=\n"}, 2, "--steps");
  ExpectRefused({"fly"}, 2, "fly");
  const Ran bare = RunProgram({});
  EXPECT_EQ(bare.code, 2);
  EXPECT_EQ(bare.out, "");
  EXPECT_EQ(bare.err, RunProgram({"--help"}).out);
}

TEST(Program, MistakesPointTheWay) {
  ExpectRefused({"quantise"}, 2, "did you mean `quantize`?");
  ExpectRefused({"quantise", "--help"}, 2, "did you mean `quantize`?");
  ExpectRefused({"help", "tokenise"}, 2, "did you mean `tokenize`?");
  ExpectRefused({"bogus"}, 2, "there is no such verb (`dgemma --help` lists them)");
  ExpectRefused({"run", "--stpes", "3", "x"}, 2, "see `dgemma run --help`");
  ExpectRefused({"run", "-n", "0", "x"}, 2, "-1: until the model ends its turn");
  ExpectRefused({"run", "upper", "cat"}, 2, "quote a PROMPT of several words");
  ExpectRefused({"run", "nofile.gguf"}, 1, "\"nofile.gguf\": there is no such model folder or file");
  ExpectRefused({"run", "./nope"}, 1, "\"./nope\": there is no such model folder or file");
  ExpectRefused({"tokenize", "upper cat"}, 1, "MODEL comes first");
  ExpectRefused({"detokenize", "nope", "1"}, 1, "\"nope\": there is no such model folder or file");
}

TEST(Program, EmptyAnswersAreSaid) {
  EXPECT_NE(RunProgram({"run", "--system", "be brief", "upper cat"}).err.find("trained on single prompts only"),
            std::string::npos);
  for (const auto& arguments : std::vector<std::vector<std::string>>{
           {"run", kStarter, "--system", "be brief", "upper cat"}, {"run", kStarter, "--think", "upper cat"}}) {
    const Ran ran = RunProgram(arguments);
    EXPECT_EQ(ran.code, 0);
    EXPECT_EQ(ran.out, "\n");
    EXPECT_NE(ran.err.find("(empty answer), "), std::string::npos) << ran.err;
    EXPECT_EQ(ran.err.find("ttft"), std::string::npos) << ran.err;
  }
  EXPECT_EQ(RunProgram({"run", kStarter, "--system", "x", "upper cat"}).err.find("trained"), std::string::npos);
}

TEST(Program, QuietMeansErrorsOnly) {
  const TempFolder folder;
  for (const auto& arguments :
       std::vector<std::vector<std::string>>{{"doctor", "-q"}, {"quantize", "-q", "embedded", folder / "q", "int8"}}) {
    const Ran ran = RunProgram(arguments);
    EXPECT_EQ(ran.code, 0) << ran.err;
    EXPECT_EQ(ran.out + ran.err, "") << arguments.front();
  }
  const Ran solved = RunProgram({"sudoku", "-q", "3241 4132 ..14 1.2."});
  EXPECT_EQ(std::ranges::count(solved.out, '\n'), 7) << "the grid alone: " << solved.out;
  EXPECT_EQ(solved.err, "");
  const Ran unsolved = RunProgram({"sudoku", "-q", "3241 4132 ..14 1.2.", "-n", "4"});
  EXPECT_EQ(unsolved.code, 1);
  EXPECT_TRUE(unsolved.err.starts_with("dgemma sudoku: not solved in ")) << unsolved.err;
}

// The parts between backquotes, one a line.
std::string Quotations(const std::string& text) {
  std::string parts;
  for (size_t begin = text.find('`'); begin != std::string::npos;) {
    const size_t end = text.find('`', begin + 1);
    if (end == std::string::npos) break;
    parts += (parts.empty() ? "" : "\n") + text.substr(begin + 1, end - begin - 1);
    begin = text.find('`', end + 1);
  }
  return parts;
}

TEST(Program, EmbeddedModelAnswersAsItsReadmeSays) {
  std::istringstream readme(FileContent(kEmbedded + "/README.md"));
  std::set<std::string, std::less<>> prompts;
  for (std::string line; std::getline(readme, line);) {
    if (!line.starts_with("| `")) continue;
    const size_t second = line.find(" | ");
    const std::string prompt = Quotations(line.substr(0, second));
    EXPECT_EQ(RunProgram({"run", "-q", prompt}).out, Quotations(line.substr(second)) + "\n") << prompt;
    prompts.insert(prompt);
  }
  EXPECT_EQ(prompts.size(), 8U);
  for (const std::string_view prompt : EmbeddedPrompts()) EXPECT_TRUE(prompts.contains(prompt)) << prompt;
}

TEST(Program, ContradictionsNameBothSides) {
  ExpectRefused({"run", "--t-min", "0.9", "--t-max", "0.5", "x"}, 2, "t-min");
  ExpectRefused({"run", "--ar", "--steps", "3", "x"}, 2, "ar: contradicts steps");
  ExpectRefused({"run", "--temp", "1", "--t-max", "0.5", "x"}, 2, "temp: contradicts t-max");
  ExpectRefused({"run", "-p", "a", "b"}, 2, "--prompt");
  ExpectRefused({"run", "-m", kStarter, "a", "b"}, 2, "--model");
  ExpectRefused({"run", "--quiet", "--verbose", "x"}, 2, "--quiet");
  ExpectRefused({"run", "--chat", "--json"}, 2, "--chat");
  ExpectRefused({"run", ""}, 2, "prompt: is empty");
  ExpectRefused({"run"}, 2, "prompt: is empty", " \n\n");
}

TEST(Program, MissingAndBrokenModelsAreNamed) {
  const TempFolder folder;
  ExpectRefused({"run", folder / "none", "upper cat"}, 1, "none");
  ExpectRefused({"run", folder.path(), "upper cat"}, 1, folder.path());
  for (const char* name : {"config.json", "generation_config.json", "model.safetensors"}) {
    std::filesystem::copy_file(kStarter + "/" + name, folder / name);
  }
  ExpectRefused({"run", folder.path(), "upper cat"}, 1,
                "dgemma run: " + folder.path().string() + "/tokenizer.json: open failed");
  EXPECT_EQ(Occurrences(RunProgram({"run", folder.path(), "upper cat"}).err, folder.path()), 1U) << "named once";
  std::filesystem::rename(folder / "config.json", folder / "kept");
  std::ofstream(folder / "config.json") << "{";
  ExpectRefused({"run", folder.path(), "upper cat"}, 1,
                "dgemma run: " + folder.path().string() + ": config.json: JSON: ");
  ExpectRefused({"inspect", folder.path()}, 1, "dgemma inspect: " + folder.path().string() + ": config.json: JSON: ");
  std::filesystem::rename(folder / "kept", folder / "config.json");
  std::filesystem::copy_file(kStarter + "/tokenizer.json", folder / "tokenizer.json");
  EXPECT_EQ(RunProgram({"run", folder.path(), "upper cat"}).out, "CAT\n");
  std::filesystem::resize_file(folder / "model.safetensors", 1'000'000);
  ExpectRefused({"run", folder.path(), "upper cat"}, 1, "model.safetensors");
  ExpectRefused({"inspect", folder.path()}, 1, "model.safetensors");
  ExpectRefused({"run", "-f", folder / "no\nfile"}, 1, "No such file");
}

TEST(Program, PromptLongerThanTheContextIsRefused) {
  std::string prompt = "upper";
  for (int word = 0; word < 200; ++word) prompt += " cat";
  const Ran ran = RunProgram({"run", "--ctx", "100", prompt});
  EXPECT_EQ(ran.out, "");
  EXPECT_NE(ran.code, 0);
  EXPECT_EQ(std::ranges::count(ran.err, '\n'), 1) << ran.err;
  EXPECT_NE(ran.err.find("context"), std::string::npos) << ran.err;
}

TEST(Program, ClosedPipeEndsQuietly) {
  for (const auto& arguments : std::vector<std::vector<std::string>>{{"run", "upper cat"},
                                                                     {"run", "--json", "upper cat"},
                                                                     {"sudoku"},
                                                                     {"inspect", "embedded"},
                                                                     {"version"},
                                                                     {"tokenize", "embedded", "cat"},
                                                                     {"completion", "bash"}}) {
    const Ran ran = RunIntoClosedPipe(arguments);
    EXPECT_EQ(ran.code, 1) << arguments.front();
    EXPECT_EQ(ran.err, "") << arguments.front();
  }
}

TEST(Program, FullDiskIsSaid) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP();
  const std::string command = std::string(DGEMMA_PROGRAM) + " run -q 'upper cat' >/dev/full 2>&1";
  EXPECT_NE(std::system(command.c_str()), 0);
}

TEST(Program, TokensGoThereAndBack) {
  const std::string text = "reverse stone\n  caf\u00e9 \U0001F600\t<|turn>";
  const Ran ids = RunProgram({"tokenize", kStarter, "--json"}, text);
  EXPECT_EQ(ids.code, 0);
  EXPECT_EQ(RunProgram({"tokenize", kStarter, text, "--json"}).out, ids.out);
  EXPECT_EQ(RunProgram({"tokenize", "embedded", text, "--json"}).out,
            RunProgram({"tokenize", kEmbedded, text, "--json"}).out);
  EXPECT_EQ(RunProgram({"detokenize", kStarter}, ids.out).out, text);
  EXPECT_EQ(boost::json::value_to<std::string>(
                boost::json::parse(RunProgram({"detokenize", kStarter, "--json"}, ids.out).out)),
            text);
  EXPECT_EQ(RunProgram({"tokenize", kStarter, "--json", ""}).out, "[]\n");
  const TempFolder folder;
  ExpectRefused({"tokenize", folder.path(), "x"}, 1, "tokenizer.json");
  std::filesystem::copy_file(kStarter + "/tokenizer.json", folder / "tokenizer.json");
  EXPECT_EQ(RunProgram({"tokenize", folder.path(), "--json"}, text).out, ids.out)
      << "nothing but tokenizer.json is needed";
  ExpectRefused({"detokenize", kStarter, "99999"}, 2, "99999");
  ExpectRefused({"detokenize", kStarter, "x"}, 2, "token id");
  ExpectRefused({"tokenize"}, 2, "model");
}

TEST(Program, SudokuIsSolvedAndChecked) {
  const Ran ran = RunProgram({"sudoku", "3241 4132 ..14 1.2."});
  EXPECT_EQ(ran.code, 0);
  EXPECT_NE(ran.out.find("│ 2 3 │ 1 4 │\n│ 1 4 │ 2 3 │\n"), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find("\nsolved in "), std::string::npos) << ran.out;
  EXPECT_TRUE(ran.out.starts_with("puzzle 3241 4132 ..14 1.2.\n")) << ran.out;
  const auto object = Object(RunProgram({"sudoku", "3241 4132 ..14 1.2.", "--json"}).out);
  EXPECT_TRUE(object.at("solved").as_bool());
  EXPECT_EQ(object.at("text").as_string(), "3241\n4132\n2314\n1423");
  const Ran unsolved = RunProgram({"sudoku", "3241 4132 ..14 1.2.", "-n", "4"});
  EXPECT_EQ(unsolved.code, 1);
  EXPECT_NE(unsolved.out.find("not solved in "), std::string::npos) << unsolved.out;
  ExpectRefused({"sudoku", "1111 .... .... ...."}, 2, "no solution");
  ExpectRefused({"sudoku", "12"}, 2, "2 cells");
  ExpectRefused({"sudoku", "--blanks", "99"}, 2, "--blanks");
}

TEST(Program, ReportsAreJson) {
  EXPECT_TRUE(Object(RunProgram({"version", "--json"}).out).contains("version"));
  const auto doctor = Object(RunProgram({"doctor", "--json"}).out);
  EXPECT_TRUE(doctor.at("embedded").at("ok").as_bool());
  EXPECT_GE(doctor.at("cores").to_number<int>(), 1);
  EXPECT_LT(doctor.at("released").at("int4_bytes").to_number<int64_t>(),
            doctor.at("released").at("bfloat16_bytes").to_number<int64_t>());
  EXPECT_NE(RunProgram({"doctor"}).out.find("GGUF"), std::string::npos);
  const auto inspected = Object(RunProgram({"inspect", "embedded", "--json"}).out);
  EXPECT_EQ(inspected.at("geometry").at("canvas").to_number<int>(), 64);
  EXPECT_GT(inspected.at("tensors").as_array().size(), 50U);
  EXPECT_GT(inspected.at("plan_bytes").at("total").to_number<int64_t>(), 6'000'000);
}

TEST(Program, BenchTimesEveryPassAndCompares) {
  const Ran ran = RunProgram({"bench", "-r", "1", "--prompt", "20", "--prefill", "8,70", "--json"});
  const auto bench = Object(ran.out);
  std::vector<std::string> names;
  for (const boost::json::value& pass : bench.at("passes").as_array()) {
    names.emplace_back(pass.at("name").as_string());
    EXPECT_GT(pass.at("least_ms").to_number<double>(), 0.0) << names.back();
    EXPECT_GT(pass.at("bytes").to_number<double>(), 1e6) << names.back();
    EXPECT_GT(pass.at("share_of_bound").to_number<double>(), 0.0) << names.back();
  }
  EXPECT_EQ(names,
            (std::vector<std::string>{"prefill 8", "prefill 70", "denoise", "commit", "commit + denoise", "token"}));
  EXPECT_EQ(bench.at("canvases").as_array().size(), 4U);
  EXPECT_GT(bench.at("machine").at("read_bytes_per_second").to_number<double>(), 1e8);
  EXPECT_GT(bench.at("peak_rss_bytes").to_number<int64_t>(), 10'000'000);
  const auto skipping = Object(RunProgram({"bench", "-r", "1", "--prompt", "20", "--skip=3,8,1", "--json"}).out);
  std::vector<int64_t> rows;  // the bench itself fails when a pass computes others
  for (const boost::json::value& pass : skipping.at("passes").as_array()) {
    if (pass.as_object().contains("canvas_rows")) rows.push_back(pass.at("canvas_rows").to_number<int64_t>());
  }
  EXPECT_EQ(rows, (std::vector<int64_t>{64, 48, 32, 16}));
  EXPECT_EQ(skipping.at("skipping").at("settled_steps").to_number<int>(), 3);
  EXPECT_EQ(skipping.at("skipping").at("canvases").as_array().size(), 12U);
  ExpectRefused({"bench", "--skip=0"}, 2, "--skip");
  ExpectRefused({"bench", "--ops", "--skip"}, 2, "--skip");
  ExpectRefused({"bench", "--ops", "--compare", "a"}, 2, "--compare");
  ExpectRefused({"bench", "--ops", "--only", "router"}, 2, "no operation");
  const TempFolder folder;
  std::ofstream(folder / "a.json") << ran.out;
  const Ran compared = RunProgram({"bench", "--compare", folder / "a.json", folder / "a.json"});
  EXPECT_EQ(compared.code, 0) << compared.err;
  EXPECT_NE(compared.out.find("1.00  tie"), std::string::npos) << compared.out;
  const auto both = Object(RunProgram({"bench", "embedded", "--compare", kStarter, "-r", "1", "--json"}).out);
  EXPECT_EQ(both.at("passes").as_array().size(), 6U);
  ExpectRefused({"bench", "--compare", folder / "none.json", folder / "a.json"}, 1, "none.json");
  ExpectRefused({"bench", "embedded", "--compare", "a", "b"}, 2, "--compare");
  ExpectRefused({"bench", "--prompt", "9999999"}, 2, "--prompt");
  ExpectRefused({"bench", "--ctx", "100", "--prompt", "90"}, 2, "--prompt");
  ExpectRefused({"bench", "--ctx", "300", "--prefill", "301"}, 2, "--prefill");
  ExpectRefused({"bench", "--only", "x"}, 2, "--ops");
}

TEST(Program, BenchTimesSingleOperations) {
  const Ran ran = RunProgram({"bench", "--ops", "--only", "gated", "-r", "1", "--format", "int8-32", "--json"});
  const auto report = Object(ran.out);
  ASSERT_EQ(report.at("operations").as_array().size(), 1U);
  EXPECT_GT(report.at("operations").at(0).at("int8_operations").to_number<double>(), 1e6);
  const Ran table = RunProgram({"bench", "--ops", "-r", "1", "--clock", "cpu", "-t", "1"});
  EXPECT_EQ(table.code, 0) << table.err;
  for (const char* operation : {"attend canvas", "experts ", "denoise head", "sample ", "linear 1x"})
    EXPECT_NE(table.out.find(operation), std::string::npos) << operation;
  ExpectRefused({"bench", "--ops", "--format", "int5"}, 2, "int5");
  ExpectRefused({"bench", "--ops", "--shape", "27b"}, 2, "27b");
}

TEST(Program, EveryVerbHasHelpWithExamples) {
  const Ran help = RunProgram({"--help"});
  EXPECT_EQ(help.code, 0);
  for (const std::string& verb : kVerbs) {
    EXPECT_NE(help.out.find("\n  " + verb + " "), std::string::npos) << verb;
    const Ran ran = RunProgram({verb, "--help"});
    EXPECT_EQ(ran.code, 0) << verb;
    EXPECT_NE(ran.out.find("\nExamples:\n"), std::string::npos) << verb;
    EXPECT_EQ(RunProgram({"help", verb}).out, ran.out);
    std::istringstream lines(ran.out);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100U) << line;
  }
  EXPECT_EQ(RunProgram({"--version"}).out.substr(0, 7), "dgemma ");
}

// Every example of every help page runs, in a folder that holds what they name.
TEST(Program, ExamplesOfHelpWork) {
  const TempFolder folder;
  for (const char* made : {"models", "bin", ".zfunc", ".config", ".config/fish", ".config/fish/completions"}) {
    std::filesystem::create_directory(folder / made);
  }
  std::filesystem::create_symlink(DGEMMA_PROGRAM, folder / "bin/dgemma");
  for (const char* model : {"DIR", "OTHER-DIR", "diffusiongemma-26b", "models/starter", "models/diffusiongemma"}) {
    std::filesystem::create_symlink(kStarter, folder / model);
  }
  for (const char* file : {"model.gguf", "diffusiongemma-Q4_K_M.gguf"}) {
    ASSERT_EQ(RunProgram({"convert", "embedded", folder / file}).code, 0);
  }
  std::ofstream(folder / "file.txt") << "upper cat";
  for (const char* report : {"before.json", "after.json"}) {
    std::ofstream(folder / report) << RunProgram({"bench", "-r", "1", "--prompt", "20", "--json"}).out;
  }
  WriteZeroAdapter(kStarter, folder / "sql-adapter");
  WriteZeroGgufAdapter(kStarter, folder / "sql.gguf");
  const std::array<int64_t, 3> ids = {1, 2, 3};
  std::vector<TensorToWrite> input;
  input.push_back(TensorFromMemory("ids", DType::kI64, {1, 3}, std::as_bytes(std::span(ids))));
  ASSERT_TRUE(WriteSafetensors(folder / "case.safetensors", std::move(input)));
  const std::array<float, 160> ones = [] {
    std::array<float, 160> all{};
    all.fill(1);
    return all;
  }();
  input.clear();
  input.push_back(
      TensorFromMemory("model.decoder.embed_tokens.weight", DType::kF32, {160}, std::as_bytes(std::span(ones))));
  ASSERT_TRUE(WriteSafetensors(folder / "importance.safetensors", std::move(input)));

  size_t ran = 0;
  for (const std::string& verb : kVerbs) {
    std::istringstream page(RunProgram({verb, "--help"}).out);
    bool examples = false;
    for (std::string line; std::getline(page, line);) {
      if (!line.starts_with("  ")) examples = line == "Examples:";
      if (!examples || !line.starts_with("  ")) continue;
      EXPECT_LE(line.size(), 80U) << "is broken on a narrow terminal: " << line;
      // Gigabytes of random weights, the chat, which needs a terminal (OnTerminal has it), and what serves until it is
      // told to stop (tests/clients).
      if (verb == "synth" || verb == "serve" || line.starts_with("  dgemma run  ")) continue;
      const std::string script = "cd " + folder.path().string() + " && export HOME=$PWD PATH=$PWD/bin:$PATH && " +
                                 line + (verb == "bench" ? " -r 1" : "");  // seconds instead of half a minute
      const std::string command = "bash -c '" + script + "' </dev/null >" + folder / "said" + " 2>&1";
      ASSERT_EQ(script.find('\''), std::string::npos) << script;
      EXPECT_EQ(std::system(command.c_str()), 0) << line << "\n" << FileContent(folder / "said");
      ++ran;
    }
  }
  EXPECT_GT(ran, 25U);
}

TEST(Program, BashCompletionCompletesVerbsFlagsAndValues) {
  const auto completed = [](const std::string& words, int at) {
    const std::string script = "source <(" DGEMMA_PROGRAM " completion bash) && COMP_WORDS=(dgemma " + words +
                               ") && COMP_CWORD=" + std::to_string(at) + " && _dgemma && echo \"${COMPREPLY[*]}\"";
    FILE* pipe = ::popen(("bash -c '" + script + "'").c_str(), "r");
    if (pipe == nullptr) return std::string("no bash");
    std::string out(4096, '\0');
    out.resize(std::fread(out.data(), 1, out.size(), pipe));
    ::pclose(pipe);
    return out;
  };
  EXPECT_EQ(completed("tok", 1), "tokenize\n");
  EXPECT_EQ(completed("run --entropy", 2), "--entropy-bound\n");
  EXPECT_EQ(completed("run --view h", 3), "heat\n");
  EXPECT_EQ(completed("completion \"\"", 2), "bash zsh fish\n");
  EXPECT_EQ(completed("quantize a b int4-", 4), "int4-32-row int4-32 int4-32-min\n");
  EXPECT_EQ(completed("help tok", 2), "tokenize\n");
  EXPECT_EQ(RunProgram({"completion", "zsh"}).out.substr(0, 8), "#compdef");
  EXPECT_NE(RunProgram({"completion", "fish"}).out.find("complete -c dgemma"), std::string::npos);
  ExpectRefused({"completion", "tcsh"}, 2, "tcsh");
}

}  // namespace
}  // namespace dgemma
