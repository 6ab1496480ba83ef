// A signal while a model is loaded: what the program says and how it ends. The loading itself is played.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <thread>

#include "model_source.h"
#include "scripted_engine.h"

namespace dgemma {
namespace {

/// Raises a signal inside a loading, which ends as `load` does once it was asked to stop; expects line and exit code.
void ExpectCancelled(int signal, const Loading& load, int exit_code) {
  Signals signals;
  std::array<int, 2> err{};
  ASSERT_EQ(::pipe(err.data()), 0);
  Program program(signals, err[1], err[1]);
  const auto engine = WatchLoading(program, {}, [&](const EngineOptions& options) {
    ::kill(::getpid(), signal);
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!options.stop.stop_requested() && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return load(options);
  });
  ASSERT_FALSE(engine);
  program.Fail("run", engine.error());
  ::close(err[1]);
  std::array<char, 1000> text{};
  const ssize_t count = ::read(err[0], text.data(), text.size());
  ::close(err[0]);
  EXPECT_EQ(std::string(text.data(), count > 0 ? static_cast<size_t>(count) : 0), "dgemma: cancelled while loading\n");
  EXPECT_EQ(program.exit_code, exit_code);
}

TEST(Loading, ASignalEndsItWithOneLine) {
  const Loading stops = [](const EngineOptions&) -> Result<std::unique_ptr<Engine>> {
    return Fail(StatusCode::kCancelled, "model: cancelled while loading");
  };
  ExpectCancelled(SIGINT, stops, 130);
  ExpectCancelled(SIGTERM, stops, 143);
}

TEST(Loading, ASignalAfterTheLastTensorCountsToo) {
  const Loading ends = [](const EngineOptions&) -> Result<std::unique_ptr<Engine>> {
    return std::make_unique<ScriptedEngine>();
  };
  ExpectCancelled(SIGINT, ends, 130);
}

}  // namespace
}  // namespace dgemma
