// What a user may set about an answer: one table of names, ranges and help from which the flags of `run`, `sudoku` and
// `bench` and the chat's /set are made. Values are checked here, before a model is loaded.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dgemma/dgemma.h"

namespace CLI {
class App;
}

namespace dgemma {

/// What the user set; the rest comes from the model (Engine::Defaults).
struct Settings {
  std::optional<int64_t> max_new_tokens;
  std::optional<int32_t> steps;
  std::optional<double> entropy_bound;
  std::optional<double> t_max;
  std::optional<double> t_min;
  std::optional<double> temp;  ///< t_max, t_min keeps its ratio to it; the temperature of --ar
  std::optional<int32_t> stability;
  std::optional<double> confidence;
  std::optional<uint64_t> seed;
  std::optional<SkipOptions> skip;
  DecodeMode mode = DecodeMode::kDiffusion;
};

/// One row of the table.
struct Setting {
  const char* flags;  ///< as CLI11 takes them, aliases included; the first long one is the name
  const char* value;  ///< what the value is called in help
  const char* help;
  Result<void> (*set)(Settings&, std::string_view text);
  std::optional<std::string> (*get)(const Settings&);  ///< nothing when the user did not set it
  const char* alone = nullptr;  ///< what the flag without a value means; a value then needs an equals sign
};

/// All settings, in the order of the help page.
std::span<const Setting> AllSettings();

/// "entropy-bound" for the row with flags "--entropy-bound,--diffusion-entropy-bound".
std::string NameOf(const Setting& setting);

/// Sets one by name ("steps", "entropy-bound"), or says what is wrong with the name or the value.
Result<void> Set(Settings& settings, std::string_view name, std::string_view text);

/// Options of a request: defaults of the model, then the user's. kInvalidArgument names contradictory settings.
Result<GenerateOptions> Resolve(const Settings& settings, const GenerateOptions& defaults);

/// Adds the flag of one row. The settings must live until the command line is parsed.
void AddSetting(CLI::App& verb, Settings& settings, std::string_view name);

/// Adds the table's flags and --ar to a verb. The settings must live until the command line is parsed.
void AddSettings(CLI::App& verb, Settings& settings);

}  // namespace dgemma
