// The memory plan that `dgemma serve` prints against what the system counted at the peak (VmHWM), with every slot full.
// Both count anonymous memory and the mapped parts of the checkpoint: packed weights are used where they lie.
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <string>
#include <vector>

#include "files/temp_folder.h"
#include "model/kv_cache.h"
#include "model/synthesize.h"
#include "raw_client.h"

namespace dgemma::test {
namespace {

#if defined(__has_feature)
#define DGEMMA_HAS_FEATURE(x) __has_feature(x)
#else
#define DGEMMA_HAS_FEATURE(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || DGEMMA_HAS_FEATURE(address_sanitizer) || \
    DGEMMA_HAS_FEATURE(thread_sanitizer)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

/// The program with both of its outputs in one pipe.
class Child {
 public:
  explicit Child(std::vector<std::string> arguments) {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    arguments.insert(arguments.begin(), DGEMMA_PROGRAM);
    std::vector<char*> values;
    for (std::string& argument : arguments) values.push_back(argument.data());
    values.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(ends[1], 1);
      ::dup2(ends[1], 2);
      ::execv(values[0], values.data());
      ::_exit(127);
    }
    ::close(ends[1]);
    output_ = ::fdopen(ends[0], "r");
  }
  ~Child() {
    Signal(SIGKILL);
    Wait();
    ::fclose(output_);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  /// Reads up to a line that begins so, and returns what follows; nothing when none comes.
  std::string LineAfter(const std::string& start) {
    std::array<char, 1024> line{};
    while (::fgets(line.data(), static_cast<int>(line.size()), output_) != nullptr) {
      const std::string text = line.data();
      if (text.starts_with(start)) return text.substr(start.size());
      printed_ += text;
    }
    ADD_FAILURE() << "no line \"" << start << "\" after: " << printed_;
    return "";
  }
  /// The exit code.
  int Wait() {
    int status = 0;
    if (pid_ > 0) ::waitpid(pid_, &status, 0);
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  void Signal(int number) const {
    if (pid_ > 0) ::kill(pid_, number);
  }
  /// The largest resident size so far, files included.
  double PeakBytes() const {
    std::ifstream file(fmt::format("/proc/{}/status", pid_));
    std::string key;
    for (double kibibytes = 0; std::getline(file, key, ':'); file.ignore(256, '\n')) {
      if (key == "VmHWM" && file >> kibibytes) return kibibytes * 1024;
    }
    return 0;
  }

 private:
  pid_t pid_ = 0;
  FILE* output_ = nullptr;
  std::string printed_;
};

constexpr int kSlots = 2, kContext = 768;

/// One request for each slot at the same time; all of them end well.
void FillSlots(int port, int64_t prompt_tokens, const std::string& options) {
  std::vector<RawClient> clients;
  for (int slot = 0; slot < kSlots; ++slot) {
    std::vector<int> prompt;
    for (int64_t i = 0; i < prompt_tokens; ++i) prompt.push_back(3 + static_cast<int>(i * 7 + slot * 131) % 400);
    clients.emplace_back(port);
    clients.back().SetPatience(300'000);
    clients.back().Send(Post("/completion", fmt::format(R"({{"prompt": [{}], "n_predict": -1, "diffusion": {}}})",
                                                        fmt::join(prompt, ","), options)));
  }
  for (RawClient& client : clients) {
    const RawResponse answer = client.Read("POST");
    EXPECT_EQ(answer.status, 200) << answer.body;
  }
}

TEST(MemoryPlan, IsWhatServingTakes) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer's own memory is not planned";
  const Config config = *ParseConfig(*SyntheticConfig("mid"));
  const TempFolder folder;
  const std::string model = (folder.path() / "mid").string();
  EXPECT_EQ(Child({"synth", model, "--shape", "mid", "--type", "int4"}).Wait(), 0);

  Child server({"serve", model, "--port", "0", "--no-ui", "-t", "2", "-P", std::to_string(kSlots), "-c",
                std::to_string(kContext)});
  const double plan = 1e6 * std::stod("0" + server.LineAfter("memory "));
  const std::string address = server.LineAfter("listening on http://127.0.0.1:");
  ASSERT_FALSE(HasFailure());
  const int port = std::stoi(address);
  // Prompts up to the last canvas, in the largest pass there is: a piece of a prompt and every slot's canvas. Then once
  // more without the stores that leaving out rows needs; the prompts are read already.
  FillSlots(port, kContext - config.canvas, R"({"steps": 2, "skip": true})");
  FillSlots(port, kContext - config.canvas, R"({"steps": 2})");
  const double peak = server.PeakBytes();
  server.Signal(SIGTERM);
  EXPECT_EQ(server.Wait(), 0);

  // The last canvas of a context is never committed, so its keys and values stay untouched memory, and so do the logits
  // of autoregressive answers, which HTTP does not offer.
  const int64_t keys_and_values = KvCache::PlannedBytes(config, config.canvas, config.canvas);
  const int64_t logits = config.vocab * static_cast<int64_t>(sizeof(float));
  const auto untouched = static_cast<double>(kSlots * (keys_and_values + logits));
  const std::string figures =
      fmt::format("planned {:.1f} MB, at the peak {:.1f} MB ({:+.2f} %), at most {:.1f} MB untouched", plan / 1e6,
                  peak / 1e6, 100 * (plan / peak - 1), untouched / 1e6);
  RecordProperty("figures", figures);
  EXPECT_LE(peak, 1.02 * plan) << figures;
  EXPECT_GE(peak, 0.98 * plan - untouched) << figures;
}

}  // namespace
}  // namespace dgemma::test
