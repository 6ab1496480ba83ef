// Tasks in English sentences: short questions, arithmetic with a thought in front, and questions that need a tool.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include "train/tasks_draft.h"

namespace dgemma {
namespace {

namespace json = boost::json;

constexpr auto kThings = std::to_array<std::string_view>(
    {"apples", "books", "coins", "eggs", "pens", "cups", "balls", "cards", "shells", "stamps"});
constexpr auto kCities = std::to_array<std::string_view>({"Rome", "Oslo", "Tokyo", "Paris", "Lima", "Cairo", "Delhi",
                                                          "Bern", "Berlin", "Madrid", "London", "Vienna", "Athens",
                                                          "Dublin", "Prague", "Lisbon", "Warsaw", "Boston"});

TaskDraft AboutNumbers(TaskRandom& random) {
  const int a = random.Between(10, 99), b = random.Between(2, 99);
  TaskDraft draft{.content = NumbersContent({a, b}), .prompt = "", .answer = ""};
  const auto is = [&draft](std::string prompt, std::string answer) {
    draft.prompt = std::move(prompt);
    draft.answer = std::move(answer);
  };
  const std::string who = RandomName(random, 3, 6);
  const std::string_view things = random.Pick(kThings);
  const bool larger = random.Chance(50);
  switch (random.Below(5)) {
    case 0:
      is(fmt::format("What is {} plus {}?", a, b), std::to_string(a + b));
      break;
    case 1:
      is(fmt::format("What is {} minus {}?", std::max(a, b), std::min(a, b)), std::to_string(std::abs(a - b)));
      break;
    case 2:
      is(fmt::format("Which number is {}, {} or {}?", larger ? "larger" : "smaller", a, b),
         std::to_string(larger ? std::max(a, b) : std::min(a, b)));
      break;
    case 3:
      is(fmt::format("{} has {} {} and gets {} more. How many are there now?", who, a, things, b),
         fmt::format("{} {}", a + b, things));
      break;
    default:
      is(fmt::format("{} has {} {} and gives away {}. How many are left?", who, std::max(a, b), things, std::min(a, b)),
         fmt::format("{} {}", std::abs(a - b), things));
  }
  return draft;
}

TaskDraft AboutOneNumber(TaskRandom& random) {
  const int a = random.Between(1, 999);
  const std::string content = NumbersContent({a});
  switch (random.Below(3)) {
    case 0:
      return {
          .content = content, .prompt = fmt::format("Is {} even or odd?", a), .answer = a % 2 == 0 ? "even" : "odd"};
    case 1:
      return {
          .content = content, .prompt = fmt::format("What number comes after {}?", a), .answer = std::to_string(a + 1)};
    default:
      return {.content = content,
              .prompt = fmt::format("What number comes before {}?", a),
              .answer = std::to_string(a - 1)};
  }
}

TaskDraft AboutWord(TaskRandom& random) {
  const std::string word = RandomWord(random, 2, 9);
  const std::string content = WordContent(word);
  switch (random.Below(3)) {
    case 0:
      return {.content = content,
              .prompt = fmt::format("How many letters are in \"{}\"?", word),
              .answer = std::to_string(word.size())};
    case 1:
      return {.content = content,
              .prompt = fmt::format("What is the first letter of \"{}\"?", word),
              .answer = std::string(1, word.front())};
    default:
      return {.content = content,
              .prompt = fmt::format("What is the last letter of \"{}\"?", word),
              .answer = std::string(1, word.back())};
  }
}

TaskDraft AboutPeople(TaskRandom& random) {
  std::array<std::string, 2> who;
  std::array<std::string, 2> where;
  do {
    for (size_t i = 0; i < 2; ++i) {
      who[i] = RandomName(random, 3, 6);
      where[i] = random.Pick(kCities);
    }
  } while (who[0] == who[1] || where[0] == where[1]);
  const uint32_t asked = random.Below(2);
  const std::string facts = fmt::format("{} is in {}. {} is in {}.", who[0], where[0], who[1], where[1]);
  const std::string content =
      fmt::format("people:{}", std::min(who[0] + "-" + where[0] + "," + who[1] + "-" + where[1],
                                        who[1] + "-" + where[1] + "," + who[0] + "-" + where[0]));
  if (random.Chance(50)) {
    return {.content = content, .prompt = fmt::format("{} Where is {}?", facts, who[asked]), .answer = where[asked]};
  }
  return {.content = content, .prompt = fmt::format("{} Who is in {}?", facts, where[asked]), .answer = who[asked]};
}

/// One parameter of a tool: its name and the type in the schema.
struct Parameter {
  std::string_view name, type;
};

struct ToolKind {
  std::string_view name, description;
  std::array<Parameter, 2> parameters;  // an empty name: none
};

constexpr auto kTools = std::to_array<ToolKind>({
    {"weather", "weather of a city", {{{"city", "string"}, {}}}},
    {"clock", "time in a city", {{{"city", "string"}, {}}}},
    {"timer", "starts a timer", {{{"minutes", "integer"}, {}}}},
    {"multiply", "product of two numbers", {{{"a", "integer"}, {"b", "integer"}}}},
    {"lookup", "meaning of a word", {{{"word", "string"}, {}}}},
    {"note", "writes a note", {{{"text", "string"}, {}}}},
});

Tool Declare(const ToolKind& kind) {
  json::object properties;
  json::array required;
  for (const Parameter& parameter : kind.parameters) {
    if (parameter.name.empty()) continue;
    const json::string_view name(parameter.name.data(), parameter.name.size());
    properties[name] = {{"type", json::string_view(parameter.type.data(), parameter.type.size())}};
    required.emplace_back(name);
  }
  return {.name = std::string(kind.name),
          .description = std::string(kind.description),
          .parameters = {{"type", "object"}, {"properties", std::move(properties)}, {"required", std::move(required)}},
          .response = std::nullopt};
}

/// A question for a tool, the arguments of the right call, and what it is about.
struct Asked {
  std::string content, prompt;
  json::object arguments;
};

Asked Ask(TaskRandom& random, std::string_view tool) {
  if (tool == "weather" || tool == "clock") {
    const std::string city = random.Chance(40) ? std::string(random.Pick(kCities)) : RandomName(random, 3, 8);
    const std::string content = "city:" + city;
    const bool first = random.Chance(50);
    if (tool == "weather") {
      return {content,
              fmt::format(fmt::runtime(first ? "What is the weather in {}?" : "Is it raining in {}?"), city),
              {{"city", city}}};
    }
    return {content,
            fmt::format(fmt::runtime(first ? "What time is it in {}?" : "How late is it in {}?"), city),
            {{"city", city}}};
  }
  if (tool == "timer") {
    const int minutes = random.Between(1, 999);
    return {NumbersContent({minutes}), fmt::format("Set a timer for {} minutes.", minutes), {{"minutes", minutes}}};
  }
  if (tool == "multiply") {
    const int a = random.Between(100, 9999), b = random.Between(100, 9999);
    return {NumbersContent({a, b}), fmt::format("What is {} times {}?", a, b), {{"a", a}, {"b", b}}};
  }
  const std::string word = RandomWord(random, 2, 9);
  if (tool == "lookup") return {WordContent(word), fmt::format("What does \"{}\" mean?", word), {{"word", word}}};
  return {WordContent(word), fmt::format("Write down \"{}\".", word), {{"text", word}}};
}

}  // namespace

TaskDraft DrawQuestion(TaskRandom& random) {
  constexpr std::array kKinds = {AboutNumbers, AboutNumbers, AboutOneNumber, AboutWord, AboutPeople};
  return random.Pick(kKinds)(random);
}

TaskDraft DrawThink(TaskRandom& random) {
  const int a = random.Between(10, 99), b = random.Between(2, 99), c = random.Between(2, 99);
  switch (random.Below(3)) {
    case 0:
      return {.content = NumbersContent({a, b, c}),
              .prompt = fmt::format("What is {} plus {} plus {}?", a, b, c),
              .answer = std::to_string(a + b + c),
              .thought = fmt::format("{} + {} = {}, {} + {} = {}", a, b, a + b, a + b, c, a + b + c)};
    case 1: {
      const int digit = random.Between(2, 9), tens = a / 10 * 10, ones = a % 10;
      return {.content = NumbersContent({a, digit}),
              .prompt = fmt::format("What is {} times {}?", a, digit),
              .answer = std::to_string(a * digit),
              .thought = fmt::format("{} * {} = {}, {} * {} = {}, {} + {} = {}", tens, digit, tens * digit, ones, digit,
                                     ones * digit, tens * digit, ones * digit, a * digit)};
    }
    default: {
      const std::string_view things = random.Pick(kThings);
      return {.content = NumbersContent({a, b, c}),
              .prompt = fmt::format("{} has {} {}, gets {} and then {} more. How many are there now?",
                                    RandomName(random, 3, 6), a, things, b, c),
              .answer = fmt::format("{} {}", a + b + c, things),
              .thought = fmt::format("{} + {} = {}, {} + {} = {}", a, b, a + b, a + b, c, a + b + c)};
    }
  }
}

TaskDraft DrawTool(TaskRandom& random) {
  std::array<ToolKind, kTools.size()> kinds = kTools;
  random.Shuffle(std::span<ToolKind>(kinds));
  const int declared = random.Between(1, 2);
  const ToolKind& wanted = kinds[random.Below(static_cast<uint32_t>(declared))];
  Asked asked = Ask(random, wanted.name);
  TaskDraft draft{.content = std::move(asked.content), .prompt = std::move(asked.prompt), .answer = ""};
  draft.calls.push_back({.name = std::string(wanted.name), .arguments = std::move(asked.arguments)});
  for (size_t i = 0; i < static_cast<size_t>(declared); ++i) draft.tools.push_back(Declare(kinds[i]));
  return draft;
}

}  // namespace dgemma
