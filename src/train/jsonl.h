// One line of a JSONL file to a Record. Two forms: {"messages": [{"role", "content"}, ...]} and {"prompt",
// "completion"}, both with an optional "task". Bytes in, a value or a Fault out; files and line numbers are
// dataset.h's.
#pragma once

#include <string_view>

#include "train/examples.h"

namespace dgemma {

/// Reads a line without its newline. Keys of a record, others are ignored:
///   messages    list of objects: role; content (text, null, or a list of {"type": "text", "text"}); for the assistant
///               also reasoning or reasoning_content, and tool_calls ({"id", "function": {"name", "arguments"}},
///               arguments an object or the text of one); for a tool tool_call_id and name
///   tools       list of {"function": {"name", "description", "parameters"}}, with messages only
///   thinking    whether the prompt asks for a thought; absent: whether the assistant has one anywhere
///   prompt, completion   texts, instead of messages
///   task        name for accuracy by task
/// Faults: kBadUtf8, kNotJson, kWrongValue, kUnknownRole. Linear time.
OrFault<Record> ReadJsonRecord(std::string_view line, const DatasetLimits& limits = {});

}  // namespace dgemma
