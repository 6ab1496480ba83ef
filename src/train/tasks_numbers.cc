// Tasks on numbers: sorting, arithmetic, counting, dates and units.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "train/tasks_draft.h"

namespace dgemma {
namespace {

constexpr std::array kMonths = {"January", "February", "March",     "April",   "May",      "June",
                                "July",    "August",   "September", "October", "November", "December"};

struct Unit {
  std::string_view large, small;
  int factor;  // small ones in a large one
};

constexpr auto kUnits = std::to_array<Unit>({{"km", "m", 1000},
                                             {"m", "cm", 100},
                                             {"cm", "mm", 10},
                                             {"m", "mm", 1000},
                                             {"kg", "g", 1000},
                                             {"g", "mg", 1000},
                                             {"t", "kg", 1000},
                                             {"l", "ml", 1000},
                                             {"l", "cl", 100},
                                             {"h", "min", 60},
                                             {"min", "s", 60},
                                             {"days", "h", 24},
                                             {"weeks", "days", 7}});

/// A number of `digits` digits, the first of which is not 0 unless there is only one.
int WithDigits(TaskRandom& random, int digits) {
  int low = 1;
  for (int i = 1; i < digits; ++i) low *= 10;
  return random.Between(digits == 1 ? 0 : low, low * 10 - 1);
}

TaskDraft Operation(std::string_view verb, int a, int b, int result) {
  return {.content = NumbersContent({a, b}),
          .prompt = fmt::format("{} {} {}", verb, a, b),
          .answer = std::to_string(result)};
}

TaskDraft Count(int from, int to) {
  std::vector<int> numbers;
  const int step = from < to ? 1 : -1;
  for (int number = from; number != to + step; number += step) numbers.push_back(number);
  return {.content = fmt::format("count:{}-{}", std::min(from, to), std::max(from, to)),
          .prompt = fmt::format("count {} to {}", from, to),
          .answer = fmt::format("{}", fmt::join(numbers, " "))};
}

std::string IsoDate(std::chrono::year_month_day date) {
  return fmt::format("{:04}-{:02}-{:02}", static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                     static_cast<unsigned>(date.day()));
}

}  // namespace

std::string NumbersContent(std::vector<int> numbers) {
  std::ranges::sort(numbers);
  return fmt::format("numbers:{}", fmt::join(numbers, ","));
}

TaskDraft DrawSort(TaskRandom& random) {
  const int most = random.Chance(70) ? 99 : 999;
  std::vector<int> numbers(static_cast<size_t>(random.Between(2, 8)));
  for (int& number : numbers) number = random.Between(1, most);
  std::vector<int> sorted = numbers;
  std::ranges::sort(sorted);
  return {.content = NumbersContent(numbers),
          .prompt = fmt::format("sort {}", fmt::join(numbers, " ")),
          .answer = fmt::format("{}", fmt::join(sorted, " "))};
}

TaskDraft DrawAdd(TaskRandom& random) {
  // Half of them three digits and three, as the starter model has them.
  const bool three = random.Chance(50);
  const int a = WithDigits(random, three ? 3 : random.Between(2, 6));
  const int b = WithDigits(random, three ? 3 : random.Between(1, 6));
  return Operation("add", a, b, a + b);
}

TaskDraft DrawSub(TaskRandom& random) {
  int a = WithDigits(random, random.Between(2, 5)), b = WithDigits(random, random.Between(1, 5));
  if (a < b && random.Chance(80)) std::swap(a, b);
  return Operation("sub", a, b, a - b);
}

TaskDraft DrawMul(TaskRandom& random) {
  int a = WithDigits(random, random.Between(2, 3)), b = WithDigits(random, random.Between(1, 2));
  if (random.Chance(50)) std::swap(a, b);
  return Operation("mul", a, b, a * b);
}

TaskDraft DrawCountUp(TaskRandom& random) {
  const int from = random.Between(1, random.Chance(60) ? 30 : 200);
  return Count(from, from + random.Between(1, 11));
}

TaskDraft DrawCountDown(TaskRandom& random) {
  const int to = random.Between(1, random.Chance(60) ? 30 : 200);
  return Count(to + random.Between(1, 11), to);
}

TaskDraft DrawDate(TaskRandom& random) {
  using namespace std::chrono;
  constexpr sys_days kFirst = year{1950} / January / 1, kLast = year{2049} / December / 31;
  const sys_days drawn = kFirst + days{random.Below(static_cast<uint32_t>((kLast - kFirst).count()))};
  const year_month_day date{drawn};
  const std::string iso = IsoDate(date);
  const int year_number = static_cast<int>(date.year());
  const unsigned month_number = static_cast<unsigned>(date.month()), day_number = static_cast<unsigned>(date.day());
  const std::string spelled = fmt::format("{} {} {}", day_number, kMonths[month_number - 1], year_number);
  const std::string slashes = fmt::format("{:02}/{:02}/{}", month_number, day_number, year_number);
  TaskDraft draft{.content = "date:" + iso, .prompt = "", .answer = ""};
  const auto is = [&draft](std::string prompt, std::string answer) {
    draft.prompt = "date " + std::move(prompt);
    draft.answer = std::move(answer);
  };
  switch (random.Below(5)) {
    case 0:
      is(iso + " long", spelled);
      break;
    case 1:
      is(iso + " us", slashes);
      break;
    case 2:
      is(spelled + " iso", iso);
      break;
    case 3:
      is(slashes + " iso", iso);
      break;
    default:
      // Every second one at the end of a month, where it is not just the next number.
      if (random.Chance(50)) {
        const year_month_day month_end{date.year() / date.month() / last};
        draft.content = "date:" + IsoDate(month_end);
        is(IsoDate(month_end) + " next", IsoDate(year_month_day{sys_days{month_end} + days{1}}));
      } else {
        is(iso + " next", IsoDate(year_month_day{drawn + days{1}}));
      }
  }
  return draft;
}

TaskDraft DrawUnit(TaskRandom& random) {
  const Unit unit = random.Pick(kUnits);
  const int amount = random.Between(1, random.Chance(50) ? 99 : 999);
  const std::string large = fmt::format("{} {}", amount, unit.large);
  const std::string small = fmt::format("{} {}", amount * unit.factor, unit.small);
  const std::string content = fmt::format("unit:{}={}", large, small);
  if (random.Chance(50))
    return {.content = content, .prompt = fmt::format("unit {} in {}", large, unit.small), .answer = small};
  return {.content = content, .prompt = fmt::format("unit {} in {}", small, unit.large), .answer = large};
}

}  // namespace dgemma
