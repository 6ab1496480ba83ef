// Every kind of task is answered again from its prompt, by other means than the generator's: decimal arithmetic on
// strings, the C library's calendar, the JSON parser, a stack of brackets, patterns. Sudoku is in sudoku_test.cc and
// here by the rules.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <ctime>
#include <functional>
#include <iomanip>
#include <map>
#include <ranges>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "files/json.h"
#include "tasks_tokenizer.h"
#include "text/answer.h"
#include "train/sudoku.h"
#include "train/tasks.h"

namespace dgemma {
namespace {

constexpr uint64_t kDraws = 400;  // of each split

void ForEach(std::string_view task, const std::function<void(const TaskExample&, const std::string& answer)>& check,
             uint64_t draws = kDraws) {
  for (const Split split : {Split::kTrain, Split::kHeldOut}) {
    for (uint64_t index = 0; index < draws; ++index) {
      const auto example = MakeTask(task, {.seed = 4, .split = split, .index = index});
      ASSERT_TRUE(example);
      SCOPED_TRACE(example->prompt + " -> " + ReplyText(*example));
      check(*example, ReplyText(*example));
      if (testing::Test::HasFailure()) return;
    }
  }
}

std::vector<std::string> Words(const std::string& text, char at) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, at);) parts.push_back(part);
  return parts;
}

// What follows the first word of a prompt.
std::string Behind(const std::string& prompt, const std::string& verb) {
  EXPECT_TRUE(prompt.starts_with(verb + " ")) << prompt;
  return prompt.substr(verb.size() + 1);
}

TEST(TaskAnswers, SortNumbers) {
  ForEach("sort", [](const TaskExample& example, const std::string& answer) {
    std::vector<int> numbers;
    for (const std::string& part : Words(Behind(example.prompt, "sort"), ' ')) numbers.push_back(std::stoi(part));
    std::sort(numbers.begin(), numbers.end());
    std::string expected;
    for (const int number : numbers) expected += (expected.empty() ? "" : " ") + std::to_string(number);
    EXPECT_EQ(answer, expected);
  });
}

TEST(TaskAnswers, SortLetters) {
  ForEach("sort-letters", [](const TaskExample& example, const std::string& answer) {
    std::vector<std::string> letters = Words(Behind(example.prompt, "sort"), ' ');
    std::sort(letters.begin(), letters.end());
    EXPECT_EQ(Words(answer, ' '), letters);
  });
}

TEST(TaskAnswers, Letters) {
  const auto word = [](const TaskExample& example) { return Words(example.prompt, ' ').at(1); };
  const auto mapped = [](std::string text, int (*map)(int)) {
    for (char& c : text) c = static_cast<char>(map(c));
    return text;
  };
  ForEach("reverse", [&](const TaskExample& example, std::string answer) {
    std::reverse(answer.begin(), answer.end());
    EXPECT_EQ(example.prompt, "reverse " + answer);
  });
  ForEach("upper", [&](const TaskExample& example, const std::string& answer) {
    EXPECT_EQ(answer, mapped(word(example), std::toupper));
  });
  ForEach("lower", [&](const TaskExample& example, const std::string& answer) {
    EXPECT_EQ(answer, mapped(word(example), std::tolower));
  });
  ForEach("spell", [&](const TaskExample& example, std::string answer) {
    EXPECT_EQ(answer.size(), 2 * word(example).size() - 1);
    std::erase(answer, ' ');
    EXPECT_EQ(example.prompt, "spell " + answer);
  });
}

// Decimal numbers as strings without sign.
std::string AddStrings(const std::string& a, const std::string& b) {
  std::string sum;
  int carry = 0;
  for (size_t i = 0; i < std::max(a.size(), b.size()) || carry > 0; ++i) {
    const int x = i < a.size() ? a[a.size() - 1 - i] - '0' : 0, y = i < b.size() ? b[b.size() - 1 - i] - '0' : 0;
    sum.insert(sum.begin(), static_cast<char>('0' + (x + y + carry) % 10));
    carry = (x + y + carry) / 10;
  }
  const size_t first = sum.find_first_not_of('0');
  return first == std::string::npos ? "0" : sum.substr(first);
}

std::string MultiplyStrings(const std::string& a, const std::string& b) {
  std::string product = "0";
  for (const char digit : b) {
    product += '0';
    for (int times = 0; times < digit - '0'; ++times) product = AddStrings(product, a);
  }
  return AddStrings(product, "0");
}

TEST(TaskAnswers, Arithmetic) {
  ForEach("add", [](const TaskExample& example, const std::string& answer) {
    const auto parts = Words(example.prompt, ' ');
    EXPECT_EQ(answer, AddStrings(parts.at(1), parts.at(2)));
  });
  ForEach("sub", [](const TaskExample& example, const std::string& answer) {
    const auto parts = Words(example.prompt, ' ');
    if (answer.starts_with('-')) {
      EXPECT_EQ(AddStrings(parts.at(1), answer.substr(1)), AddStrings(parts.at(2), "0"));
    } else {
      EXPECT_EQ(AddStrings(parts.at(2), answer), AddStrings(parts.at(1), "0"));
    }
  });
  ForEach("mul", [](const TaskExample& example, const std::string& answer) {
    const auto parts = Words(example.prompt, ' ');
    EXPECT_EQ(answer, MultiplyStrings(parts.at(1), parts.at(2)));
  });
}

TEST(TaskAnswers, Count) {
  for (const std::string_view task : {"count", "count-down"}) {
    ForEach(task, [&](const TaskExample& example, const std::string& answer) {
      const auto parts = Words(example.prompt, ' ');
      const auto numbers = Words(answer, ' ');
      EXPECT_EQ(numbers.front(), parts.at(1));
      EXPECT_EQ(numbers.back(), parts.at(3));
      for (size_t i = 1; i < numbers.size(); ++i) {
        EXPECT_EQ(std::stoi(numbers[i]) - std::stoi(numbers[i - 1]), task == "count" ? 1 : -1);
      }
    });
  }
}

// A day by the C library: parsed with one format, moved by some days, printed with another.
std::string Reprinted(const std::string& text, const char* read, const char* print, int days) {
  std::tm day{};
  EXPECT_NE(strptime(text.c_str(), read, &day), nullptr) << text;
  day.tm_mday += days;
  day.tm_hour = 12;
  timegm(&day);
  std::ostringstream printed;
  printed << std::put_time(&day, print);
  const std::string out = printed.str();
  return out.starts_with('0') && std::string_view(print).starts_with("%d ") ? out.substr(1) : out;
}

TEST(TaskAnswers, Date) {
  std::map<std::string, int> forms;
  ForEach("date", [&](const TaskExample& example, const std::string& answer) {
    const std::string body = Behind(example.prompt, "date");
    const size_t space = body.rfind(' ');
    const std::string day = body.substr(0, space), form = body.substr(space + 1);
    ++forms[form];
    const char* read = day.find('-') != std::string::npos   ? "%Y-%m-%d"
                       : day.find('/') != std::string::npos ? "%m/%d/%Y"
                                                            : "%d %B %Y";
    const char* print = form == "long" ? "%d %B %Y" : form == "us" ? "%m/%d/%Y" : "%Y-%m-%d";
    EXPECT_EQ(answer, Reprinted(day, read, print, form == "next" ? 1 : 0));
  });
  EXPECT_EQ(forms.size(), 4U);
}

TEST(TaskAnswers, Unit) {
  // In the smallest unit of each kind.
  const std::map<std::string, long long> kSize = {
      {"km", 1'000'000}, {"m", 1000}, {"cm", 10}, {"mm", 1}, {"t", 1'000'000'000}, {"kg", 1'000'000}, {"g", 1000},
      {"mg", 1},         {"l", 1000}, {"cl", 10}, {"ml", 1}, {"weeks", 604'800},   {"days", 86'400},  {"h", 3600},
      {"min", 60},       {"s", 1}};
  ForEach("unit", [&](const TaskExample& example, const std::string& answer) {
    const auto asked = Words(example.prompt, ' '), given = Words(answer, ' ');
    EXPECT_EQ(asked.at(4), given.at(1));
    EXPECT_EQ(std::stoll(asked.at(1)) * kSize.at(asked.at(2)), std::stoll(given.at(0)) * kSize.at(given.at(1)));
  });
}

boost::json::object Parsed(const std::string& text) {
  const auto value = ParseJson(text);
  EXPECT_TRUE(value) << text << ": " << value.error().message;
  return value ? value->as_object() : boost::json::object();
}

std::vector<std::string> Keys(const boost::json::object& object) {
  std::vector<std::string> keys;
  for (const auto& member : object) keys.emplace_back(member.key().data(), member.key().size());
  return keys;
}

TEST(TaskAnswers, JsonFromText) {
  ForEach("json", [](const TaskExample& example, const std::string& answer) {
    const boost::json::object object = Parsed(answer);
    std::string text = "json";
    for (const auto& member : object) {
      text += " " + std::string(member.key().data(), member.key().size()) + "=";
      const auto& value = member.value();
      text += value.is_string() ? std::string(value.get_string())
              : value.is_bool() ? (value.get_bool() ? "true" : "false")
                                : std::to_string(value.as_int64());
    }
    EXPECT_EQ(example.prompt, text);
    EXPECT_EQ(answer.find(' '), std::string::npos);
  });
}

TEST(TaskAnswers, JsonEdits) {
  ForEach("json-set", [](const TaskExample& example, const std::string& answer) {
    std::smatch match;
    ASSERT_TRUE(std::regex_match(example.prompt, match, std::regex("set ([a-z]+)=(.+) in (\\{.*\\})")));
    boost::json::object object = Parsed(match[3]);
    const auto keys = Keys(object);
    object[match[1].str()] = *ParseJson(match[2].str());
    EXPECT_EQ(Parsed(answer), object);
    EXPECT_TRUE(std::ranges::equal(keys, Keys(Parsed(answer)) | std::views::take(keys.size())));
  });
  ForEach("json-delete", [](const TaskExample& example, const std::string& answer) {
    std::smatch match;
    ASSERT_TRUE(std::regex_match(example.prompt, match, std::regex("delete ([a-z]+) in (\\{.*\\})")));
    boost::json::object object = Parsed(match[2]);
    auto keys = Keys(object);
    EXPECT_EQ(std::erase(keys, match[1].str()), 1U);
    object.erase(match[1].str());
    EXPECT_EQ(Parsed(answer), object);
    EXPECT_EQ(Keys(Parsed(answer)), keys);
  });
  ForEach("json-rename", [](const TaskExample& example, const std::string& answer) {
    std::smatch match;
    ASSERT_TRUE(std::regex_match(example.prompt, match, std::regex("rename ([a-z]+) to ([a-z]+) in (\\{.*\\})")));
    const boost::json::object before = Parsed(match[3]), after = Parsed(answer);
    auto keys = Keys(before);
    std::ranges::replace(keys, match[1].str(), match[2].str());
    EXPECT_NE(keys, Keys(before));
    EXPECT_EQ(Keys(after), keys);
    EXPECT_EQ(after.at(match[2].str()), before.at(match[1].str()));
  });
}

// Whether brackets of a text match; what is still open afterwards goes to `open`.
bool Nested(const std::string& text, std::string& open) {
  for (const char c : text) {
    if (c == '(' || c == '[' || c == '{') open += c;
    if (c != ')' && c != ']' && c != '}') continue;
    if (open.empty() || open.back() != (c == ')' ? '(' : c == ']' ? '[' : '{')) return false;
    open.pop_back();
  }
  return true;
}

TEST(TaskAnswers, Brackets) {
  ForEach("brackets", [](const TaskExample& example, const std::string& answer) {
    std::string open, still_open;
    ASSERT_TRUE(Nested(Behind(example.prompt, "close"), open));
    EXPECT_EQ(answer.size(), open.size());
    EXPECT_TRUE(Nested(example.prompt + answer, still_open));
    EXPECT_EQ(still_open, "");
  });
}

TEST(TaskAnswers, Code) {
  // Lines with the hole filled; what is referred to has to be the same.
  const std::vector<std::regex> kLines = [] {
    const char* const lines[] = {
        R"(def (add|sub|mul|div|less|more|equal)\((\w+), (\w+)\): return \2 (\+|-|\*|/|<|>|==) \3)",
        R"(int max\(int (\w+), int (\w+)\) \{ return \1 > \2 \? \1 : \2; \})",
        R"(int min\(int (\w+), int (\w+)\) \{ return \1 < \2 \? \1 : \2; \})",
        R"(for \(int (\w+) = 0; \1 < (\w+); \1\+\+\) \{)",
        R"(for \w+ in \w+:)",
        R"((\w+) = (\w+); \2 = (\w+); \3 = \1;)",
        R"((\w+) = \[[0-9, ]+\]; (\1\[\d\]|len\(\1\)) is \d+)",
        R"(\w+ = \w+\(\w+\(\d+, \w+\)\))",
        R"(\w+ = \w+\[\w+\(\w+\(\d+\)\)\])",
        R"(if \(\w+ == \d+\) \{ \w+ = \w+; \})"};
    std::vector<std::regex> patterns;
    for (const char* line : lines) patterns.emplace_back(line);
    return patterns;
  }();
  const std::map<std::string, std::string> kSigns = {{"add", "+"},  {"sub", "-"},  {"mul", "*"},   {"div", "/"},
                                                     {"less", "<"}, {"more", ">"}, {"equal", "=="}};
  std::vector<int> seen(kLines.size());
  ForEach("code", [&](const TaskExample& example, const std::string& answer) {
    const std::string line = Behind(example.prompt, "fill");
    const size_t hole = line.find('_');
    ASSERT_EQ(hole, line.rfind('_'));
    ASSERT_NE(hole, std::string::npos);
    const std::string filled = line.substr(0, hole) + answer + line.substr(hole + 1);
    size_t kind = 0;
    std::smatch match;
    while (kind < kLines.size() && !std::regex_match(filled, match, kLines[kind])) ++kind;
    ASSERT_LT(kind, kLines.size()) << filled;
    ++seen[kind];
    if (kind == 0) {
      EXPECT_EQ(kSigns.at(match[1]), match[4]);
    }
    if (kind == 6) {
      const auto items = Words(filled.substr(filled.find('[') + 1, filled.find(']') - filled.find('[') - 1), ',');
      const std::string asked = match[2];
      const size_t number =
          asked.starts_with("len(") && asked.ends_with(")")
              ? items.size()
              : static_cast<size_t>(std::stoi(items.at(static_cast<size_t>(asked[asked.size() - 2] - '0'))));
      EXPECT_EQ(std::stoul(answer), number);
    }
  });
  EXPECT_EQ(std::ranges::count(seen, 0), 0);
}

// Numbers in a text, in order.
std::vector<int> Numbers(const std::string& text) {
  std::vector<int> numbers;
  const std::regex number("\\d+");
  for (std::sregex_iterator at(text.begin(), text.end(), number), end; at != end; ++at)
    numbers.push_back(std::stoi(at->str()));
  return numbers;
}

TEST(TaskAnswers, Question) {
  int kinds = 0;
  ForEach("question", [&](const TaskExample& example, const std::string& answer) {
    const std::string& prompt = example.prompt;
    const auto has = [&](const char* pattern, std::smatch& match) {
      return std::regex_search(prompt, match, std::regex(pattern));
    };
    const std::vector<int> n = Numbers(prompt);
    std::smatch match;
    ++kinds;
    if (has("^What is \\d+ (plus|minus) \\d+\\?$", match)) {
      EXPECT_EQ(std::stoi(answer), match[1] == "plus" ? n.at(0) + n.at(1) : n.at(0) - n.at(1));
    } else if (has("^Which number is (larger|smaller), \\d+ or \\d+\\?$", match)) {
      EXPECT_EQ(std::stoi(answer), match[1] == "larger" ? std::ranges::max(n) : std::ranges::min(n));
    } else if (has("^[A-Z][a-z]+ has \\d+ ([a-z]+) and gets \\d+ more\\. How many are there now\\?$", match)) {
      EXPECT_EQ(answer, std::to_string(n.at(0) + n.at(1)) + " " + match[1].str());
    } else if (has("^[A-Z][a-z]+ has \\d+ ([a-z]+) and gives away \\d+\\. How many are left\\?$", match)) {
      EXPECT_EQ(answer, std::to_string(n.at(0) - n.at(1)) + " " + match[1].str());
    } else if (has("^Is \\d*(\\d) even or odd\\?$", match)) {
      EXPECT_EQ(answer, std::string("02468").find(match[1].str()) != std::string::npos ? "even" : "odd");
    } else if (has("^What number comes (after|before) \\d+\\?$", match)) {
      EXPECT_EQ(std::stoi(answer) - n.at(0), match[1] == "after" ? 1 : -1);
    } else if (has("^How many letters are in \"([a-z]+)\"\\?$", match)) {
      EXPECT_EQ(std::stoi(answer), match[1].length());
    } else if (has("^What is the (first|last) letter of \"([a-z])([a-z]*)([a-z])\"\\?$", match)) {
      EXPECT_EQ(answer, match[1] == "first" ? match[2].str() : match[4].str());
    } else if (has("^(.*\\.) Where is ([A-Z][a-z]+)\\?$", match)) {
      EXPECT_NE(match[1].str().find(match[2].str() + " is in " + answer + "."), std::string::npos);
    } else if (has("^(.*\\.) Who is in ([A-Z][a-z]+)\\?$", match)) {
      EXPECT_NE((". " + match[1].str()).find(". " + answer + " is in " + match[2].str() + "."), std::string::npos);
    } else {
      ADD_FAILURE() << "an unknown question";
    }
  });
  EXPECT_EQ(kinds, 2 * static_cast<int>(kDraws));
}

TEST(TaskAnswers, ThinkIsReadByTheParserAndEveryLineOfThoughtIsTrue) {
  ForEach("think", [](const TaskExample& example, const std::string& answer) {
    const auto ids = TasksTokenizer().Encode(answer + "<turn|>", SpecialTokens::kParse);
    const ParsedAnswer parsed = ParseAnswer(TasksTokenizer(), ids, AnswerStart::kAnswer);
    EXPECT_EQ(parsed.end, AnswerEnd::kTurn);
    const std::vector<int> n = Numbers(example.prompt);
    const bool product = example.prompt.find(" times ") != std::string::npos;
    EXPECT_EQ(Numbers(parsed.text), std::vector{product ? n.at(0) * n.at(1) : n.at(0) + n.at(1) + n.at(2)});
    for (const std::string& step : Words(parsed.thought, ',')) {
      const std::vector<int> s = Numbers(step);
      EXPECT_EQ(s.at(2), step.find('*') != std::string::npos ? s.at(0) * s.at(1) : s.at(0) + s.at(1)) << step;
    }
    EXPECT_TRUE(Correct("think", example.prompt, answer, parsed.text));
  });
}

TEST(TaskAnswers, ToolCallsAreReadByTheParserAndNameADeclaredTool) {
  ForEach("tool", [](const TaskExample& example, const std::string& answer) {
    const auto ids = TasksTokenizer().Encode(answer + "<turn|>", SpecialTokens::kParse);
    const ParsedAnswer parsed = ParseAnswer(TasksTokenizer(), ids, AnswerStart::kAnswer);
    ASSERT_EQ(parsed.calls.size(), 1U);
    EXPECT_TRUE(parsed.broken_calls.empty());
    EXPECT_EQ(parsed.text, "");
    const ParsedToolCall& call = parsed.calls[0];
    const std::map<std::string, std::string> kAsked = {
        {"weather", "(?:What is the weather|Is it raining) in ([A-Z][a-z]+)\\?"},
        {"clock", "(?:What time is it|How late is it) in ([A-Z][a-z]+)\\?"},
        {"timer", "Set a timer for (\\d+) minutes\\."},
        {"multiply", "What is (\\d+) times (\\d+)\\?"},
        {"lookup", "What does \"([a-z]+)\" mean\\?"},
        {"note", "Write down \"([a-z]+)\"\\."}};
    std::smatch match;
    ASSERT_TRUE(std::regex_match(example.prompt, match, std::regex(kAsked.at(call.name))));
    const auto tool = std::ranges::find(example.tools, call.name, &Tool::name);
    ASSERT_NE(tool, example.tools.end());
    const auto& declared = tool->parameters.at("properties").as_object();
    ASSERT_EQ(call.arguments.size(), declared.size());
    ASSERT_EQ(match.size(), declared.size() + 1);
    size_t at = 1;
    for (const auto& member : declared) {
      const auto& value = call.arguments.at(member.key());
      EXPECT_EQ(value.is_string() ? std::string(value.get_string()) : std::to_string(value.as_int64()),
                match[at++].str());
      EXPECT_EQ(value.is_string(), member.value().at("type") == "string");
    }
  });
}

TEST(TaskAnswers, Sudoku) {
  const std::map<std::string, std::pair<int, int>> kGivens = {
      {"sudoku", {6, 13}}, {"sudoku6", {14, 26}}, {"sudoku9", {36, 46}}};
  for (const auto& [task, givens] : kGivens) {
    ForEach(
        task,
        [&](const TaskExample& example, const std::string& answer) {
          const bool nine = task == "sudoku9";
          const std::string head =
              nine ? "Solve this Sudoku puzzle. 0 marks an empty cell. Reply with the completed 9x9 grid.\n"
                   : "sudoku ";
          ASSERT_TRUE(example.prompt.starts_with(head));
          const auto rows = Words(example.prompt.substr(head.size()), nine ? '\n' : ' '), solved = Words(answer, '\n');
          ASSERT_EQ(rows.size(), solved.size());
          int given = 0;
          for (size_t row = 0; row < rows.size(); ++row) {
            ASSERT_EQ(rows[row].size(), rows.size());
            ASSERT_EQ(solved[row].size(), rows.size());
            for (size_t column = 0; column < rows.size(); ++column) {
              if (rows[row][column] == (nine ? '0' : '.')) continue;
              ++given;
              EXPECT_EQ(rows[row][column], solved[row][column]);
            }
          }
          EXPECT_GE(given, givens.first);
          EXPECT_LE(given, givens.second);
          EXPECT_TRUE(Correct(task, example.prompt, "", answer));
        },
        100);
  }
}

}  // namespace
}  // namespace dgemma
