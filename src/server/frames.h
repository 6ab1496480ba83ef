// Draft frames: what a client that asked for them sees of a canvas after a denoising step. Made from the engine's drafts,
// thinned to a rate; docs/SERVER.md describes every member. Drafts are no answer: they may change, and hold no earlier canvas.
#pragma once

#include <boost/json/object.hpp>
#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "dgemma/dgemma.h"

namespace dgemma {

/// What a client wants of frames. The mask, the counts and the spans are always there.
struct FrameWish {
  double max_fps = 12;  ///< 0: every step
  bool text = true;
  bool entropy = true;
  bool changed = true;
  bool tokens = false;
};

/// From a query such as "max_fps=5&fields=text,tokens". kInvalidArgument names the parameter; unknown ones are ignored.
Result<FrameWish> FrameWishOf(std::string_view query);

/// Where a position of a canvas belongs.
enum class Channel : uint8_t { kAnswer, kThought, kTool, kEnd };

/// "answer", "thought", "tool", "end"
std::string_view Name(Channel channel);

/// Positions from `from` up to, not including, `to`.
struct ChannelSpan {
  Channel channel = Channel::kAnswer;
  int32_t from = 0;
  int32_t to = 0;

  bool operator==(const ChannelSpan&) const = default;
};

struct Frame {
  int32_t canvas = 0, step = 0, steps = 0;
  double share_left = 1;  ///< of the schedule: 1 in the first step, towards 0
  double temperature = 0;
  int64_t accepted = 0;                                  ///< positions that this step took as certain
  std::string text;                                      ///< what the answer channel shows
  std::vector<std::pair<int32_t, std::string>> changed;  ///< since the frame of this canvas that was sent before
  std::vector<std::string> tokens;                       ///< text of every position
  std::string entropy_q8;                                ///< a byte a position: min(255, round(32 * nats))
  std::string accepted_mask;                             ///< bit p % 8 of byte p / 8
  std::vector<ChannelSpan> spans;
  FrameWish fields;
};

/// A frame's members as they stand in every family: "type", "block", "step", "total", "text", "diffusion".
void AddFrame(const Frame& frame, boost::json::object& event);

/// A copy of a Draft's values, six bytes a position.
struct StoredDraft {
  int32_t canvas = 0, step = 0, steps = 0;
  double temperature = 0;
  bool last = false;  ///< of its canvas
  std::vector<int32_t> tokens;
  std::vector<uint8_t> accepted;
  std::vector<uint8_t> entropy_q8;  ///< as Frame's
};
StoredDraft Store(const Draft& draft);

/// Turns the drafts of one answer into frames. It must see every draft in order, by Take or Skip.
class FrameMaker {
 public:
  using Clock = std::chrono::steady_clock;

  /// The engine must outlive this.
  FrameMaker(const Engine& engine, const FrameWish& wish, std::vector<int32_t> stop_tokens);

  /// A frame, or nothing when it would come too soon after the one before. The last step of a canvas always becomes one.
  std::optional<Frame> Take(const StoredDraft& draft, Clock::time_point now);
  /// A draft that becomes no frame, because its reader is behind.
  void Skip(const StoredDraft& draft) { (void)Follow(draft); }

 private:
  /// Where the reader of a canvas stands. kName: between "<|channel>" and the end of the line with its name.
  enum class State : uint8_t { kAnswer, kName, kThought, kTool };
  struct ControlIds {
    std::optional<int32_t> channel_open, channel_close, call_open, call_close;
  };

  std::vector<ChannelSpan> Follow(const StoredDraft& draft);
  std::vector<ChannelSpan> Spans(const StoredDraft& draft);
  std::vector<std::string> Texts(const StoredDraft& draft) const;
  void Fill(const StoredDraft& draft, std::vector<std::string> texts, Frame& frame);

  const Engine& engine_;
  FrameWish wish_;
  std::vector<int32_t> stop_tokens_;
  ControlIds ids_;
  int32_t canvas_ = -1;
  State canvas_start_ = State::kAnswer;  // what the canvas before ended in
  State state_ = State::kAnswer;         // at the end of the draft read last
  std::vector<std::string> sent_;        // texts of the frame of this canvas that was sent last
  std::optional<Clock::time_point> due_;
};

/// The bytes in base64 with padding.
std::string Base64(std::string_view bytes);

}  // namespace dgemma
