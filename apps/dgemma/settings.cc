// The table of settings, and how they meet a model's defaults.
#include "settings.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <random>

#include "base/try.h"
#include "numbers.h"

namespace dgemma {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kSmallest = 1e-6;  // of temperatures and bounds: below it everything is as good as greedy
constexpr double kHottest = 100;
constexpr int32_t kMostSteps = 4096;
constexpr int32_t kSettledSteps = 2;  // of --skip alone; measured, docs/SPEED.md

template <auto member, typename T>
Result<void> Assign(Settings& settings, std::string_view text, T low, T high) {
  auto value = ParseNumber<T>(text, low, high);
  if (!value) return std::unexpected(value.error());
  settings.*member = *value;
  return {};
}

template <auto member>
std::optional<std::string> Text(const Settings& settings) {
  if (!(settings.*member)) return std::nullopt;
  return fmt::format("{}", *(settings.*member));
}

Result<void> SetTokens(Settings& s, std::string_view text) {
  if (text == "-1") {
    s.max_new_tokens = -1;
    return {};
  }
  const auto value = ParseNumber<int64_t>(text, 1, std::numeric_limits<int64_t>::max());
  if (!value) {
    return Fail(StatusCode::kInvalidArgument,
                Quoted(text) + " is no number of tokens (1 or more; -1: until the model ends its turn)");
  }
  s.max_new_tokens = *value;
  return {};
}

Result<void> SetSeed(Settings& s, std::string_view text) {
  if (text == "random") {
    std::random_device device;
    s.seed = device();
    return {};
  }
  return Assign<&Settings::seed, uint64_t>(s, text, 0, std::numeric_limits<uint64_t>::max());
}

Result<void> SetEarlyStop(Settings& s, std::string_view text) {
  if (text != "on" && text != "off") return Fail(StatusCode::kInvalidArgument, Quoted(text) + " is unknown (on, off)");
  if (text == "off") s.confidence = 0;
  return {};
}

// "S", "S,R" or "S,R,F": the fields of SkipOptions in order.
Result<void> SetSkip(Settings& s, std::string_view text) {
  SkipOptions skip;
  skip.settled_steps = kSettledSteps;
  if (text == "off") skip.settled_steps = 0;
  if (text != "on" && text != "off") {
    const std::array fields = {&skip.settled_steps, &skip.refresh_every, &skip.full_passes};
    std::string_view rest = text;
    for (size_t field = 0; field < fields.size(); ++field) {
      const size_t comma = std::min(rest.find(','), rest.size());
      DG_TRY(*fields[field], ParseNumber<int32_t>(rest.substr(0, comma), 1, kMostSteps));
      if (comma == rest.size()) break;
      rest.remove_prefix(comma + 1);
      if (field + 1 == fields.size())
        return Fail(StatusCode::kInvalidArgument, Quoted(text) + " has more than three numbers (S,R,F)");
    }
  }
  s.skip = skip;
  return {};
}

std::optional<std::string> SkipText(const Settings& s) {
  if (!s.skip) return std::nullopt;
  if (s.skip->settled_steps == 0) return "off";
  return fmt::format("{},{},{}", s.skip->settled_steps, s.skip->refresh_every, s.skip->full_passes);
}

constexpr std::array kSettings = {
    Setting{"-n,--max-tokens,--n-predict,--predict,--max-new-tokens", "N",
            "answer tokens at most; -1: until the model ends its turn", SetTokens, Text<&Settings::max_new_tokens>},
    Setting{
        "--steps,--diffusion-steps,--diffusion-eb-max-steps,--max-denoising-steps,--num-inference-steps", "N",
        "denoising steps a canvas at most (1 to 4096)",
        [](Settings& s, std::string_view text) { return Assign<&Settings::steps, int32_t>(s, text, 1, kMostSteps); },
        Text<&Settings::steps>},
    Setting{"--entropy-bound,--diffusion-entropy-bound", "NATS",
            "how much uncertainty a step may accept; inf accepts everything",
            [](Settings& s, std::string_view text) {
              return Assign<&Settings::entropy_bound, double>(s, text, kSmallest, kInfinity);
            },
            Text<&Settings::entropy_bound>},
    Setting{"--t-max", "T", "temperature of a canvas's first step",
            [](Settings& s, std::string_view text) {
              return Assign<&Settings::t_max, double>(s, text, kSmallest, kHottest);
            },
            Text<&Settings::t_max>},
    Setting{"--t-min", "T", "temperature towards which it falls; not above --t-max",
            [](Settings& s, std::string_view text) { return Assign<&Settings::t_min, double>(s, text, 0, kHottest); },
            Text<&Settings::t_min>},
    Setting{"--temp,--temperature", "T", "scales both temperatures so that --t-max is T; with --ar 0 is greedy",
            [](Settings& s, std::string_view text) { return Assign<&Settings::temp, double>(s, text, 0, kHottest); },
            Text<&Settings::temp>},
    Setting{"--stability,--stability-threshold", "N",
            "equal drafts in a row before a canvas may end early; 0: no such test",
            [](Settings& s, std::string_view text) {
              return Assign<&Settings::stability, int32_t>(s, text, 0, kMostSteps);
            },
            Text<&Settings::stability>},
    Setting{"--confidence,--confidence-threshold", "NATS",
            "mean entropy below which a canvas may end early; 0: never early",
            [](Settings& s, std::string_view text) { return Assign<&Settings::confidence, double>(s, text, 0, 100); },
            Text<&Settings::confidence>},
    Setting{"--early-stop", "on|off", "off: every canvas takes all its steps, as --confidence 0", SetEarlyStop,
            [](const Settings&) -> std::optional<std::string> { return std::nullopt; }},
    Setting{"-s,--seed", "N", "same seed, same answer; a number or `random` (default 0)", SetSeed,
            Text<&Settings::seed>},
    Setting{
        "--skip", "S,R,F",
        "approximate: leaves out rows settled for S steps; all rows every R steps and in the last F (alone: 2,8,1). "
        "Numbers need the equals sign: --skip=3,8,1",
        SetSkip, SkipText, "on"},
};

}  // namespace

std::span<const Setting> AllSettings() { return kSettings; }

std::string NameOf(const Setting& setting) {
  std::string_view flags = setting.flags;
  flags.remove_prefix(flags.find("--") + 2);
  return std::string(flags.substr(0, flags.find(',')));
}

Result<void> Set(Settings& settings, std::string_view name, std::string_view text) {
  for (const Setting& setting : kSettings) {
    if (NameOf(setting) == name) {
      auto done = setting.set(settings, text);
      if (!done) return std::unexpected(done.error().At(std::string(name)));
      return {};
    }
  }
  return Fail(StatusCode::kInvalidArgument, Quoted(name) + ": there is no such setting (/help set lists them)");
}

Result<GenerateOptions> Resolve(const Settings& settings, const GenerateOptions& defaults) {
  GenerateOptions options = defaults;
  options.mode = settings.mode;
  options.max_new_tokens = settings.max_new_tokens.value_or(options.max_new_tokens);
  options.steps = settings.steps.value_or(options.steps);
  options.entropy_bound = settings.entropy_bound.value_or(options.entropy_bound);
  options.stability = settings.stability.value_or(options.stability);
  options.confidence = settings.confidence.value_or(options.confidence);
  options.seed = settings.seed.value_or(options.seed);
  options.skip = settings.skip.value_or(options.skip);
  const auto clash = [](const char* what) { return Fail(StatusCode::kInvalidArgument, what); };
  if (settings.temp && (settings.t_max || settings.t_min)) {
    return clash("temp: contradicts t-max and t-min (set either the one or the others)");
  }
  if (settings.mode == DecodeMode::kAutoregressive) {
    if (settings.steps || settings.entropy_bound || settings.stability || settings.confidence || settings.t_max ||
        settings.t_min || settings.skip) {
      return clash(
          "ar: contradicts steps, entropy-bound, stability, confidence, t-max, t-min and skip (they are about "
          "canvases)");
    }
    options.temperature = settings.temp.value_or(options.temperature);
    return options;
  }
  if (settings.temp && *settings.temp < kSmallest)
    return clash("temp: 0 is only possible with --ar (a canvas needs more)");
  if (settings.temp) {
    options.t_min = *settings.temp * (defaults.t_min / defaults.t_max);
    options.t_max = *settings.temp;
  }
  options.t_max = settings.t_max.value_or(options.t_max);
  options.t_min = settings.t_min.value_or(options.t_min);
  if (options.t_min > options.t_max) {
    return Fail(StatusCode::kInvalidArgument,
                fmt::format("t-min: {} is above t-max {} (temperature falls)", options.t_min, options.t_max));
  }
  return options;
}

void AddSetting(CLI::App& verb, Settings& settings, std::string_view name) {
  for (const Setting& setting : kSettings) {
    if (NameOf(setting) != name) continue;
    const auto take = [&settings, &setting](const std::string& text) {
      const auto done = setting.set(settings, text);
      return done ? std::string() : done.error().message;
    };
    CLI::Option* option = nullptr;
    if (setting.alone == nullptr) {
      const auto take_or_throw = [take, &setting](const std::string& text) {
        if (const std::string wrong = take(text); !wrong.empty())
          throw CLI::ValidationError("--" + NameOf(setting), wrong);
      };
      option = verb.add_option_function<std::string>(setting.flags, take_or_throw, setting.help);
    } else {
      const auto text = std::make_shared<std::string>();
      option = verb.add_flag(setting.flags, *text, setting.help);
      option->option_text(fmt::format("[={}]", setting.value));
      // CLI11 spells a flag without a value "true"; the capture keeps what it writes to alive.
      option->check(
          [take, &setting, text](const std::string& given) { return take(given == "true" ? setting.alone : given); });
    }
    option->type_name(setting.value)->group("Sampling");
  }
}

void AddSettings(CLI::App& verb, Settings& settings) {
  for (const Setting& setting : kSettings) AddSetting(verb, settings, NameOf(setting));
  verb.add_flag_callback(
          "--ar", [&settings] { settings.mode = DecodeMode::kAutoregressive; },
          "one token a pass on the same weights, for comparison")
      ->group("Sampling");
}

}  // namespace dgemma
