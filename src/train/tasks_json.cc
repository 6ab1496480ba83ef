// Tasks on JSON: key=value text to an object, and edits of an object.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <utility>

#include "train/tasks_draft.h"

namespace dgemma {
namespace {

constexpr auto kKeys = std::to_array<std::string_view>(
    {"name", "age",   "city",  "job",  "color", "size",  "code", "price", "team", "pet",  "lang",
     "zone", "level", "score", "year", "file",  "count", "kind", "unit",  "open", "done", "id"});
constexpr auto kNames =
    std::to_array<std::string_view>({"ada", "bob", "kim", "lee", "eva", "ben", "ann", "tom", "max", "zoe"});
constexpr auto kCities =
    std::to_array<std::string_view>({"rome", "oslo", "tokyo", "paris", "lima", "cairo", "delhi", "bern"});

std::string Quote(std::string_view text) { return fmt::format("\"{}\"", text); }

/// A value as JSON writes it: a word, a number, true or false.
std::string Value(TaskRandom& random) {
  const uint32_t kind = random.Below(100);
  if (kind < 55) return Quote(RandomWord(random, 2, 7));
  if (kind < 90) return std::to_string(random.Between(0, random.Chance(70) ? 99 : 9999));
  return kind < 95 ? "true" : "false";
}

/// Different keys with any values.
JsonMembers AnyMembers(TaskRandom& random, int count) {
  JsonMembers members;
  while (std::ssize(members) < count) {
    std::string key(random.Pick(kKeys));
    if (random.Chance(15)) key = RandomWord(random, 2, 5);
    if (std::ranges::find(members, key, &JsonMembers::value_type::first) != members.end()) continue;
    members.emplace_back(std::move(key), Value(random));
  }
  return members;
}

/// name, age and city in any order.
JsonMembers PersonMembers(TaskRandom& random) {
  const bool known = random.Chance(50);
  JsonMembers members = {{"name", Quote(known ? random.Pick(kNames) : RandomWord(random, 2, 7))},
                         {"age", std::to_string(random.Between(1, 99))},
                         {"city", Quote(known ? random.Pick(kCities) : RandomWord(random, 3, 8))}};
  random.Shuffle(std::span(members));
  return members;
}

/// "json:" and the members in order of their keys.
std::string ContentOf(JsonMembers members) {
  std::ranges::sort(members);
  return "json:" + CompactJson(members);
}

/// A value as key=value text writes it: words without quotes.
std::string_view Bare(std::string_view value) {
  return value.starts_with('"') ? value.substr(1, value.size() - 2) : value;
}

/// A key that the object does not have.
std::string OtherKey(TaskRandom& random, const JsonMembers& members) {
  while (true) {
    std::string key(random.Pick(kKeys));
    if (std::ranges::find(members, key, &JsonMembers::value_type::first) == members.end()) return key;
  }
}

}  // namespace

std::string CompactJson(const JsonMembers& members) {
  std::string text = "{";
  for (const auto& [key, value] : members) text += (text.size() > 1 ? "," : "") + fmt::format("\"{}\":{}", key, value);
  return text + "}";
}

TaskDraft DrawJson(TaskRandom& random) {
  const JsonMembers members = random.Chance(50) ? PersonMembers(random) : AnyMembers(random, random.Between(1, 4));
  TaskDraft draft{.content = ContentOf(members), .prompt = "json", .answer = CompactJson(members)};
  for (const auto& [key, value] : members) draft.prompt += fmt::format(" {}={}", key, Bare(value));
  return draft;
}

TaskDraft DrawJsonSet(TaskRandom& random) {
  const JsonMembers members = AnyMembers(random, random.Between(1, 3));
  JsonMembers edited = members;
  const std::string value = Value(random);
  std::string key;
  if (random.Chance(70)) {
    auto& member = edited[random.Below(static_cast<uint32_t>(edited.size()))];
    key = member.first;
    member.second = value;
  } else {
    key = OtherKey(random, members);
    edited.emplace_back(key, value);
  }
  return {.content = ContentOf(members),
          .prompt = fmt::format("set {}={} in {}", key, value, CompactJson(members)),
          .answer = CompactJson(edited)};
}

TaskDraft DrawJsonDelete(TaskRandom& random) {
  const JsonMembers members = AnyMembers(random, random.Between(1, 4));
  JsonMembers edited = members;
  const auto at = static_cast<std::ptrdiff_t>(random.Below(static_cast<uint32_t>(members.size())));
  edited.erase(edited.begin() + at);
  return {.content = ContentOf(members),
          .prompt = fmt::format("delete {} in {}", members[static_cast<size_t>(at)].first, CompactJson(members)),
          .answer = CompactJson(edited)};
}

TaskDraft DrawJsonRename(TaskRandom& random) {
  const JsonMembers members = AnyMembers(random, random.Between(1, 4));
  JsonMembers edited = members;
  std::string& key = edited[random.Below(static_cast<uint32_t>(edited.size()))].first;
  const std::string from = std::exchange(key, OtherKey(random, members));
  return {.content = ContentOf(members),
          .prompt = fmt::format("rename {} to {} in {}", from, key, CompactJson(members)),
          .answer = CompactJson(edited)};
}

}  // namespace dgemma
