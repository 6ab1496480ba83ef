// A whole server whose model is scripted: HTTP, service and scheduler are real, the network is a test that reads from the
// user's message what to answer. So thoughts, tool calls, long and slow answers come exactly as a test wants them.
#pragma once

#include <atomic>
#include <chrono>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine/scheduler.h"
#include "server/completion_service.h"
#include "server/health.h"
#include "server/http_server.h"
#include "support/idle_kernels.h"

namespace dgemma::test {

/// Zeroed memory can be had; nothing is computed.
class WireKernels final : public IdleKernels {
 public:
  /// Zeros, when another key takes a slot.
  void Upload(std::span<const float> source, Matrix target) override { CopyRows(source.data(), target); }
  /// The opening of a prompt that another slot holds.
  void Copy(Matrix source, Matrix target) override { CopyRows(source, target); }
  void Sample(HeadScratch&, std::span<const int32_t>, std::span<const double>, std::span<int32_t> ids) override {
    std::fill(ids.begin(), ids.end(), 300);
  }
};

inline Config WireConfig() {
  Config config;
  config.vocab = 512;
  config.width = 4;
  config.window = 16;
  config.max_positions = 2048;
  config.canvas = 16;
  config.image_token = 251;
  config.layers = {{true, 1, 1}, {false, 1, 1}};
  return config;
}

/// What the scripted model answers to a prompt (its text, control tokens spelled out): the last user message with [think],
/// [/think], [call], [/call] and [q] as markup, and a turn's end; behind a tool's result "result: " and the result.
/// Without any of these words it is a plain echo.
std::string ScriptedReply(std::string prompt);

/// Passes that predict ScriptedReply, surely at the second step of each canvas.
class WirePasses final : public PassExecutor {
 public:
  WirePasses(const Engine& texts, Kernels& kernels, int64_t canvases)
      : texts_(texts), kernels_(kernels), canvases_(canvases), scratch_(kernels.MakeHeadScratch()) {}

  int64_t max_rows() const override { return 256 + canvases_ * WireConfig().canvas; }
  int64_t max_canvases() const override { return canvases_; }
  Result<void> Run(std::span<PassJob* const> jobs, std::stop_token stop) override;

  std::atomic<int> milliseconds{0};  ///< that a pass takes
  std::atomic<int> passes{0};
  std::atomic<bool> poison{false};  ///< predictions are NaN
  std::atomic<bool> frozen{false};  ///< a pass that began does not end while this is set, also when it is cancelled

 private:
  /// The answer being written on a cache. What stands in the cache itself are the ids of its tokens.
  struct Sheet {
    std::vector<int32_t> reply;
    int64_t reply_begin = 0;
    int step = 0;
  };

  void Predict(PassJob& job);

  const Engine& texts_;
  Kernels& kernels_;
  const int64_t canvases_;
  std::unique_ptr<HeadScratch> scratch_;
  std::vector<float> soft_ = std::vector<float>(16 * 4);
  std::map<const KvCache*, Sheet> sheets_;
  std::list<std::vector<HeadRow>> rows_;
};

struct ScriptedServerOptions {
  int64_t slots = 2;
  int port = 0;
  ServerLimits limits = {};
  std::vector<std::pair<std::string, std::string>> keys = {};  ///< name, key
};

class ScriptedServer {
 public:
  explicit ScriptedServer(const ScriptedServerOptions& options = {});
  ~ScriptedServer();

  int port() const { return server->port(); }
  /// As `dgemma serve` does at the first SIGTERM.
  void Drain() {
    server->Drain();
    scheduler->CloseQueue();
  }
  /// Lines of the log so far.
  std::string Log();

  std::atomic<std::chrono::milliseconds> clock_ahead{};  ///< of the scheduler, before the machine's
  std::unique_ptr<Engine> engine;                        ///< the starter model, for its texts only
  WireKernels kernels;
  Model model;
  std::unique_ptr<WirePasses> passes;
  std::unique_ptr<Scheduler> scheduler;
  Metrics metrics;
  std::unique_ptr<CompletionService> service;
  std::unique_ptr<Router> router;
  std::unique_ptr<HttpServer> server;

 private:
  SchedulerParts parts_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::mutex log_mutex_;
  std::string log_;
};

}  // namespace dgemma::test
