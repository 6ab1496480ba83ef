// The table of flags, and what is made of them.
#include "train_arguments.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <sstream>

#include "base/try.h"
#include "files/mapped_file.h"
#include "files/messages.h"
#include "model_source.h"
#include "numbers.h"
#include "thread_count.h"

namespace dgemma {
namespace {

/// Configuration files are no larger.
constexpr uint64_t kTextBytes = 1u << 20;

/// A check for options that name a file or a folder: an empty name is an unset variable.
std::string HasName(const std::string& text) { return text.empty() ? "the name is empty" : ""; }

/// Flags of training an adapter.
void AddLoraFlags(CLI::App& verb, TrainArguments& a) {
  auto* rank = verb.add_option("--lora-rank", a.lora.rank,
                               "train an adapter of this rank on frozen weights, in the format they are stored in")
                   ->check(CLI::Range(1, 1024))
                   ->type_name("N");
  verb.add_option("--lora", a.lora_file, "go on with this adapter instead of a new one")
      ->check(HasName)
      ->excludes(rank)
      ->type_name("FILE");
  verb.add_option("--lora-alpha", a.lora.alpha, "deltas are scaled with alpha / rank (default: twice the rank)")
      ->type_name("X");
  verb.add_flag("--lora-rslora", a.lora.rank_stabilized, "scale alpha / sqrt(rank) instead");
  verb.add_option("--lora-roles", a.lora_roles, "one delta for reading and denoising, which can be merged, or two")
      ->check(CLI::IsMember({"shared", "separate"}))
      ->capture_default_str()
      ->type_name("WHICH");
  verb.add_option("--lora-targets", a.lora.targets,
                  "linear layers that get deltas; * stands for anything (experts: layers.*.experts.*_proj)")
      ->delimiter(',')
      ->capture_default_str()
      ->type_name("PATTERN[,PATTERN]");
}

}  // namespace

void AddTrainFlags(CLI::App& verb, TrainArguments& a) {
  TrainOptions& o = a.options;
  verb.add_option("model", a.model, "a model folder, or `embedded`")->check(NotEmpty)->type_name("MODEL");
  verb.add_option("--new", a.new_config, "start from random weights of this config.json")
      ->check(HasName)
      ->type_name("CONFIG");
  verb.add_option("--tokenizer", a.tokenizer, "tokenizer.json of the new model")->check(HasName)->type_name("FILE");
  verb.add_option("--data", a.data, "JSONL (messages, or prompt and completion) or CSV puzzles; several")
      ->check(HasName)
      ->type_name("FILE");
  verb.add_option("--eval", a.eval, "JSONL of questions that every checkpoint answers; several")
      ->check(HasName)
      ->type_name("FILE");
  verb.add_option("--eval-count", a.eval_count, "questions of each such file")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str()
      ->type_name("N");
  verb.add_option("--out", a.out,
                  "folder of the run: checkpoints/, model/, report.html, metrics.jsonl, TensorBoard events")
      ->check(HasName)
      ->type_name("DIR");
  verb.add_option("--config", a.config_file,
                  "TOML file whose keys are flags, and `model`: `steps = 1000`; flags given here win")
      ->check(HasName)
      ->type_name("FILE");
  verb.add_option("--steps", o.steps, "optimiser steps")->capture_default_str()->type_name("N");
  verb.add_option("--batch", o.batch, "examples of a step")->capture_default_str()->type_name("N");
  verb.add_option("--pass-rows", o.pass_rows, "rows of one pass: more is faster and takes more memory")
      ->capture_default_str()
      ->type_name("N");
  verb.add_option("--max-tokens", o.examples.max_tokens, "longest example; longer ones are left out and counted")
      ->capture_default_str()
      ->type_name("N");
  verb.add_option("--rate", o.schedule.peak, "peak learning rate")->capture_default_str()->type_name("X");
  verb.add_option("--end-rate", o.schedule.end, "last rate as a share of the peak")
      ->capture_default_str()
      ->type_name("X");
  verb.add_option("--schedule", a.schedule, "course of the rate")
      ->check(CLI::IsMember({"cosine", "linear", "constant"}))
      ->capture_default_str()
      ->type_name("NAME");
  verb.add_option("--warmup", o.schedule.warmup, "steps to the peak")->capture_default_str()->type_name("N");
  verb.add_option("--beta1", o.optimizer.beta1, "AdamW")->capture_default_str()->type_name("X");
  verb.add_option("--beta2", o.optimizer.beta2, "AdamW")->capture_default_str()->type_name("X");
  verb.add_option("--eps", o.optimizer.eps, "AdamW")->capture_default_str()->type_name("X");
  verb.add_option("--decay", o.optimizer.decay, "weight decay of matrices")->capture_default_str()->type_name("X");
  verb.add_option("--clip", o.optimizer.clip, "largest norm of the gradients; 0: none")
      ->capture_default_str()
      ->type_name("X");
  verb.add_option(
          "--ema", o.optimizer.average,
          "average of the weights: share kept by a step, as 0.999; what is saved and evaluated is then the average")
      ->capture_default_str()
      ->type_name("X");
  verb.add_option("--diffusion-weight", o.objective.diffusion_weight, "of the canvas loss")
      ->capture_default_str()
      ->type_name("X");
  verb.add_option("--next-token-weight", o.objective.next_token_weight, "of the autoregressive loss")
      ->capture_default_str()
      ->type_name("X");
  verb.add_option("--feedback-passes", o.objective.feedback_passes, "passes without gradient that feed the trained one")
      ->capture_default_str()
      ->type_name("N");
  verb.add_option("--self-condition", o.noise.self_condition, "probability that an example is fed its prediction")
      ->capture_default_str()
      ->type_name("P");
  verb.add_option("--t-min", o.noise.t_min, "smallest share of noise")->capture_default_str()->type_name("T");
  verb.add_option("--t-max", o.noise.t_max, "largest share of noise")->capture_default_str()->type_name("T");
  verb.add_option("--canvases", a.canvases, "canvases of an example that a step trains")
      ->check(CLI::IsMember({"one", "all"}))
      ->capture_default_str()
      ->type_name("WHICH");
  verb.add_option("--next-token", a.next_token, "what the autoregressive loss covers")
      ->check(CLI::IsMember({"text", "answers"}))
      ->capture_default_str()
      ->type_name("WHAT");
  verb.add_option("--fill", a.fill, "losses that cover the fill behind an answer; `canvas` is faster")
      ->check(CLI::IsMember({"both", "canvas", "none"}))
      ->capture_default_str()
      ->type_name("WHICH");
  verb.add_flag("--no-shuffle", a.no_shuffle, "take examples in the order of the files");
  verb.add_flag("--strict", a.strict, "the first faulty line ends the run before it starts");
  verb.add_option("-s,--seed", o.seed, "of order, noise and new weights")
      ->check(IsSeed)
      ->capture_default_str()
      ->type_name("N");
  verb.add_option("--save-every", a.save_every, "steps between checkpoints")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str()
      ->type_name("N");
  verb.add_option("--keep", a.keep, "checkpoints that stay")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str()
      ->type_name("N");
  verb.add_option("--log-every", a.log_every, "steps between lines")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str()
      ->type_name("N");
  auto* resume =
      verb.add_flag("--resume", a.resume,
                    "go on from the newest checkpoint in DIR, if there is one; MODEL is then read for an adapter only");
  verb.add_flag("-f,--force", a.force, "start again where DIR holds a run")->excludes(resume);
  verb.add_flag("--dry-run", a.dry_run, "print the plan and end");
  verb.add_option("-t,--threads", a.threads, "threads (default: all cores)")->check(IsThreadCount)->type_name("N");
  AddLoraFlags(verb, a);
}

Result<void> ReadConfigFile(CLI::App& verb, const std::string& path) {
  if (path.empty()) return {};
  DG_TRY(const std::string text, ReadWholeFile(path, kTextBytes));
  std::istringstream stream(text);
  try {
    for (const CLI::ConfigItem& item : CLI::ConfigTOML().from_config(stream)) {
      if (item.name == "++" || item.name == "--") continue;  // begin and end of a section
      CLI::Option* option = verb.get_option_no_throw(item.name == "model" ? item.name : "--" + item.name);
      const bool elsewhere = !item.parents.empty() && item.parents != std::vector<std::string>{"train"};
      if (option == nullptr || elsewhere || item.name == "config" || item.name == "help") {
        return Fail(StatusCode::kInvalidArgument,
                    fmt::format("{}: {}: no flag of this name", path, Quoted(item.fullname())));
      }
      if (option->count() > 0) continue;
      if (option->get_items_expected_max() == 0 && item.inputs.size() == 1 && item.inputs.front() == "false") continue;
      option->add_result(item.inputs);
      option->run_callback();
    }
  } catch (const CLI::Error& error) {
    return Fail(StatusCode::kInvalidArgument, fmt::format("{}: {}", path, error.what()));
  }
  return {};
}

Result<void> CheckArguments(const TrainArguments& a, bool holds_run) {
  const auto refuse = [](const std::string& why) { return Fail(StatusCode::kInvalidArgument, why); };
  if (a.resume && a.force) return refuse("--resume and --force: give one of them");
  if (a.data.empty()) return refuse("--data: at least one file is needed");
  if (a.out.empty() && !a.dry_run) return refuse("--out: a folder is needed");
  if (a.new_config.empty() != a.tokenizer.empty()) return refuse("--new and --tokenizer: give both or none");
  if (!a.new_config.empty() && !a.model.empty()) return refuse("give either MODEL or --new with --tokenizer");
  const bool has_weights = a.resume && holds_run && !a.TrainsAdapter();  // in the checkpoint
  if (a.new_config.empty() && a.model.empty() && !has_weights)
    return refuse("MODEL is missing (or --new with --tokenizer, for one of random weights)");
  if (!a.lora_file.empty() && (a.lora.rank != 0 || a.HasLoraFlags())) {
    return refuse(
        "--lora goes on with an adapter as it is; --lora-rank, --lora-alpha, --lora-rslora, --lora-roles and "
        "--lora-targets are for a new one");
  }
  if (a.lora.rank == 0 && a.HasLoraFlags())
    return refuse("--lora-alpha, --lora-rslora, --lora-roles and --lora-targets need --lora-rank");
  if (!a.new_config.empty() && a.TrainsAdapter()) return refuse("--lora-rank: an adapter needs a trained MODEL");
  return {};
}

Result<void> FillOptions(TrainArguments& a, const Config& config) {
  TrainOptions& o = a.options;
  o.schedule.kind = a.schedule == "constant" ? ScheduleKind::kConstant
                    : a.schedule == "linear" ? ScheduleKind::kLinear
                                             : ScheduleKind::kCosine;
  o.targets.canvases = a.canvases == "all" ? CanvasesTrained::kAll : CanvasesTrained::kOne;
  o.targets.next_token = a.next_token == "answers" ? NextTokenTargets::kAnswers : NextTokenTargets::kText;
  o.targets.fill = a.fill == "none"     ? FillTargets::kNone
                   : a.fill == "canvas" ? FillTargets::kCanvas
                                        : FillTargets::kBoth;
  a.lora.separate_roles = a.lora_roles == "separate";
  o.order = a.no_shuffle ? Order::kAsGiven : Order::kShuffled;
  o.examples.canvas = config.canvas;
  o.noise.vocab = config.vocab;
  return CheckTrainOptions(o);
}

std::string Recipe(const TrainArguments& a) {
  const TrainOptions& o = a.options;
  std::string adapter;
  if (!a.lora_file.empty()) adapter = ", adapter " + a.lora_file;
  if (a.lora.rank != 0) {
    adapter = fmt::format(", adapter {} {} {} {} {}", a.lora.rank, a.lora.alpha, a.lora.rank_stabilized, a.lora_roles,
                          fmt::join(a.lora.targets, " "));
  }
  return fmt::format(
      "rate {} {} {} {}, adam {} {} {} {} {} {}, loss {} {} {}, noise {} {} {}, {} {} {} {}, {} tokens, {} rows{}",
      o.schedule.peak, o.schedule.end, a.schedule, o.schedule.warmup, o.optimizer.beta1, o.optimizer.beta2,
      o.optimizer.eps, o.optimizer.decay, o.optimizer.clip, o.optimizer.average, o.objective.diffusion_weight,
      o.objective.next_token_weight, o.objective.feedback_passes, o.noise.t_min, o.noise.t_max, o.noise.self_condition,
      a.canvases, a.next_token, a.fill, a.no_shuffle, o.examples.max_tokens, o.pass_rows, adapter);
}

}  // namespace dgemma
