// Tasks on code: closing brackets, and filling the one hole "_" of a line where only one filling makes sense.
#include <fmt/format.h>

#include <array>

#include "train/tasks_draft.h"

namespace dgemma {
namespace {

constexpr std::string_view kOpen = "([{", kClose = ")]}";

/// Different identifiers.
template <size_t N>
std::array<std::string, N> Identifiers(TaskRandom& random) {
  std::array<std::string, N> names;
  for (size_t i = 0; i < N; ++i) {
    bool fresh = false;
    while (!fresh) {
      names[i] =
          random.Chance(40) ? std::string(1, static_cast<char>('a' + random.Below(26))) : RandomWord(random, 2, 5);
      fresh = true;
      for (size_t other = 0; other < i; ++other) fresh = fresh && names[other] != names[i];
    }
  }
  return names;
}

TaskDraft Fill(std::string_view before, std::string_view hidden, std::string_view after) {
  return {.content = fmt::format("code:{}{}{}", before, hidden, after),
          .prompt = fmt::format("fill {}_{}", before, after),
          .answer = std::string(hidden)};
}

/// def add(a, b): return a + b
TaskDraft Operator(TaskRandom& random) {
  constexpr auto kKinds = std::to_array<std::pair<std::string_view, std::string_view>>(
      {{"add", "+"}, {"sub", "-"}, {"mul", "*"}, {"div", "/"}, {"less", "<"}, {"more", ">"}, {"equal", "=="}});
  const auto [name, sign] = random.Pick(kKinds);
  const auto [a, b] = Identifiers<2>(random);
  return Fill(fmt::format("def {}({}, {}): return {} ", name, a, b, a), sign, " " + b);
}

/// int max(int a, int b) { return a > b ? a : b; }
TaskDraft Choice(TaskRandom& random) {
  const auto [a, b] = Identifiers<2>(random);
  const bool largest = random.Chance(50);
  const std::string head = fmt::format("int {}(int {}, int {}) {{ return {} {} {} ? ", largest ? "max" : "min", a, b, a,
                                       largest ? '>' : '<', b);
  if (random.Chance(50)) return Fill(head, a, fmt::format(" : {}; }}", b));
  return Fill(head + a + " : ", b, "; }");
}

/// for (int i = 0; i < n; i++) {
TaskDraft Loop(TaskRandom& random) {
  const auto [i, n] = Identifiers<2>(random);
  switch (random.Below(3)) {
    case 0:
      return Fill(fmt::format("for (int {} = 0; {} < {}; ", i, i, n), i + "++", ") {");
    case 1:
      return Fill(fmt::format("for (int {} = 0; ", i), i, fmt::format(" < {}; {}++) {{", n, i));
    default:
      return Fill(fmt::format("for {} ", i), "in", fmt::format(" {}:", n));
  }
}

/// t = a; a = b; b = t;
TaskDraft Swap(TaskRandom& random) {
  const auto [t, a, b] = Identifiers<3>(random);
  switch (random.Below(3)) {
    case 0:
      return Fill(fmt::format("{} = {}; {} = {}; {} = ", t, a, a, b, b), t, ";");
    case 1:
      return Fill(fmt::format("{} = {}; {} = ", t, a, a), b, fmt::format("; {} = {};", b, t));
    default:
      return Fill(t + " = ", a, fmt::format("; {} = {}; {} = {};", a, b, b, t));
  }
}

/// a = [3, 4, 5]; a[1] is 4
TaskDraft Element(TaskRandom& random) {
  const auto [a] = Identifiers<1>(random);
  std::vector<int> numbers(static_cast<size_t>(random.Between(2, 5)));
  std::string list;
  for (int& number : numbers) {
    number = random.Between(0, 99);
    list += (list.empty() ? "" : ", ") + std::to_string(number);
  }
  const uint32_t at = random.Below(static_cast<uint32_t>(numbers.size()));
  const std::string head = fmt::format("{} = [{}]; ", a, list);
  if (random.Chance(30)) return Fill(fmt::format("{}len({}) is ", head, a), std::to_string(numbers.size()), "");
  return Fill(fmt::format("{}{}[{}] is ", head, a, at), std::to_string(numbers[at]), "");
}

/// a = b(c(1, 2))
TaskDraft Calls(TaskRandom& random) {
  const auto [a, b, c, d] = Identifiers<4>(random);
  const int x = random.Between(0, 99);
  switch (random.Below(3)) {
    case 0:
      return Fill(fmt::format("{} = {}({}({}, {}", a, b, c, x, d), "))", "");
    case 1:
      return Fill(fmt::format("{} = {}[{}({}({}", a, b, c, d, x), "))]", "");
    default:
      return Fill(fmt::format("if ({} == {}) {{ {} = {}; ", a, x, b, c), "}", "");
  }
}

}  // namespace

TaskDraft DrawBrackets(TaskRandom& random) {
  std::string text, open;
  const int length = random.Between(3, 14);
  while (std::ssize(text) < length) {
    const uint32_t kind = random.Below(100);
    if (kind < 50) {
      const uint32_t bracket = random.Below(3);
      text += kOpen[bracket];
      open += kClose[bracket];
    } else if (kind < 75 && !open.empty()) {
      text += open.back();
      open.pop_back();
    } else {
      text += static_cast<char>('a' + random.Below(26));
    }
  }
  if (open.empty()) {
    text += '(';
    open = ")";
  }
  return {.content = "brackets:" + text, .prompt = "close " + text, .answer = {open.rbegin(), open.rend()}};
}

TaskDraft DrawCode(TaskRandom& random) {
  constexpr std::array kKinds = {Operator, Choice, Loop, Swap, Element, Calls};
  return random.Pick(kKinds)(random);
}

}  // namespace dgemma
