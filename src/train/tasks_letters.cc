// Tasks on letters: upper, lower, reverse, spell, sorting letters; and where their words come from.
#include <algorithm>
#include <array>
#include <string>

#include "train/tasks_draft.h"

namespace dgemma {
namespace {

constexpr auto kWords = std::to_array<std::string_view>(
    {"apple",  "arm",    "art",     "baby",    "back",   "bag",     "ball",    "bank",    "bath",    "beach",
     "bean",   "bear",   "bed",     "bell",    "bird",   "black",   "blue",    "boat",    "body",    "bone",
     "book",   "box",    "boy",     "branch",  "bread",  "bridge",  "bright",  "brown",   "bus",     "butter",
     "button", "cake",   "camp",    "car",     "card",   "castle",  "cat",     "chair",   "cheese",  "child",
     "circle", "city",   "clean",   "clock",   "cloud",  "coat",    "coffee",  "cold",    "corn",    "cow",
     "cup",    "dance",  "dark",    "day",     "deep",   "desk",    "dinner",  "dog",     "door",    "draw",
     "dream",  "dress",  "drink",   "drum",    "dry",    "duck",    "dust",    "ear",     "earth",   "east",
     "egg",    "engine", "evening", "eye",     "face",   "family",  "farm",    "father",  "feather", "field",
     "finger", "fire",   "fish",    "flag",    "floor",  "flower",  "fly",     "food",    "foot",    "forest",
     "fork",   "fox",    "friend",  "frog",    "fruit",  "game",    "garden",  "gate",    "girl",    "glass",
     "goat",   "gold",   "grass",   "green",   "ground", "hair",    "hammer",  "hand",    "happy",   "hat",
     "head",   "heart",  "hill",    "honey",   "horse",  "hour",    "house",   "ice",     "ink",     "iron",
     "island", "jacket", "jump",    "key",     "king",   "kitchen", "knife",   "ladder",  "lake",    "lamp",
     "leaf",   "leg",    "lemon",   "letter",  "light",  "lion",    "lunch",   "magic",   "map",     "market",
     "meal",   "milk",   "mind",    "minor",   "mirror", "money",   "moon",    "morning", "mother",  "mountain",
     "mouse",  "mouth",  "music",   "name",    "neck",   "needle",  "nest",    "net",     "night",   "north",
     "nose",   "nut",    "ocean",   "oil",     "orange", "oven",    "owl",     "page",    "paint",   "paper",
     "park",   "pear",   "pen",     "pencil",  "people", "piano",   "picture", "pig",     "pillow",  "plane",
     "plant",  "plate",  "pocket",  "potato",  "queen",  "quick",   "rabbit",  "rain",    "red",     "rice",
     "ring",   "river",  "road",    "rock",    "roof",   "room",    "root",    "rope",    "rose",    "sail",
     "salt",   "sand",   "school",  "sea",     "seed",   "sheep",   "shelf",   "ship",    "shirt",   "shoe",
     "shop",   "silver", "sister",  "skin",    "sky",    "sleep",   "smoke",   "snake",   "snow",    "soap",
     "sock",   "song",   "soup",    "south",   "spoon",  "spring",  "square",  "stable",  "star",    "station",
     "stone",  "storm",  "street",  "sugar",   "summer", "sun",     "table",   "tail",    "teacher", "tent",
     "thread", "three",  "thumb",   "tiger",   "time",   "tooth",   "tower",   "town",    "train",   "tree",
     "two",    "uncle",  "valley",  "village", "violin", "voice",   "wall",    "warm",    "watch",   "water",
     "wave",   "west",   "wheel",   "white",   "wind",   "window",  "wing",    "winter",  "wolf",    "woman",
     "wonder", "wood",   "wool",    "word",    "world",  "yard",    "year",    "yellow",  "young",   "zebra",
     "zero"});

constexpr std::string_view kConsonants = "bcdfghjklmnpqrstvwxyz";
constexpr std::string_view kVowels = "aeiou";

char Letter(TaskRandom& random, std::string_view letters) {
  return letters[random.Below(static_cast<uint32_t>(letters.size()))];
}

std::string Upper(std::string text) {
  for (char& c : text) c = static_cast<char>(c - 'a' + 'A');
  return text;
}

std::string Reversed(std::string_view text) { return {text.rbegin(), text.rend()}; }

}  // namespace

std::string RandomWord(TaskRandom& random, int low, int high) {
  const uint32_t kind = random.Below(100);
  if (kind < 40) {
    for (int attempt = 0; attempt < 20; ++attempt) {
      const std::string_view word = random.Pick(kWords);
      if (std::ssize(word) >= low && std::ssize(word) <= high) return std::string(word);
    }
  }
  const int length = random.Between(low, high);
  std::string word;
  bool vowel = random.Chance(30);
  while (std::ssize(word) < length) {
    if (kind < 75) {
      word += Letter(random, vowel ? kVowels : kConsonants);
      vowel = vowel ? random.Chance(15) : random.Chance(85);
    } else {
      word += static_cast<char>('a' + random.Below(26));
    }
  }
  return word;
}

std::string RandomName(TaskRandom& random, int low, int high) {
  std::string name = RandomWord(random, low, high);
  name[0] = static_cast<char>(name[0] - 'a' + 'A');
  return name;
}

std::string WordContent(std::string_view word) { return "word:" + std::min(std::string(word), Reversed(word)); }

TaskDraft DrawReverse(TaskRandom& random) {
  const std::string word = RandomWord(random, 2, 10);
  return {.content = WordContent(word), .prompt = "reverse " + word, .answer = Reversed(word)};
}

TaskDraft DrawUpper(TaskRandom& random) {
  const std::string word = RandomWord(random, 2, 12);
  return {.content = WordContent(word), .prompt = "upper " + word, .answer = Upper(word)};
}

TaskDraft DrawLower(TaskRandom& random) {
  const std::string word = RandomWord(random, 2, 12);
  return {.content = WordContent(word), .prompt = "lower " + Upper(word), .answer = word};
}

TaskDraft DrawSpell(TaskRandom& random) {
  const std::string word = RandomWord(random, 2, 12);
  std::string spelled;
  for (const char c : word) spelled += (spelled.empty() ? "" : " ") + std::string(1, c);
  return {.content = WordContent(word), .prompt = "spell " + word, .answer = spelled};
}

TaskDraft DrawSortLetters(TaskRandom& random) {
  std::string letters;
  for (int left = random.Between(2, 9); left > 0; --left) letters += static_cast<char>('a' + random.Below(26));
  std::string sorted = letters;
  std::ranges::sort(sorted);
  TaskDraft draft{.content = "letters:" + sorted, .prompt = "sort", .answer = ""};
  for (size_t i = 0; i < letters.size(); ++i) {
    draft.prompt += std::string(" ") + letters[i];
    draft.answer += (i == 0 ? "" : " ") + std::string(1, sorted[i]);
  }
  return draft;
}

}  // namespace dgemma
