// Settings, prompts and conversations: what a user may say, and the words when it is wrong.
#include "settings.h"

#include <gtest/gtest.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <limits>

#include "conversation.h"
#include "help.h"
#include "json_text.h"
#include "prompt.h"

namespace dgemma {
namespace {

std::string Refusal(const char* name, const char* value) {
  Settings settings;
  const auto done = Set(settings, name, value);
  return done ? "" : done.error().message;
}

TEST(Settings, RangesAreCheckedAndNamed) {
  EXPECT_EQ(Refusal("steps", "48"), "");
  EXPECT_EQ(Refusal("steps", "1"), "");
  EXPECT_EQ(Refusal("steps", "4096"), "");
  EXPECT_EQ(Refusal("steps", "0"), "steps: \"0\" is out of range (1 to 4096)");
  EXPECT_EQ(Refusal("steps", "4097"), "steps: \"4097\" is out of range (1 to 4096)");
  EXPECT_EQ(Refusal("steps", "99999999999999999999"), "steps: \"99999999999999999999\" is out of range (1 to 4096)");
  EXPECT_EQ(Refusal("steps", "4x"), "steps: \"4x\" is not a number (1 to 4096)");
  EXPECT_EQ(Refusal("steps", ""), "steps: \"\" is not a number (1 to 4096)");
  EXPECT_NE(Refusal("entropy-bound", "nan"), "");
  EXPECT_NE(Refusal("entropy-bound", "0"), "");
  EXPECT_NE(Refusal("entropy-bound", "-1"), "");
  EXPECT_EQ(Refusal("entropy-bound", "inf"), "");
  EXPECT_NE(Refusal("t-max", "inf"), "");
  EXPECT_NE(Refusal("confidence", "nan"), "");
  EXPECT_EQ(Refusal("confidence", "0"), "");
  EXPECT_EQ(Refusal("max-tokens", "-1"), "");
  EXPECT_EQ(Refusal("max-tokens", "0"),
            "max-tokens: \"0\" is no number of tokens (1 or more; -1: until the model ends its turn)");
  EXPECT_NE(Refusal("seed", "-1"), "");
  EXPECT_EQ(Refusal("seed", "18446744073709551615"), "");
  EXPECT_NE(Refusal("seed", "18446744073709551616"), "");
  EXPECT_EQ(Refusal("skip", "on"), "");
  EXPECT_EQ(Refusal("skip", "3"), "");
  EXPECT_EQ(Refusal("skip", "3,16,2"), "");
  EXPECT_EQ(Refusal("skip", "3,"), "skip: \"\" is not a number (1 to 4096)");
  EXPECT_EQ(Refusal("skip", "0"), "skip: \"0\" is out of range (1 to 4096)");
  EXPECT_EQ(Refusal("skip", "1,2,3,4"), "skip: \"1,2,3,4\" has more than three numbers (S,R,F)");
  EXPECT_EQ(Refusal("speed", "3"), "\"speed\": there is no such setting (/help set lists them)");
}

TEST(Settings, MeetTheModelsDefaults) {
  GenerateOptions defaults;
  defaults.steps = 7;
  defaults.stop_tokens = {1, 106};
  Settings settings;
  ASSERT_TRUE(Set(settings, "confidence", "0.5"));
  const auto options = Resolve(settings, defaults);
  ASSERT_TRUE(options);
  EXPECT_EQ(options->steps, 7);
  EXPECT_EQ(options->confidence, 0.5);
  EXPECT_EQ(options->stop_tokens, defaults.stop_tokens);
}

TEST(Settings, SkipNamesSettledStepsRefreshAndFullPasses) {
  EXPECT_EQ(Resolve(Settings{}, {})->skip.settled_steps, 0) << "exact unless asked";
  Settings settings;
  ASSERT_TRUE(Set(settings, "skip", "3,16"));
  EXPECT_EQ(Resolve(settings, {})->skip.settled_steps, 3);
  EXPECT_EQ(Resolve(settings, {})->skip.refresh_every, 16);
  EXPECT_EQ(Resolve(settings, {})->skip.full_passes, 1);
  ASSERT_TRUE(Set(settings, "skip", "on"));
  EXPECT_EQ(Resolve(settings, {})->skip.settled_steps, 2);
  ASSERT_TRUE(Set(settings, "skip", "off"));
  EXPECT_EQ(Resolve(settings, {})->skip.settled_steps, 0);
  settings.mode = DecodeMode::kAutoregressive;
  EXPECT_FALSE(Resolve(settings, {}));
}

TEST(Settings, ContradictionsAreRefused) {
  Settings hot;
  ASSERT_TRUE(Set(hot, "t-min", "0.9"));
  EXPECT_EQ(Resolve(hot, {}).error().message, "t-min: 0.9 is above t-max 0.8 (temperature falls)");
  Settings both;
  ASSERT_TRUE(Set(both, "temp", "0.5"));
  EXPECT_EQ(Resolve(both, {})->t_min, 0.25);
  ASSERT_TRUE(Set(both, "t-max", "0.5"));
  EXPECT_FALSE(Resolve(both, {}));
  Settings ar;
  ar.mode = DecodeMode::kAutoregressive;
  ASSERT_TRUE(Set(ar, "temp", "0"));
  EXPECT_EQ(Resolve(ar, {})->temperature, 0);
  ASSERT_TRUE(Set(ar, "steps", "3"));
  EXPECT_FALSE(Resolve(ar, {}));
  Settings cold;
  ASSERT_TRUE(Set(cold, "temp", "0"));
  EXPECT_FALSE(Resolve(cold, {}));
}

TEST(Prompts, OneArgumentIsAModelWhenItIsAFolder) {
  const auto decided = [](std::vector<std::string> positional, std::string model = "") {
    PromptArguments arguments{.positional = std::move(positional), .prompt = {}, .file = {}, .model = std::move(model)};
    const auto done = Decide(arguments);
    return done ? arguments.model + "|" + arguments.prompt.value_or("(none)") : "error: " + done.error().message;
  };
  EXPECT_EQ(decided({}), "|(none)");
  EXPECT_EQ(decided({"reverse stone"}), "|reverse stone");
  EXPECT_EQ(decided({"version"}), "|version");
  EXPECT_EQ(decided({DGEMMA_SOURCE_DIR}), DGEMMA_SOURCE_DIR "|(none)");
  EXPECT_EQ(decided({"/no/such/folder"}), "/no/such/folder|(none)");
  EXPECT_EQ(decided({"/ is a slash"}), "|/ is a slash");
  EXPECT_EQ(decided({"nofile.gguf"}), "nofile.gguf|(none)");
  EXPECT_EQ(decided({DGEMMA_SOURCE_DIR, "text"}), DGEMMA_SOURCE_DIR "|text");
  EXPECT_EQ(decided({"embedded", "text"}), "embedded|text");
  EXPECT_EQ(decided({"any", "text"}),
            "error: \"any\": there is no such model folder or file (quote a PROMPT of several words)");
  EXPECT_EQ(decided({"text"}, "dir"), "dir|text");
  EXPECT_TRUE(decided({"any", "text"}, "dir").starts_with("error: --model"));
  EXPECT_TRUE(decided({"a", "b", "c"}).starts_with("error: too many"));
}

TEST(Help, LinesAreBrokenBelowTheirSecondColumn) {
  EXPECT_EQ(Wrapped("short\n\n", 40), "short\n\n");
  EXPECT_EQ(Wrapped("  --flag N    one two three four five six seven eight\n", 40),
            "  --flag N    one two three four five\n"
            "              six seven eight\n");
  EXPECT_EQ(Wrapped("one two three four five six seven eight nine", 40),
            "one two three four five six seven eight\nnine");
  EXPECT_EQ(Wrapped("  --one-name,--another-name,--third-name,--fourth N", 40),
            "  --one-name,--another-name,\n      --third-name,--fourth N");
  const std::string word(100, 'x');
  EXPECT_EQ(Wrapped(word + " y", 40), word + "\ny");
}

TEST(Json, NumbersArePlain) {
  EXPECT_EQ(
      JsonText({{"a", 0.0}, {"b", 33.0}, {"c", {0.1, -2.5e-9, 1e300}}, {"d", nullptr}, {"e\"", "f\n"}, {"g", true}}),
      R"({"a":0,"b":33,"c":[0.1,-2.5e-09,1e+300],"d":null,"e\"":"f\n","g":true})");
  EXPECT_EQ(JsonText(boost::json::array()), "[]");
  EXPECT_EQ(JsonText(boost::json::object()), "{}");
  EXPECT_EQ(JsonText(std::numeric_limits<double>::infinity()), "null");
}

TEST(Conversations, SurviveTheirFileForm) {
  Conversation conversation{.system = "be \"brief\"\n",
                            .turns = {{.role = "user", .text = "a\u00e9\x01", .thought = {}},
                                      {.role = "assistant", .text = "b", .thought = "hm"}}};
  const auto again = ParseConversation(ConversationJson(conversation));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->system, conversation.system);
  ASSERT_EQ(again->turns.size(), 2U);
  EXPECT_EQ(again->turns[0].text, conversation.turns[0].text);
  EXPECT_EQ(again->turns[1].thought, "hm");
  EXPECT_EQ(again->Chat().size(), 3U);
  const auto empty = ParseConversation(ConversationJson({}));
  ASSERT_TRUE(empty);
  EXPECT_TRUE(empty->turns.empty());
}

TEST(Conversations, BadFilesAreRefusedWithTheRule) {
  const auto refusal = [](std::string_view json) {
    const auto parsed = ParseConversation(json);
    return parsed ? std::string() : parsed.error().message;
  };
  const std::string head = R"({"format":"dgemma-conversation","version":1,)";
  EXPECT_NE(refusal(""), "");
  EXPECT_NE(refusal("[]"), "");
  EXPECT_EQ(refusal(R"({"format":"x"})"), "format: is not \"dgemma-conversation\"");
  EXPECT_EQ(refusal(R"({"format":"dgemma-conversation","version":2,"turns":[]})"), "version: is not 1");
  EXPECT_EQ(refusal(head + R"("turns":{}})"), "turns: is no array");
  EXPECT_EQ(refusal(head + R"("turns":[{"role":"assistant","text":"x"}]})"),
            "turns[0]: role is \"assistant\" (expected \"user\": turns alternate)");
  EXPECT_EQ(refusal(head + R"("turns":[{"role":"user","text":"x"}]})"), "turns: the last question has no answer");
  EXPECT_EQ(refusal(head + R"("turns":[{"role":"user","text":7}]})"), "turns[0]: text: is no string");
}

}  // namespace
}  // namespace dgemma
