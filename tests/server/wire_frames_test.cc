// Frames of drafts: channels, characters of several tokens, differences, rate; and watching them from outside.
#include "server/frames.h"

#include <gtest/gtest.h>

namespace dgemma {
namespace {

using std::chrono::milliseconds;

/// Ids for control tokens by name, as the released tokenizer has them.
class FrameEngine final : public Engine {
 public:
  const ModelFacts& facts() const override { return facts_; }
  const MemoryPlan& plan() const override { return plan_; }
  GenerateOptions Defaults() const override { return {}; }
  std::vector<int32_t> Tokenize(std::string_view) const override { return {}; }
  std::vector<int32_t> TokenizeMarkup(std::string_view text) const override { return {Id(std::string(text))}; }
  std::string Detokenize(std::span<const int32_t>) const override { return {}; }
  std::string TokenText(int32_t id) const override { return texts_[static_cast<size_t>(id)]; }
  bool IsSpecial(int32_t id) const override {
    const std::string text = TokenText(id);
    return text.size() > 2 && text.starts_with('<') && text.ends_with('>');
  }
  Result<std::vector<int32_t>> PromptTokens(const Request&) const override { return std::vector<int32_t>(); }
  Result<std::unique_ptr<Session>> NewSession() override { return Fail(StatusCode::kUnsupported, "scripted"); }

  int32_t Id(const std::string& text) const {
    for (size_t id = 0; id < texts_.size(); ++id) {
      if (texts_[id] == text) return static_cast<int32_t>(id);
    }
    texts_.push_back(text);
    return static_cast<int32_t>(texts_.size()) - 1;
  }

 private:
  ModelFacts facts_;
  MemoryPlan plan_;
  mutable std::vector<std::string> texts_;
};

/// A draft of these tokens; those that begin with '?' are not accepted.
StoredDraft DraftOf(const FrameEngine& engine, int32_t canvas, int32_t step, const std::vector<std::string>& tokens,
                    bool last = false) {
  StoredDraft draft;
  draft.canvas = canvas;
  draft.step = step;
  draft.steps = 4;
  draft.temperature = 0.7;
  draft.last = last;
  for (const std::string& token : tokens) {
    const bool open = token.starts_with('?');
    draft.tokens.push_back(engine.Id(open ? token.substr(1) : token));
    draft.accepted.push_back(open ? 0 : 1);
    draft.entropy_q8.push_back(open ? 200 : 1);
  }
  return draft;
}

std::string Show(const std::vector<ChannelSpan>& spans) {
  std::string out;
  for (const ChannelSpan& span : spans)
    out += std::string(Name(span.channel)) + std::to_string(span.from) + "-" + std::to_string(span.to) + " ";
  return out;
}

constexpr FrameWish kEveryStep{.max_fps = 0, .tokens = true};

TEST(Frames, ChannelsOfAnAnswer) {
  const FrameEngine engine;
  FrameMaker maker(engine, kEveryStep, {engine.Id("<turn|>")});
  const auto now = FrameMaker::Clock::now();
  const auto frame = maker.Take(DraftOf(engine, 0, 1,
                                        {"<|channel>", "thought", "\n", "plan", "<channel|>", "Hi", "<|tool_call>", "f",
                                         "<tool_call|>", "?!", "?<turn|>", "?x", "<turn|>", "junk"}),
                                now);
  ASSERT_TRUE(frame);
  EXPECT_EQ(Show(frame->spans),
            "end0-3 thought3-4 end4-5 answer5-6 end6-7 tool7-8 end8-9 answer9-10 end10-11 "
            "answer11-12 end12-14 ");
  EXPECT_EQ(frame->text, "Hi!x") << "thoughts, calls and what follows the end are not the answer";
  EXPECT_EQ(frame->accepted, 11);
  EXPECT_EQ(frame->tokens.size(), 14U);
  EXPECT_EQ(frame->tokens[0], "");
  EXPECT_EQ(frame->tokens[3], "plan");
  EXPECT_EQ(static_cast<unsigned char>(frame->accepted_mask[0]), 0xFF);
  EXPECT_EQ(static_cast<unsigned char>(frame->accepted_mask[1]), 0x31);
}

TEST(Frames, AThoughtGoesOnIntoTheNextCanvas) {
  const FrameEngine engine;
  FrameMaker maker(engine, kEveryStep, {});
  const auto now = FrameMaker::Clock::now();
  maker.Take(DraftOf(engine, 0, 1, {"a", "b", "c"}), now);
  maker.Take(DraftOf(engine, 0, 2, {"<|channel>", "thought\n", "secret"}, true), now);
  auto frame = maker.Take(DraftOf(engine, 1, 1, {"more", "<channel|>", "Hi"}), now);
  EXPECT_EQ(Show(frame->spans), "thought0-1 end1-2 answer2-3 ");
  EXPECT_EQ(frame->text, "Hi");
  // The beginning of a canvas does not depend on what its own earlier drafts ended in.
  frame = maker.Take(DraftOf(engine, 1, 2, {"more", "still", "more"}), now);
  EXPECT_EQ(Show(frame->spans), "thought0-3 ");
}

TEST(Frames, CharactersOfSeveralTokensStandAtTheFirst) {
  const FrameEngine engine;
  FrameMaker maker(engine, kEveryStep, {});
  const auto frame =
      maker.Take(DraftOf(engine, 0, 1, {"\xC3", "\xA9", "x", "\xE2", "\x82", "y", "\x82"}), FrameMaker::Clock::now());
  EXPECT_EQ(frame->tokens, (std::vector<std::string>{"\u00e9", "", "x", "", "", "y", ""}));
}

TEST(Frames, ChangedIsSinceTheFrameThatWasSent) {
  const FrameEngine engine;
  FrameMaker maker(engine, {.max_fps = 10}, {});
  const auto begin = FrameMaker::Clock::now();
  auto frame = maker.Take(DraftOf(engine, 0, 1, {"a", "b"}), begin);
  EXPECT_EQ(frame->changed.size(), 2U);
  EXPECT_FALSE(maker.Take(DraftOf(engine, 0, 2, {"x", "b"}), begin + milliseconds(50))) << "too soon";
  frame = maker.Take(DraftOf(engine, 0, 3, {"a", "c"}), begin + milliseconds(101));
  ASSERT_TRUE(frame);
  EXPECT_EQ(frame->changed, (std::vector<std::pair<int32_t, std::string>>{{1, "c"}}));
  frame = maker.Take(DraftOf(engine, 0, 4, {"d", "c"}, true), begin + milliseconds(102));
  ASSERT_TRUE(frame) << "the last step of a canvas is always sent";
  EXPECT_EQ(frame->changed.size(), 1U);
  EXPECT_FALSE(maker.Take(DraftOf(engine, 1, 1, {"d", "c"}), begin + milliseconds(103)));
  frame = maker.Take(DraftOf(engine, 1, 2, {"d", "c"}), begin + milliseconds(250));
  EXPECT_EQ(frame->changed.size(), 2U) << "a canvas begins anew";
}

TEST(Frames, EntropyAndBase64) {
  const std::vector<int32_t> tokens(4);
  const std::vector<uint8_t> accepted(4);
  const std::vector<float> entropy = {0.0F, 0.1F, 7.9F, 30.0F};
  const StoredDraft draft = Store({.tokens = tokens, .accepted = accepted, .entropy = entropy});
  EXPECT_EQ(draft.entropy_q8, (std::vector<uint8_t>{0, 3, 253, 255}));
  EXPECT_EQ(Base64(""), "");
  EXPECT_EQ(Base64("f"), "Zg==");
  EXPECT_EQ(Base64("fo"), "Zm8=");
  EXPECT_EQ(Base64("foobar"), "Zm9vYmFy");
  EXPECT_EQ(Base64("\xff\xfe\x00"), "//4=") << "a literal ends at its zero";
}

TEST(Frames, WishesOfAQuery) {
  EXPECT_EQ(FrameWishOf("")->max_fps, 12);
  EXPECT_TRUE(FrameWishOf("")->tokens);
  EXPECT_EQ(FrameWishOf("max_fps=2.5&x=y")->max_fps, 2.5);
  EXPECT_FALSE(FrameWishOf("fields=tokens")->text);
  for (const char* bad : {"max_fps=", "max_fps=x", "max_fps=-1", "max_fps=241", "max_fps=nan"})
    EXPECT_FALSE(FrameWishOf(bad)) << bad;
}

}  // namespace
}  // namespace dgemma
