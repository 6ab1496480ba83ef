// The public interface: an Engine is a loaded model, a Session is one timeline of text on it, Generate writes an answer.
// Threads: an Engine runs one Generate at a time; calls on the same Engine from several threads are the caller's to order.
// Nothing here throws; failures are Status values (dgemma/status.h).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "dgemma/export.h"
#include "dgemma/status.h"

namespace dgemma {

/// "0.1.0"
DGEMMA_API const char* Version();

// ---- loading ------------------------------------------------------------------------------------------------------------

enum class Backend : uint8_t {
  kCpu,            ///< blocked, vectorised, threads: for use
  kReference,      ///< scalar, float64 sums: the specification, for comparing
  kReferenceBf16,  ///< the same, rounding where Transformers rounds for a bfloat16 model
};

/// When a finished canvas is written to the cache: together with the first denoising step of the next one (one pass less a
/// canvas), or in a pass of its own. Both give the same tokens.
enum class CommitMode : uint8_t { kMerged, kSeparate };

/// A long task's state: "loading" counts bytes, "prefill" counts tokens.
struct Progress {
  std::string_view phase;
  int64_t done = 0;
  int64_t total = 0;
};

/// A low-rank adapter (LoRA) that acts beside the weights: a PEFT folder, its safetensors file, or a GGUF adapter.
struct AdapterFile {
  std::string path;
  float scale = 1;  ///< on top of the adapter's own alpha / r; finite
};

struct EngineOptions {
  Backend backend = Backend::kCpu;
  int threads = 0;                   ///< 0: one for each core
  int64_t context_tokens = 0;        ///< longest sequence of a session; 0: the model's limit, at most 8192
  int64_t prefill_chunk_tokens = 0;  ///< prompt rows in one pass; 0: 256
  int64_t sessions = 1;              ///< answers written at the same time, 1..256; memory is planned for as many
  bool skipping = false;             ///< memory is planned for SkipOptions in all of them
  /// A prompt that continues a session's text but leaves away the end of it, as the thoughts of an answer, is cheap if the end is no longer
  /// than prefill_chunk_tokens and so many tokens (0..1,048,576); each costs memory in every sliding layer, up to that of context_tokens.
  int64_t rewind_tokens = 0;
  CommitMode commit = CommitMode::kMerged;
  std::vector<AdapterFile> adapters = {};         ///< all act together; at most 64
  std::function<void(const Progress&)> progress;  ///< called after each tensor while loading; may be empty
  std::stop_token stop;                           ///< looked at after each tensor; loading then fails with kCancelled
};

/// One file of a checkpoint that lies in memory; the bytes must outlive the Engine.
struct MemoryFile {
  std::string_view name;  ///< "config.json", "model.safetensors", ...
  std::span<const std::byte> bytes;
};

/// Where memory goes, computed from the configuration before anything is loaded. Bytes.
struct MemoryPlan {
  int64_t weights = 0;
  int64_t adapters = 0;
  int64_t cache_per_session = 0;
  int64_t pass = 0;  ///< activations and scratch of the largest pass
  int64_t tokenizer = 0;
  int64_t program = 0;           ///< code, libraries, small tables
  int64_t skip_per_session = 0;  ///< added by a session's first request with SkipOptions
  int64_t skip_sessions = 0;  ///< in how many sessions Total() counts it: all with EngineOptions::skipping, else none
  int64_t sessions = 1;       ///< EngineOptions::sessions; `pass` carries a canvas of each
  int64_t Total() const {
    return weights + adapters + sessions * cache_per_session + skip_sessions * skip_per_session + pass + tokenizer +
           program;
  }
};

/// An adapter of a loaded model.
struct AdapterFacts {
  std::string name;  ///< of its folder or file
  float scale = 1;
  int64_t parameters = 0;
  int64_t unused_keys = 0;  ///< of its file: matrices of parts that are not computed (vision) or not there
};

/// What a checkpoint is, for people and tools.
struct ModelFacts {
  std::string name;     ///< folder name, or "embedded"
  std::string dtype;    ///< of the weights, that of the most first: "bfloat16", "int4-32-min + int8-32"
  std::string backend;  ///< description with instruction set and threads
  int64_t parameters = 0;
  int64_t layers = 0;
  int64_t width = 0;
  int64_t vocabulary = 0;
  int64_t experts = 0;
  int64_t active_experts = 0;
  int64_t canvas_tokens = 0;
  int64_t context_tokens = 0;  ///< of a session, after EngineOptions
  bool has_vision = false;
  std::vector<AdapterFacts> adapters = {};  ///< in the order of EngineOptions
};

// ---- asking -------------------------------------------------------------------------------------------------------------

enum class DecodeMode : uint8_t {
  kDiffusion,       ///< canvas after canvas, as the model is meant to be used
  kAutoregressive,  ///< one token a pass on the same weights, for comparison
};

/// Leaving out rows of a canvas that have settled: an approximation, off by default. A row that `settled_steps` passes in a row were
/// sure of, with the same token, keeps its keys, values and prediction and is not computed until it is no longer accepted.
/// A canvas always ends with a pass that computed every row: one that meets the stop rule, or its last allowed step.
/// docs/SPEED.md says what it saves and costs; settled_steps 2 is the measured choice.
struct SkipOptions {
  int32_t settled_steps = 0;  ///< 0..4096; 0: off
  int32_t refresh_every = 8;  ///< of this many passes at least one computes every row; 1..4096
  int32_t full_passes =
      1;  ///< passes in a row that compute every row before a canvas ends early, 1..4096; with stability + 1 of
          ///< them every draft that the stop rule compares is computed in full
};

/// Everything that changes an answer. Engine::Defaults() fills it from the checkpoint's generation_config.json.
/// Ranges are checked by Generate; each error names the field.
struct GenerateOptions {
  DecodeMode mode = DecodeMode::kDiffusion;
  int64_t max_new_tokens = 256;      ///< exact limit on answer tokens; -1: until the end of the text or of the context
  int32_t steps = 48;                ///< denoising steps a canvas at most, 1..4096
  double entropy_bound = 0.1;        ///< nats, > 0; infinity accepts everything
  double t_min = 0.4, t_max = 0.8;   ///< temperature falls from t_max to nearly t_min; 0 <= t_min <= t_max, t_max > 0
  int32_t stability = 1;             ///< equal argmax canvases needed before an early stop; 0: no such test
  double confidence = 0.005;         ///< mean entropy below which a canvas may stop, nats; 0: never stop early
  double temperature = 0;            ///< autoregressive mode only; 0 is greedy
  std::vector<int32_t> stop_tokens;  ///< the text ends at the first of these
  uint64_t seed = 0;
  SkipOptions skip;
};

/// Start of the first canvas instead of noise: exactly canvas_tokens ids.
using StartCanvas = std::vector<int32_t>;

/// A call of a tool: name and arguments as the text of a JSON object.
struct FunctionCall {
  std::string name;
  std::string arguments_json;
  std::string id{};  ///< given by whoever passes the call on; the model writes none
};

/// A tool that the model may call.
struct ToolDeclaration {
  std::string name;
  std::string description{};
  std::string parameters_json{};  ///< a JSON schema, an object; empty: no parameters
};

/// One message of a conversation. Roles: "system", "user", "assistant", "tool".
struct ChatTurn {
  std::string role;
  std::string text;
  std::string thought{};  ///< reasoning of an assistant turn, kept out of later prompts as the template says
  std::vector<FunctionCall> tool_calls{};  ///< assistant: what it called
  std::string tool_call_id{};              ///< tool: the call whose result `text` is
  std::string tool_name{};                 ///< tool: name of the tool, needed only when no call has that id
};

enum class Thinking : uint8_t { kOff, kOn };

struct Request {
  std::vector<ChatTurn> chat;          ///< either a conversation, formatted with the model's template ...
  std::vector<ToolDeclaration> tools;  ///< put before the conversation
  Thinking thinking = Thinking::kOff;
  std::vector<int32_t> prompt_tokens;  ///< ... or the exact prompt ids; one of the two must be empty
  std::optional<StartCanvas> start_canvas;
  GenerateOptions options;
  std::stop_token stop;  ///< checked at every layer of every pass
};

// ---- answering ----------------------------------------------------------------------------------------------------------

/// The canvas after a denoising step. Views are valid during the call only.
struct Draft {
  int32_t canvas = 0;  ///< from 0
  int32_t step = 0;    ///< steps done on this canvas, from 1
  int32_t steps = 0;   ///< the limit
  double temperature = 0;
  double mean_entropy = 0;            ///< nats
  std::span<const int32_t> tokens;    ///< argmax of every position
  std::span<const uint8_t> accepted;  ///< 1: taken as certain in this step; 0: will be noise again
  std::span<const float> entropy;     ///< nats
  int64_t computed_rows = 0;  ///< rows that this step computed; fewer than tokens where settled ones were left out
  bool last = false;          ///< no step follows on this canvas: its tokens are final
};

/// Receives what happens during Generate, on the calling thread. Override what you need.
class DGEMMA_API Listener {
 public:
  virtual ~Listener() = default;
  virtual void OnPrefill(int64_t /*done_tokens*/, int64_t /*total_tokens*/) {}
  virtual void OnDraft(const Draft&) {}
  /// Final text, in order, complete characters only. Thought and answer arrive in separate calls.
  virtual void OnText(std::string_view /*text*/) {}
  virtual void OnThought(std::string_view /*text*/) {}
  /// A call that the model has finished writing, in order with the texts around it.
  virtual void OnToolCall(const FunctionCall&) {}
};

enum class FinishReason : uint8_t {
  kStop,       ///< the model closed its turn
  kLength,     ///< max_new_tokens reached
  kContext,    ///< the session's context is full
  kCancelled,  ///< the stop token was set; the text so far is kept
  kTimeout,    ///< its time was over (a server's limit); the text so far is kept
};

/// "stop", "length", "context", "cancelled", "timeout"
DGEMMA_API const char* Name(FinishReason reason);

/// Honest figures of one Generate. Canvas tokens and answer tokens are never mixed.
struct Figures {
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;  ///< of the prompt, found in the session's cache
  int64_t answer_tokens = 0;  ///< up to and without the stop token
  int64_t canvases = 0;
  int64_t denoise_passes = 0;
  int64_t denoise_rows = 0;   ///< canvas rows that these passes computed ...
  int64_t full_rows = 0;      ///< ... of as many as they would without skipping
  int64_t commit_passes = 0;  ///< passes that only committed (0 when merged)
  double prefill_seconds = 0;
  double first_draft_seconds = 0;  ///< from the call to the first draft
  double first_text_seconds = 0;   ///< from the call to the first final text (TTFT)
  double total_seconds = 0;
  uint64_t seed = 0;
};

struct Answer {
  std::string text;
  std::string thought;
  std::vector<FunctionCall> tool_calls;
  std::vector<int32_t> tokens;  ///< answer ids without the stop token
  FinishReason finish = FinishReason::kStop;
  Figures figures;
};

// ---- objects ------------------------------------------------------------------------------------------------------------

class Session;

class DGEMMA_API Engine {
 public:
  /// Loads a Hugging Face folder: config.json, model.safetensors (or shards with an index), tokenizer.json, generation_config.json.
  static Result<std::unique_ptr<Engine>> Load(const std::string& folder, const EngineOptions& options = {});
  /// Loads a checkpoint whose files lie in memory. `name` is what errors and facts say.
  static Result<std::unique_ptr<Engine>> FromMemory(std::string name, std::span<const MemoryFile> files,
                                                    const EngineOptions& options = {});
  virtual ~Engine() = default;

  virtual const ModelFacts& facts() const = 0;
  virtual const MemoryPlan& plan() const = 0;
  /// Options as the checkpoint's generation_config.json sets them.
  virtual GenerateOptions Defaults() const = 0;

  /// Ids of plain text; special-token text is not markup here.
  virtual std::vector<int32_t> Tokenize(std::string_view text) const = 0;
  /// Ids of a prompt in which control tokens are written out, such as "<bos><|turn>user\n".
  virtual std::vector<int32_t> TokenizeMarkup(std::string_view text) const = 0;
  virtual std::string Detokenize(std::span<const int32_t> ids) const = 0;
  /// Text of one id as the live view shows it, valid UTF-8 only when the token is; special tokens by name.
  virtual std::string TokenText(int32_t id) const = 0;
  /// True for control tokens (turn markers, end of text, padding).
  virtual bool IsSpecial(int32_t id) const = 0;
  /// The prompt ids that Generate would use for a request.
  virtual Result<std::vector<int32_t>> PromptTokens(const Request& request) const = 0;

  virtual Result<std::unique_ptr<Session>> NewSession() = 0;
};

/// One timeline. Keeps the key/value cache of what it has read, so that a prompt which continues an earlier one is cheap.
class DGEMMA_API Session {
 public:
  virtual ~Session() = default;

  /// Answers a request. The cache keeps the longest common prefix with what this session has seen; the rest is computed.
  /// On failure and cancellation the session stays usable. `listener` may be null.
  virtual Result<Answer> Generate(const Request& request, Listener* listener = nullptr) = 0;
  /// Forgets everything.
  virtual void Reset() = 0;
};

}  // namespace dgemma
