// Replays stored verdicts of the Rust crate safetensors 0.8.0 (tests/data/files/safetensors_verdicts.txt, written by
// compare_safetensors.py after a run without difference).
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <sstream>

#include "files/bytes.h"
#include "files/safetensors.h"
#include "safetensors_bytes.h"

namespace dgemma {
namespace {

std::string Unquote(const std::string& quoted) {
  std::string text;
  if (quoted == "%") return text;
  for (size_t i = 0; i < quoted.size(); ++i) {
    if (quoted[i] != '%') {
      text += quoted[i];
      continue;
    }
    text += static_cast<char>(std::stoi(quoted.substr(i + 1, 2), nullptr, 16));
    i += 2;
  }
  return text;
}

TEST(SafetensorsVerdicts, AgreeWithTheRustCrate) {
  // What our message says when a rule of the stricter list in files/safetensors.h is the reason.
  const std::map<std::string, std::vector<std::string>> reasons = {{"strict1", {"limit"}},
                                                                   {"strict2", {"does not begin with '{'"}},
                                                                   {"strict3", {"twice", "duplicate key"}},
                                                                   {"strict4", {"unknown key"}},
                                                                   {"strict5", {" where "}},
                                                                   {"strict6", {"less than a byte"}}};
  std::ifstream in(DGEMMA_SOURCE_DIR "/tests/data/files/safetensors_verdicts.txt");
  std::string line;
  std::map<std::string, int> counts;
  while (std::getline(in, line)) {
    if (line.starts_with('#')) continue;
    std::istringstream fields(line);
    std::string verdict, header;
    uint64_t declared = 0, data_bytes = 0;
    ASSERT_TRUE(fields >> verdict >> declared >> data_bytes >> header) << line;
    const std::string file = SafetensorsFile(declared, Unquote(header), data_bytes);
    const auto parsed = ParseSafetensors(AsBytes(file));
    ++counts[verdict];
    EXPECT_EQ(parsed.has_value(), verdict == "ok") << line << "\n" << (parsed ? "accepted" : parsed.error().message);
    if (parsed || verdict == "bad") continue;
    // A file may fall under several rules of the list; one of their messages must have been given.
    bool found = false;
    for (const auto& [rule, fragments] : reasons) {
      for (const std::string& fragment : fragments) found |= parsed.error().message.find(fragment) != std::string::npos;
    }
    EXPECT_TRUE(found) << line << "\n" << parsed.error().message;
  }
  EXPECT_GE(counts["ok"], 100);
  EXPECT_GE(counts["bad"], 100);
  for (const auto& [rule, fragments] : reasons) EXPECT_GE(counts[rule], 1) << rule;
}

}  // namespace
}  // namespace dgemma
