// `dgemma doctor`: what this machine is, whether the program works on it, and what a model would cost here.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value_from.hpp>
#include <memory>
#include <string>

#include "ask.h"
#include "base/try.h"
#include "cells.h"
#include "embedded_model.h"
#include "help.h"
#include "json_text.h"
#include "machine.h"
#include "model_source.h"
#include "progress_line.h"
#include "verbs.h"

namespace dgemma {
namespace {

// What the 26B model needs: its weights as released in bfloat16, and all memory in int4, measured (docs/SPEED.md).
constexpr int64_t kReleasedBytes = 52'000'000'000;
constexpr int64_t kInt4Bytes = 16'500'000'000;

const char* FormThatFits(int64_t free_bytes) {
  return free_bytes >= kReleasedBytes ? "bfloat16" : free_bytes >= kInt4Bytes ? "int4" : "none";
}

// The embedded model answers one prompt: proof that all parts work together, and a speed.
struct SelfCheck {
  std::string model;
  std::string backend;
  double ms_per_step = 0;
  bool right = false;
};

Result<SelfCheck> CheckEmbedded() {
  DG_TRY(const std::unique_ptr<Engine> engine, LoadEmbedded({}));
  DG_TRY(const std::unique_ptr<Session> session, engine->NewSession());
  Request request;
  request.chat.push_back({.role = "user", .text = "json name=ada age=36 city=rome", .thought = {}});
  request.options = engine->Defaults();
  DG_TRY(const Answer answer, session->Generate(request));
  const Figures& figures = answer.figures;
  const double seconds = figures.total_seconds - figures.prefill_seconds;
  return SelfCheck{.model = engine->facts().name,
                   .backend = engine->facts().backend,
                   .ms_per_step = seconds * 1e3 / static_cast<double>(std::max<int64_t>(figures.denoise_passes, 1)),
                   .right = answer.text == R"({"name":"ada","age":36,"city":"rome"})"};
}

const char* Name(Colors colors) { return colors == Colors::kNone ? "none" : colors == Colors::kBasic ? "16" : "256"; }

void PrintJson(Program& program, const Machine& machine, const Result<SelfCheck>& check) {
  const TerminalTraits traits = program.OutTraits();
  boost::json::object self{{"ok", check.has_value() && check->right}};
  if (check) {
    self["model"] = check->model;
    self["backend"] = check->backend;
    self["ms_per_step"] = check->ms_per_step;
  } else {
    self["error"] = check.error().message;
  }
  const boost::json::object object{
      {"version", Version()},
      {"processor", machine.processor},
      {"features", boost::json::value_from(machine.features)},
      {"cores", machine.cores},
      {"memory_bytes", machine.memory_bytes},
      {"free_bytes", machine.free_bytes},
      {"memory_read_bytes_per_second", machine.bytes_per_second},
      {"backends", {"cpu", "ref", "ref-bf16"}},
      {"embedded", std::move(self)},
      {"released",
       {{"bfloat16_bytes", kReleasedBytes}, {"int4_bytes", kInt4Bytes}, {"fits", FormThatFits(machine.free_bytes)}}},
      {"terminal",
       {{"is_terminal", traits.is_terminal},
        {"redraws", traits.can_redraw},
        {"utf8", traits.utf8},
        {"colors", Name(traits.colors)}}}};
  program.out.Write(JsonText(object) + "\n");
}

std::string Verdict(const Machine& machine) {
  if (machine.free_bytes < kReleasedBytes) {
    return fmt::format(
        "DiffusionGemma 26B in bfloat16 needs {} and {} are free: it does not fit. In int4 (`dgemma quantize IN OUT "
        "int4`) "
        "it needs {}: that {}",
        BytesText(kReleasedBytes), BytesText(machine.free_bytes), BytesText(kInt4Bytes),
        machine.free_bytes < kInt4Bytes ? "does not fit either" : "fits");
  }
  const double seconds = static_cast<double>(kReleasedBytes) / machine.bytes_per_second;
  return fmt::format("DiffusionGemma 26B in bfloat16 fits; a step reads nearly all of its {}: {:.1f} s at least",
                     BytesText(kReleasedBytes), seconds);
}

void PrintText(Program& program, const Machine& machine, const Result<SelfCheck>& check) {
  const TerminalTraits traits = program.OutTraits();
  const TerminalSize size = SizeOf(program.out.descriptor());
  std::string text = fmt::format("dgemma {}\n\n", Version());
  const auto row = [&](const char* what, const std::string& value) {
    text += fmt::format("  {:<11}{}\n", what, value);
  };
  row("processor", machine.processor.empty() ? "unknown" : machine.processor);
  row("features", machine.features.empty() ? "none that matter" : fmt::format("{}", fmt::join(machine.features, " ")));
  row("cores", fmt::format("{}", machine.cores));
  row("memory", fmt::format("{}, {} free, read at {}/s", BytesText(machine.memory_bytes), BytesText(machine.free_bytes),
                            BytesText(static_cast<int64_t>(machine.bytes_per_second))));
  row("backends", "cpu (for use), ref and ref-bf16 (slow and exact, for comparing)");
  if (!check) {
    row("self-check", "FAILED: " + check.error().message);
  } else {
    row("self-check", fmt::format("{}: the embedded model on {}, {:.1f} ms a step",
                                  check->right ? "ok" : "FAILED (wrong answer)", check->backend, check->ms_per_step));
  }
  row("models",
      "the embedded one, a folder (config.json, model.safetensors, tokenizer.json) or a GGUF file named on the command "
      "line");
  row("26B", Verdict(machine));
  row("terminal", !traits.is_terminal ? "none: answers are plain text"
                                      : fmt::format("{} x {}, {} colours, {}, {}", size.columns, size.rows,
                                                    Name(traits.colors), traits.utf8 ? "UTF-8" : "no UTF-8",
                                                    traits.can_redraw ? "live canvas" : "no live canvas (TERM)"));
  program.out.Write(Wrapped(text, TextColumns(program.out)));
}

}  // namespace

void AddDoctor(CLI::App& app, Program& program) {
  CLI::App* verb = app.add_subcommand(
      "doctor", "Looks at the machine and the terminal, and lets the embedded model prove that all works.");
  verb->footer("Examples:\n  dgemma doctor\n  dgemma doctor --json\nExit code 1 when the self-check fails.");
  auto json = std::make_shared<bool>(false);
  verb->add_flag("--json", *json, "one JSON object");
  AddCommonFlags(*verb, program);
  verb->callback([json, &program] {
    const Machine machine = DescribeMachine();
    const auto check = CheckEmbedded();
    if (*json) {
      PrintJson(program, machine, check);
    } else if (program.loudness != Loudness::kQuiet) {
      PrintText(program, machine, check);
    } else if (!check || !check->right) {
      program.Fail("doctor",
                   check ? Status{StatusCode::kInternal, "self-check: wrong answer"} : check.error().At("self-check"));
    }
    if (!check || !check->right || program.out.failed()) program.exit_code = kExitFailure;
  });
}

}  // namespace dgemma
