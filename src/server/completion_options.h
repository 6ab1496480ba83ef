// Members of requests that several families share: `diffusion`, stop strings, tools' schemas, texts in parts. Each function reads
// one of them into the neutral form and names the field in its errors.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "server/completion.h"
#include "server/completion_fields.h"

namespace dgemma {

/// `diffusion`: {"frames", "max_fps", "fields", "steps", "entropy_bound", "t_max", "t_min", "stability", "confidence", "skip"}.
/// Ours alone, so a member that it does not know is an error.
Result<void> ReadDiffusion(const Fields& body, CompletionRequest& request);

/// A list of texts, or one text.
Result<void> ReadStop(const Fields& body, std::string_view name, const ServerLimits& limits,
                      CompletionRequest& request);

/// Answer tokens at most: 1 or more.
Result<void> ReadMaxTokens(const Fields& body, std::string_view name, CompletionRequest& request);

/// kUnsupported, naming it, when the member is there and neither null, false, zero nor empty.
Result<void> RefuseUnlessIdle(const Fields& body, std::string_view name, std::string_view why);

/// A name of a tool: 1 to 256 bytes of letters, digits, '_', '-', '.', ':' and '/'.
Result<std::string> ReadToolName(const Fields& tool, std::string_view name);

/// The declaration of a tool: name, description, and the member `schema`, a JSON schema; the last two may be absent.
Result<ToolDeclaration> ReadTool(const Fields& tool, std::string_view schema);

/// Joins the texts of a list of parts whose "type" is one of `text_types`, one after the other. Other types are refused by index:
/// this server takes text only.
Result<std::string> ReadTextParts(const boost::json::array& parts, const std::string& path,
                                  std::initializer_list<std::string_view> text_types, const ServerLimits& limits);

/// Leaves only the tool of that name and demands a call; kInvalidArgument at `path` when there is none.
Result<void> DemandTool(std::string_view name, const std::string& path, CompletionRequest& request);

}  // namespace dgemma
