// How libFuzzer changes an input of service_fuzz.cc: as bytes, or the JSON of its body as a tree, so that most of what comes
// out is a request that gets beyond the parser.
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <string_view>
#include <vector>

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace {

namespace json = boost::json;

constexpr size_t kFrameBytes = 3;  // before the body
constexpr uint8_t kRaw = 0x80;

/// Members that requests have, between blanks.
constexpr std::string_view kNames =
    "model messages role content type text prompt input instructions system stream max_tokens n seed stop "
    "temperature top_p tools tool_choice function name parameters arguments tool_calls tool_call_id id call_id "
    "output thinking signature input_schema tool_use_id is_error options num_predict num_ctx think format raw "
    "template suffix echo logprobs n_probs best_of grammar json_schema response_format diffusion steps "
    "entropy_bound t_max t_min stability confidence skip settled_steps refresh_every full_passes frames max_fps "
    "fields stream_options include_usage reasoning_effort reasoning effort summary n_predict ignore_eos "
    "return_progress cache_prompt add_special parse_special with_pieces tokens chat_template_kwargs "
    "enable_thinking logit_bias images keep_alive tool_name parallel_tool_calls budget_tokens "
    "max_completion_tokens stop_sequences max_output_tokens previous_response_id properties required";

constexpr const char* kWords[] = {"",
                                  "user",
                                  "assistant",
                                  "system",
                                  "tool",
                                  "developer",
                                  "text",
                                  "auto",
                                  "none",
                                  "required",
                                  "any",
                                  "function",
                                  "tool_use",
                                  "tool_result",
                                  "thinking",
                                  "image_url",
                                  "low",
                                  "minimal",
                                  "json_object",
                                  "message",
                                  "function_call",
                                  "function_call_output",
                                  "reasoning",
                                  "output_text",
                                  "input_text",
                                  "enabled",
                                  "disabled",
                                  "[think]x[/think]y",
                                  "[call]f{a:[q]b[q]}[/call]",
                                  "a[call]f{}[/call]b",
                                  "<|turn>user\n",
                                  "<turn|>",
                                  "<|\"|>",
                                  "<bos>",
                                  "{\"a\":[1,2]}",
                                  "{",
                                  "entropy",
                                  "changed",
                                  "tokens",
                                  "\xF0\x9F\x98\x80\xC3\xA9",
                                  "\xFF\xFE",
                                  "\n\n",
                                  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};

constexpr double kNumbers[] = {0,    -0.0,  1,      -1,     2,          0.5,        16,
                               48,   255,   4096,   4097,   2147483647, 2147483648, 9007199254740992,
                               1e19, 1e308, -1e308, 5e-324, 1e-7};

class TreeMutator {
 public:
  explicit TreeMutator(unsigned seed) : random_(seed) {}

  size_t Below(size_t bound) { return std::uniform_int_distribution<size_t>(0, bound - 1)(random_); }

  void Change(json::value& root) {
    std::vector<json::value*> nodes;
    Collect(root, nodes);
    json::value& node = *nodes[Below(nodes.size())];
    const json::value other = *nodes[Below(nodes.size())];
    const json::value made = Below(3) == 0 ? other : Made();
    if (json::object* object = node.if_object(); object != nullptr && Below(4) != 0) {
      return ChangeObject(*object, made);
    }
    if (json::array* array = node.if_array(); array != nullptr && Below(4) != 0) return ChangeArray(*array, made);
    if (json::string* text = node.if_string(); text != nullptr && Below(2) != 0) {
      std::string bytes(text->begin(), text->end());
      const size_t size = bytes.size();
      bytes.resize(size + 32);
      bytes.resize(LLVMFuzzerMutate(reinterpret_cast<uint8_t*>(bytes.data()), size, bytes.size()));
      *text = bytes;
      return;
    }
    node = made;
  }

 private:
  void Collect(json::value& value, std::vector<json::value*>& out) {
    out.push_back(&value);
    if (json::object* object = value.if_object()) {
      for (auto& member : *object) Collect(member.value(), out);
    } else if (json::array* array = value.if_array()) {
      for (json::value& item : *array) Collect(item, out);
    }
  }

  json::value Made() {
    switch (Below(9)) {
      case 0:
        return nullptr;
      case 1:
        return Below(2) == 0;
      case 2:
        return json::object{{Name(), kWords[Below(std::size(kWords))]}};
      case 3:
        return json::array{kWords[Below(std::size(kWords))]};
      case 4:
        return std::numeric_limits<int64_t>::max() - static_cast<int64_t>(Below(3));
      case 5:
      case 6:
        return Number();
      default:
        return json::string(kWords[Below(std::size(kWords))]);
    }
  }

  std::string_view Name() {
    const size_t begin = kNames.rfind(' ', Below(kNames.size())) + 1;  // 0 where there is none
    return kNames.substr(begin, kNames.find(' ', begin) - begin);
  }

  json::value Number() {
    const double number = kNumbers[Below(std::size(kNumbers))];
    if (number == static_cast<double>(static_cast<int32_t>(number > 1e9 || number < -1e9 ? 0.5 : number)))
      return static_cast<int64_t>(number);
    return number;
  }

  void ChangeObject(json::object& object, const json::value& made) {
    const size_t kind = Below(4);
    if (kind < 2 || object.empty()) {
      object[Name()] = made;
      return;
    }
    const auto member = object.begin() + static_cast<std::ptrdiff_t>(Below(object.size()));
    if (kind == 2) {
      object.erase(member);
    } else {
      const json::value value = member->value();
      object.erase(member);
      object[Name()] = value;
    }
  }

  void ChangeArray(json::array& array, const json::value& made) {
    const size_t kind = Below(3);
    if (kind == 0 || array.empty()) {
      array.push_back(made);
    } else if (kind == 1) {
      array.erase(array.begin() + static_cast<std::ptrdiff_t>(Below(array.size())));
    } else {
      const json::value item = array[Below(array.size())];
      array.push_back(item);
    }
  }

  std::mt19937 random_;
};

}  // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  TreeMutator mutator(seed);
  const bool raw = size > 0 && (data[0] & kRaw) != 0;
  if (raw || size <= kFrameBytes || mutator.Below(4) == 0) return LLVMFuzzerMutate(data, size, max_size);
  json::error_code error;
  json::value body = json::parse({reinterpret_cast<const char*>(data) + kFrameBytes, size - kFrameBytes}, error);
  if (error) return LLVMFuzzerMutate(data, size, max_size);
  if (mutator.Below(4) == 0) data[mutator.Below(kFrameBytes)] = static_cast<uint8_t>(mutator.Below(kRaw));
  for (size_t changes = 1 + mutator.Below(3); changes > 0; --changes) mutator.Change(body);
  const std::string text = json::serialize(body);
  if (kFrameBytes + text.size() > max_size) return size;
  std::memcpy(data + kFrameBytes, text.data(), text.size());
  return kFrameBytes + text.size();
}
