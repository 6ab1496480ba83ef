// From drafts to frames: channels, texts of positions, differences, rate.
#include "server/frames.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/value_from.hpp>
#include <charconv>
#include <cmath>

#include "server/completion_fields.h"
#include "text/utf8.h"

namespace dgemma {
namespace {

namespace json = boost::json;

constexpr double kEntropySteps = 32;  // of entropy_q8, in a nat
constexpr size_t kLongestCharacter = 4;
constexpr double kMostFrames = 240;  // a second
constexpr int kScheduleDigits = 6;   // of the schedule's values

bool IsContinuation(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

}  // namespace

Result<FrameWish> FrameWishOf(std::string_view query) {
  FrameWish wish;
  wish.tokens = true;
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), pair.size() + 1));
    const std::string_view value = pair.substr(std::min(pair.size(), pair.find('=') + 1));
    if (pair.starts_with("max_fps=")) {
      const auto read = std::from_chars(value.data(), value.data() + value.size(), wish.max_fps);
      if (read.ec != std::errc() || read.ptr != value.data() + value.size() || !(wish.max_fps >= 0) ||
          wish.max_fps > kMostFrames) {
        return BadField("max_fps", "must be a number from 0 to 240");
      }
    }
    if (pair.starts_with("fields=")) {
      const auto named = [value](std::string_view field) { return value.find(field) != std::string_view::npos; };
      wish.text = named("text");
      wish.entropy = named("entropy");
      wish.changed = named("changed");
      wish.tokens = named("tokens");
    }
  }
  return wish;
}

std::string_view Name(Channel channel) {
  switch (channel) {
    case Channel::kAnswer:
      return "answer";
    case Channel::kThought:
      return "thought";
    case Channel::kTool:
      return "tool";
    case Channel::kEnd:
      break;
  }
  return "end";
}

std::string Base64(std::string_view bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t at = 0; at < bytes.size(); at += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - at);
    uint32_t group = 0;
    for (size_t i = 0; i < 3; ++i) group = group << 8 | (i < count ? static_cast<unsigned char>(bytes[at + i]) : 0U);
    for (size_t i = 0; i < 4; ++i) out += i <= count ? kDigits[group >> (18 - 6 * i) & 63] : '=';
  }
  return out;
}

StoredDraft Store(const Draft& draft) {
  StoredDraft stored;
  stored.canvas = draft.canvas;
  stored.step = draft.step;
  stored.steps = draft.steps;
  stored.temperature = draft.temperature;
  stored.last = draft.last;
  stored.tokens.assign(draft.tokens.begin(), draft.tokens.end());
  stored.accepted.assign(draft.accepted.begin(), draft.accepted.end());
  stored.entropy_q8.reserve(draft.entropy.size());
  for (const float nats : draft.entropy) {
    const double steps = std::round(kEntropySteps * static_cast<double>(nats));
    stored.entropy_q8.push_back(steps >= 0 && steps < 255 ? static_cast<uint8_t>(steps) : uint8_t{255});
  }
  return stored;
}

FrameMaker::FrameMaker(const Engine& engine, const FrameWish& wish, std::vector<int32_t> stop_tokens)
    : engine_(engine), wish_(wish), stop_tokens_(std::move(stop_tokens)) {
  const auto control = [&engine](std::string_view name) -> std::optional<int32_t> {
    const std::vector<int32_t> ids = engine.TokenizeMarkup(name);
    return ids.size() == 1 && engine.IsSpecial(ids[0]) ? std::optional(ids[0]) : std::nullopt;
  };
  ids_ = {.channel_open = control("<|channel>"),
          .channel_close = control("<channel|>"),
          .call_open = control("<|tool_call>"),
          .call_close = control("<tool_call|>")};
}

std::vector<ChannelSpan> FrameMaker::Follow(const StoredDraft& draft) {
  if (draft.canvas != canvas_) {
    canvas_start_ = canvas_ < 0 ? State::kAnswer : state_;
    canvas_ = draft.canvas;
    sent_.clear();
  }
  return Spans(draft);
}

std::optional<Frame> FrameMaker::Take(const StoredDraft& draft, Clock::time_point now) {
  Frame frame;
  frame.spans = Follow(draft);
  if (!draft.last && due_ && now < *due_) return std::nullopt;
  if (wish_.max_fps > 0)
    due_ = now + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(1 / wish_.max_fps));
  Fill(draft, Texts(draft), frame);
  return frame;
}

/// Control tokens count where the draft shows them, accepted or not, so that what is likely a thought is not called an answer;
/// a stop token counts once it is accepted.
std::vector<ChannelSpan> FrameMaker::Spans(const StoredDraft& draft) {
  std::vector<ChannelSpan> spans;
  state_ = canvas_start_;
  bool ended = false;
  for (size_t position = 0; position < draft.tokens.size(); ++position) {
    const int32_t id = draft.tokens[position];
    ended = ended || (draft.accepted[position] != 0 && std::ranges::find(stop_tokens_, id) != stop_tokens_.end());
    const bool control = engine_.IsSpecial(id);
    Channel channel = Channel::kEnd;
    if (!ended && !control) {
      channel = state_ == State::kAnswer    ? Channel::kAnswer
                : state_ == State::kThought ? Channel::kThought
                : state_ == State::kTool    ? Channel::kTool
                                            : Channel::kEnd;
      if (state_ == State::kName && engine_.TokenText(id).find('\n') != std::string::npos) state_ = State::kThought;
    } else if (!ended) {
      if (id == ids_.channel_open && state_ != State::kTool) state_ = State::kName;
      if (id == ids_.channel_close && state_ != State::kTool) state_ = State::kAnswer;
      if (id == ids_.call_open) state_ = State::kTool;
      if (id == ids_.call_close) state_ = State::kAnswer;
    }
    const auto from = static_cast<int32_t>(position);
    if (spans.empty() || spans.back().channel != channel) spans.push_back({channel, from, from});
    spans.back().to = from + 1;
  }
  return spans;
}

std::vector<std::string> FrameMaker::Texts(const StoredDraft& draft) const {
  std::vector<std::string> texts(draft.tokens.size());
  std::string bytes;  // of a character that is not whole yet
  size_t first = 0;   // where it began
  for (size_t position = 0; position < texts.size(); ++position) {
    if (engine_.IsSpecial(draft.tokens[position])) {
      bytes.clear();
      continue;
    }
    const std::string text = engine_.TokenText(draft.tokens[position]);
    if (bytes.empty() || text.empty() || !IsContinuation(text.front()) || bytes.size() >= kLongestCharacter) {
      bytes.clear();
      first = position;
    }
    bytes += text;
    if (IsValidUtf8(bytes)) texts[first] = std::exchange(bytes, {});
  }
  return texts;
}

void FrameMaker::Fill(const StoredDraft& draft, std::vector<std::string> texts, Frame& frame) {
  frame.canvas = draft.canvas;
  frame.step = draft.step;
  frame.steps = draft.steps;
  frame.share_left = draft.steps > 0 ? static_cast<double>(draft.steps - draft.step + 1) / draft.steps : 0;
  frame.temperature = draft.temperature;
  frame.fields = wish_;
  frame.accepted_mask.assign((draft.accepted.size() + 7) / 8, '\0');
  for (size_t position = 0; position < draft.accepted.size(); ++position) {
    if (draft.accepted[position] == 0) continue;
    ++frame.accepted;
    char& byte = frame.accepted_mask[position / 8];
    byte = static_cast<char>(static_cast<unsigned char>(byte) | 1U << position % 8);
  }
  if (wish_.entropy) frame.entropy_q8.assign(draft.entropy_q8.begin(), draft.entropy_q8.end());
  if (wish_.text) {
    for (const ChannelSpan& span : frame.spans) {
      if (span.channel != Channel::kAnswer) continue;
      for (int32_t position = span.from; position < span.to; ++position)
        frame.text += texts[static_cast<size_t>(position)];
    }
  }
  if (wish_.changed) {
    for (size_t position = 0; position < texts.size(); ++position) {
      if (sent_.size() == texts.size() && sent_[position] == texts[position]) continue;
      frame.changed.emplace_back(static_cast<int32_t>(position), texts[position]);
    }
  }
  if (wish_.tokens) frame.tokens = texts;
  sent_ = std::move(texts);
}

void AddFrame(const Frame& frame, json::object& event) {
  event["type"] = "diffusion_frame";
  event["block"] = frame.canvas;
  event["step"] = frame.step;
  event["total"] = frame.steps;
  if (frame.fields.text) event["text"] = frame.text;
  json::object more{{"t", Rounded(frame.share_left, kScheduleDigits)},
                    {"temperature", Rounded(frame.temperature, kScheduleDigits)},
                    {"accepted", frame.accepted},
                    {"canvas", frame.spans.empty() ? 0 : frame.spans.back().to}};
  if (frame.fields.changed) {
    json::array changed;
    for (const auto& [position, text] : frame.changed) changed.push_back(json::array{position, text});
    more["changed"] = std::move(changed);
  }
  if (frame.fields.entropy) more["entropy_q8"] = Base64(frame.entropy_q8);
  if (frame.fields.tokens) more["tokens"] = json::value_from(frame.tokens);
  more["accepted_mask"] = Base64(frame.accepted_mask);
  json::array spans;
  for (const ChannelSpan& span : frame.spans) {
    spans.push_back(json::object{{"channel", Json(Name(span.channel))}, {"from", span.from}, {"to", span.to}});
  }
  more["spans"] = std::move(spans);
  event["diffusion"] = std::move(more);
}

}  // namespace dgemma
