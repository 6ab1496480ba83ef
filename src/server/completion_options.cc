// Shared members, one function each.
#include "server/completion_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <limits>

#include "base/try.h"

namespace dgemma {
namespace {

namespace json = boost::json;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kSmallest = 1e-6;  // of temperatures and bounds
constexpr double kHottest = 100;
constexpr int32_t kMostSteps = 4096;
constexpr double kMostFrames = 240;  // a second
constexpr size_t kLongestToolName = 256;

Result<std::optional<int32_t>> Small(const Fields& fields, std::string_view name, int32_t low) {
  DG_TRY(const std::optional<int64_t> value, fields.Integer(name, low, kMostSteps));
  return value ? std::optional(static_cast<int32_t>(*value)) : std::nullopt;
}

Result<void> ReadFrameFields(const Fields& diffusion, FrameWish& wish) {
  DG_TRY(const json::array* fields, diffusion.List("fields", 16));
  if (fields == nullptr) return {};
  wish.text = wish.entropy = wish.changed = wish.tokens = false;
  for (size_t i = 0; i < fields->size(); ++i) {
    const json::value& name = (*fields)[i];
    const std::string_view text = name.is_string() ? View(name.get_string()) : std::string_view();
    if (text == "text") {
      wish.text = true;
    } else if (text == "entropy") {
      wish.entropy = true;
    } else if (text == "changed") {
      wish.changed = true;
    } else if (text == "tokens") {
      wish.tokens = true;
    } else {
      return BadField(IndexPath(diffusion.Path("fields"), i), "is not one of text, entropy, changed, tokens");
    }
  }
  return {};
}

/// true: the measured choice; false: off; an object names the numbers.
Result<void> ReadSkip(const Fields& diffusion, SamplingWish& sampling) {
  const json::value* value = diffusion.Any("skip");
  if (value == nullptr) return {};
  SkipOptions skip;
  skip.settled_steps = 2;
  if (value->is_bool()) {
    if (!value->get_bool()) skip.settled_steps = 0;
    sampling.skip = skip;
    return {};
  }
  DG_TRY(const json::object* object, diffusion.Object("skip"));
  const Fields fields(*object, diffusion.Path("skip"));
  DG_CHECK_OK(fields.Only({"settled_steps", "refresh_every", "full_passes"}));
  DG_TRY(const auto settled, Small(fields, "settled_steps", 0));
  DG_TRY(const auto refresh, Small(fields, "refresh_every", 1));
  DG_TRY(const auto full, Small(fields, "full_passes", 1));
  skip.settled_steps = settled.value_or(skip.settled_steps);
  skip.refresh_every = refresh.value_or(skip.refresh_every);
  skip.full_passes = full.value_or(skip.full_passes);
  sampling.skip = skip;
  return {};
}

bool IsIdle(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      return true;
    case json::kind::bool_:
      return !value.get_bool();
    case json::kind::string:
      return value.get_string().empty();
    case json::kind::array:
      return value.get_array().empty();
    case json::kind::object:
      return value.get_object().empty();
    case json::kind::int64:
    case json::kind::uint64:
    case json::kind::double_:
      break;
  }
  return value.to_number<double>() == 0.0;
}

}  // namespace

Result<void> ReadDiffusion(const Fields& body, CompletionRequest& request) {
  DG_TRY(const json::object* object, body.Object("diffusion"));
  if (object == nullptr) return {};
  const Fields diffusion(*object, body.Path("diffusion"));
  DG_CHECK_OK(diffusion.Only(
      {"frames", "max_fps", "fields", "steps", "entropy_bound", "t_max", "t_min", "stability", "confidence", "skip"}));
  FrameWish wish;
  DG_TRY(const auto frames, diffusion.Flag("frames"));
  DG_TRY(const auto max_fps, diffusion.Number("max_fps", 0, kMostFrames));
  wish.max_fps = max_fps.value_or(wish.max_fps);
  DG_CHECK_OK(ReadFrameFields(diffusion, wish));
  if (frames.value_or(false)) request.frames = wish;
  SamplingWish& sampling = request.sampling;
  DG_TRY(sampling.steps, Small(diffusion, "steps", 1));
  DG_TRY(sampling.stability, Small(diffusion, "stability", 0));
  DG_TRY(sampling.entropy_bound, diffusion.Number("entropy_bound", kSmallest, kInfinity));
  DG_TRY(sampling.t_max, diffusion.Number("t_max", kSmallest, kHottest));
  DG_TRY(sampling.t_min, diffusion.Number("t_min", 0, kHottest));
  DG_TRY(sampling.confidence, diffusion.Number("confidence", 0, kHottest));
  return ReadSkip(diffusion, sampling);
}

Result<void> ReadStop(const Fields& body, std::string_view name, const ServerLimits& limits,
                      CompletionRequest& request) {
  const json::value* value = body.Any(name);
  if (value == nullptr) return {};
  const auto add = [&](const json::value& stop, const std::string& path) -> Result<void> {
    if (!stop.is_string()) return BadField(path, "must be a string");
    if (stop.get_string().empty()) return {};  // nothing can end with it; clients send [""] for none
    if (stop.get_string().size() > limits.stop_string_bytes)
      return BadField(path, fmt::format("is longer than {} bytes", limits.stop_string_bytes));
    request.stop.emplace_back(View(stop.get_string()));
    return {};
  };
  if (value->is_string()) return add(*value, body.Path(name));
  if (!value->is_array()) return BadField(body.Path(name), "must be a string or a list of strings");
  DG_TRY(const json::array* stops, body.List(name, limits.stop_strings));
  for (size_t i = 0; i < stops->size(); ++i) DG_CHECK_OK(add((*stops)[i], IndexPath(body.Path(name), i)));
  return {};
}

Result<void> ReadMaxTokens(const Fields& body, std::string_view name, CompletionRequest& request) {
  DG_TRY(const auto most, body.Integer(name, 1, std::numeric_limits<int32_t>::max()));
  if (most) request.sampling.max_tokens = most;
  return {};
}

Result<void> RefuseUnlessIdle(const Fields& body, std::string_view name, std::string_view why) {
  const json::value* value = body.Any(name);
  if (value == nullptr || IsIdle(*value)) return {};
  return Fail(StatusCode::kUnsupported, fmt::format("{}: is not supported ({})", body.Path(name), why));
}

Result<std::string> ReadToolName(const Fields& tool, std::string_view name) {
  DG_TRY(std::string text, tool.RequiredText(name));
  const bool plain = std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_-.:/").find(c) != std::string_view::npos;
  });
  if (text.empty() || text.size() > kLongestToolName || !plain)
    return BadField(tool.Path(name), "must be 1 to 256 letters, digits, and signs of _ - . : /");
  return text;
}

Result<ToolDeclaration> ReadTool(const Fields& tool, std::string_view schema) {
  ToolDeclaration read;
  DG_TRY(read.name, ReadToolName(tool, "name"));
  DG_TRY(const auto description, tool.Text("description"));
  read.description = description.value_or("");
  DG_TRY(const json::object* parameters, tool.Object(schema));
  if (parameters != nullptr) read.parameters_json = json::serialize(*parameters);
  return read;
}

Result<std::string> ReadTextParts(const json::array& parts, const std::string& path,
                                  std::initializer_list<std::string_view> text_types, const ServerLimits& limits) {
  if (parts.size() > limits.content_parts)
    return BadField(path, fmt::format("has more than {} parts", limits.content_parts));
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::string place = IndexPath(path, i);
    DG_TRY(const json::object* part, AsObject(parts[i], place));
    const Fields fields(*part, place);
    DG_TRY(const std::string type, fields.RequiredText("type"));
    if (std::ranges::find(text_types, type) == text_types.end())
      return Fail(StatusCode::kUnsupported, fields.Path("type") + ": is not supported (this server takes text only)");
    DG_TRY(const std::string piece, fields.RequiredText(type == "refusal" ? "refusal" : "text"));
    text += piece;
  }
  return text;
}

Result<void> DemandTool(std::string_view name, const std::string& path, CompletionRequest& request) {
  std::erase_if(request.tools, [name](const ToolDeclaration& tool) { return tool.name != name; });
  if (request.tools.empty()) return BadField(path, "names no tool of the request");
  request.tool_use = ToolUse::kRequired;
  return {};
}

}  // namespace dgemma
