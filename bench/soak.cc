// The mixture, its clients, the samples and the line through them.
#include "soak.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <thread>
#include <vector>

#include "attack_client.h"

namespace dgemma::attack {
namespace {

using std::chrono::milliseconds;

constexpr int kClients = 16;
constexpr int kMostPauseMs = 1000;  // of a client between an answer and its next request
constexpr int kPatienceSeconds = 30;
constexpr double kSampleSeconds = 10;
constexpr double kMostWarmSeconds = 20 * 60;
constexpr double kDaySeconds = 86'400;

/// What a client does next.
struct Act {
  std::string bytes;
  int status = 200;       ///< what it deserves; 0: anything
  int cut_after_ms = -1;  ///< the client goes then; -1: it waits for the answer
  bool closes = false;    ///< the server ends the connection after it
};

class Mixture {
 public:
  Act Next() {
    const int kind = Below(100);
    if (kind < 55) return Whole(Asked());
    if (kind < 70) return CutOff(Asked());
    if (kind < 80) return Bad();
    return Page();
  }
  int Below(int bound) { return std::uniform_int_distribution<int>(0, bound - 1)(random_); }

 private:
  static Act Whole(std::string bytes) { return {.bytes = std::move(bytes)}; }
  std::string Key() { return Below(2) == 0 ? "X-Api-Key: key-of-ann\r\n" : "Authorization: Bearer key-of-bob\r\n"; }

  /// Words of the embedded model's tasks and letters that nobody asked before, so that slots are used again in part.
  std::string Text() {
    static constexpr std::array kTasks = {"upper", "lower", "reverse", "sort", "count letters of", "title"};
    std::string text(kTasks[static_cast<size_t>(Below(kTasks.size()))]);
    for (int word = 1 + Below(6); word > 0; --word) {
      text += ' ';
      for (int letter = 1 + Below(8); letter > 0; --letter) text += static_cast<char>('a' + Below(26));
    }
    return text;
  }

  std::string Asked() {
    const std::string text = Text();
    const std::string_view stream = Below(2) == 0 ? "true" : "false";
    const std::string_view tools =
        Below(4) == 0 ? R"(,"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}])" : "";
    switch (Below(8)) {
      case 0:
        return Post("/v1/messages",
                    fmt::format(R"({{"max_tokens":24,"stream":{},"messages":[{{"role":"user","content":"{}"}}]}})",
                                stream, text),
                    Key());
      case 1:
        return Post("/api/chat",
                    fmt::format(R"({{"stream":{},"options":{{"num_predict":24}},"messages":[{{"role":"user",)"
                                R"("content":"{}"}}]{}}})",
                                stream, text, tools),
                    Key());
      case 2:
        return Post("/v1/responses", fmt::format(R"({{"stream":{},"input":"{}"}})", stream, text), Key());
      case 3:
        return Post("/completion", fmt::format(R"({{"stream":{},"prompt":"{}","n_predict":9}})", stream, text), Key());
      case 4:
        return Post("/v1/chat/completions",
                    fmt::format(R"({{"stream":{},"n":2,"max_tokens":24,"diffusion":{{"frames":{}}},"messages":[)"
                                R"({{"role":"user","content":"{}"}},{{"role":"assistant","content":"so"}},)"
                                R"({{"role":"user","content":"and then"}}]}})",
                                stream, stream, text),
                    Key());
      default:
        return Post("/v1/chat/completions",
                    fmt::format(R"({{"stream":{},"max_tokens":24,"messages":[{{"role":"user","content":"{}"}}]{}}})",
                                stream, text, tools),
                    Key());
    }
  }

  Act CutOff(std::string bytes) {
    if (Below(3) == 0) bytes.resize(static_cast<size_t>(Below(static_cast<int>(bytes.size()))));
    return {.bytes = std::move(bytes), .status = 0, .cut_after_ms = Below(60)};
  }

  Act Bad() {
    const std::string body(static_cast<size_t>(Below(3000)), '[');
    switch (Below(7)) {
      case 0:
        return {.bytes = Post("/v1/chat/completions", body, Key()), .status = 400};
      case 1:
        return {.bytes = Post("/v1/messages", R"({"messages":7})", Key()), .status = 400};
      case 2:
        return {.bytes = Get("/v1/models", "X-Api-Key: of-nobody\r\n"), .status = 401, .closes = true};
      case 3:
        return {.bytes = Get("/nothing", Key()), .status = 404};
      case 4:
        return {.bytes = "GET /health HTTP/1.1\r\n folded: 1\r\n\r\n", .status = 400, .closes = true};
      case 5:
        return {.bytes = "POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n" + Key() + "\r\n",
                .status = 413,
                .closes = true};
      default:
        return {.bytes = Post("/v1/embeddings", R"({"input":"a"})", Key()), .status = 501};
    }
  }

  Act Page() {
    static constexpr std::array kPages = {"/", "/metrics", "/health", "/v1/models", "/props", "/slots", "/api/tags"};
    return Whole(Get(kPages[static_cast<size_t>(Below(kPages.size()))], Key()));
  }

  std::mt19937 random_{5};
};

/// One who does one thing after the other.
struct Client {
  Connection connection;
  Act act;
  Clock::time_point opened;  // since then the machine has not stood still, or the connection may have been given up
  Clock::time_point next;    // when the next act begins, or this one is cut off
};

/// Gives the figures of the line through (seconds, bytes).
void Fit(const std::vector<std::pair<double, double>>& samples, SoakFigures& figures) {
  const auto count = static_cast<double>(samples.size());
  figures.samples = std::ssize(samples);
  if (count < 3) return;
  double time = 0, bytes = 0;
  for (const auto& [at, value] : samples) time += at / count, bytes += value / count;
  double across = 0, squares = 0;
  for (const auto& [at, value] : samples) across += (at - time) * (value - bytes), squares += (at - time) * (at - time);
  const double slope = across / squares;
  double left = 0, follows = 0, before = 0;
  for (const auto& [at, value] : samples) {
    const double off = value - bytes - slope * (at - time);
    left += off * off;
    follows += off * before;
    before = off;
  }
  const double likeness = left > 0 ? std::clamp(follows / left, 0.0, 0.99) : 0;
  figures.mean_bytes = bytes;
  figures.slope_bytes_per_day = slope * kDaySeconds;
  figures.slope_error = kDaySeconds * std::sqrt(left / (count - 2) / squares * (1 + likeness) / (1 - likeness));
  const size_t tenth = std::max<size_t>(1, samples.size() / 10);
  for (size_t at = 0; at < tenth; ++at) {
    figures.first_bytes += samples[at].second / static_cast<double>(tenth);
    figures.last_bytes += samples[samples.size() - 1 - at].second / static_cast<double>(tenth);
  }
}

}  // namespace

SoakFigures Soak(const SoakOptions& options) {
  const KeyFile keys;
  const ServerProcess server(options.program, options.model, {"--api-key-file", keys.path()});
  std::FILE* file = options.samples_file.empty() ? nullptr : std::fopen(options.samples_file.c_str(), "w");
  if (file != nullptr) fmt::print(file, "seconds,rss_bytes,anonymous_bytes,descriptors,cpu_seconds,answers\n");
  SoakFigures figures;
  figures.descriptors_before = server.Descriptors();
  Mixture mixture;
  const auto address = [](size_t at) { return 10 + static_cast<int>(at) / 8; };
  std::vector<Client> clients;
  std::vector<Connection*> all;
  for (size_t at = 0; at < kClients; ++at)
    clients.push_back({Connection(server.port(), address(at)), {}, Clock::now(), Clock::now()});
  for (Client& client : clients) all.push_back(&client.connection);
  const double warm = std::min(options.seconds / 4, kMostWarmSeconds);
  std::vector<std::pair<double, double>> samples;
  const auto begin = Clock::now();
  const double cpu_begin = server.CpuSeconds();
  double next_sample = 0;
  Response response;
  Standstill standstill;
  const auto fair = [&](const Client& client) { return standstill.end() <= client.opened; };
  const auto pause = [&](Client& client) {
    client.act = {};
    client.next = Clock::now() + milliseconds(mixture.Below(kMostPauseMs));
  };
  while (SecondsSince(begin) < options.seconds) {
    standstill.Look();
    const double now = SecondsSince(begin);
    if (now >= next_sample) {
      next_sample = now + kSampleSeconds;
      const auto bytes = static_cast<double>(server.AnonymousBytes());
      if (now >= warm) samples.emplace_back(now, bytes);
      if (file != nullptr) {
        int64_t answers = 0;
        for (const int64_t of_class : figures.answers) answers += of_class;
        fmt::print(file, "{:.1f},{},{:.0f},{},{:.2f},{}\n", now, server.RssBytes(), bytes, server.Descriptors(),
                   server.CpuSeconds() - cpu_begin, answers);
        std::fflush(file);
      }
    }
    for (size_t at = 0; at < clients.size(); ++at) {
      Client& client = clients[at];
      if (Clock::now() < client.next) continue;
      if (client.act.cut_after_ms >= 0) {  // its moment to go has come
        client.connection.Close();
        ++figures.answers[0];
        pause(client);
        continue;
      }
      if (!client.act.bytes.empty()) {  // nothing came for so long
        figures.unexpected += fair(client) ? 1 : 0;
        client.connection.Close();
        pause(client);
        continue;
      }
      if (!client.connection.open()) {
        client.connection = Connection(server.port(), address(at));
        client.opened = Clock::now();
      }
      client.act = mixture.Next();
      client.connection.Ask(client.act.bytes);
      client.next = Clock::now() + (client.act.cut_after_ms >= 0 ? milliseconds(client.act.cut_after_ms)
                                                                 : std::chrono::seconds(kPatienceSeconds));
    }
    for (const size_t at : Readable(all, 5)) {
      Client& client = clients[at];
      if (client.act.bytes.empty()) {  // closed by the server between two requests
        client.connection.Close();
        continue;
      }
      if (!client.connection.Read(response) || client.act.cut_after_ms >= 0) continue;
      ++figures.answers[static_cast<size_t>(std::clamp(response.status / 100, 0, 5))];
      if (response.status != client.act.status && (response.status != 0 || fair(client))) {
        ++figures.unexpected;
        fmt::print(stderr, "status {} instead of {}: {:.200}\n{:.300}\n", response.status, client.act.status,
                   client.act.bytes, response.body);
      }
      if (client.act.closes || !fair(client)) client.connection.Close();
      pause(client);
    }
  }
  figures.server_cpu = (server.CpuSeconds() - cpu_begin) / SecondsSince(begin);
  for (Client& client : clients) client.connection.Close();
  for (int tries = 0; tries < 100 && server.Descriptors() != figures.descriptors_before; ++tries)
    std::this_thread::sleep_for(milliseconds(100));
  figures.descriptors_after = server.Descriptors();
  if (file != nullptr) std::fclose(file);
  Fit(samples, figures);
  return figures;
}

}  // namespace dgemma::attack
