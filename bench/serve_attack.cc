// What hostile and too many clients cost a running `dgemma serve`, against the promises in SECURITY.md: idle
// connections and slow heads beside active clients (C1), requests without a key (C2), ten times the load it can bear
// (D4), what times of answers tell about keys and other people's prompts (G2, I1), and whether hours of everything leave
// something behind (E1, only when asked for). Clients and server share the machine. Prints a table, or JSON.
//   serve_attack DGEMMA [MODEL] [--json] [--seconds N] [--probes N] [--samples CSV] [--only c1,c2,d4,timing,soak]
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <deque>
#include <optional>
#include <random>
#include <thread>

#include "attack_client.h"
#include "soak.h"

namespace dgemma::attack {
namespace {

using std::chrono::milliseconds;

constexpr int kPerAddress = 50;  // connections; the server takes 64 of an address
constexpr int kIdle = 1000, kSlow = 200, kPairs = 5;
constexpr int kQueue = 64, kSlots = 4;
constexpr double kMostLateSeconds = 0.1;  // requests that are due for longer are left out, not sent all at once

struct Arguments {
  std::string program, model;
  bool json = false;
  double seconds = 10;  // of each measurement
  int probes = 1000;    // of each kind, for the areas under the curve
  std::string only = "c1,c2,d4,timing";
  std::string samples;  // file for those of the soak

  bool Wants(const std::string& part) const { return only.find(part) != std::string::npos; }
};

/// A line of the report. `most`: what is promised; a negative value: none, the line explains another.
struct Line {
  std::string promise, what;
  double value = 0;
  std::string unit;
  double most = -1;
};

double Percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  return values[static_cast<size_t>(share * static_cast<double>(values.size() - 1) + 0.5)];
}

/// The share of pairs in which the second took longer; 0.5: times tell nothing.
double AreaUnderCurve(const std::vector<double>& first, const std::vector<double>& second) {
  std::vector<std::pair<double, bool>> all;
  for (const double time : first) all.emplace_back(time, false);
  for (const double time : second) all.emplace_back(time, true);
  std::ranges::sort(all);
  double pairs = 0, firsts = 0;
  for (const auto& [time, is_second] : all) {
    if (is_second)
      pairs += firsts;
    else
      ++firsts;
  }
  return pairs / (static_cast<double>(first.size()) * static_cast<double>(second.size()));
}

double Cores() { return std::max(1U, std::thread::hardware_concurrency()); }

/// The same work every time.
std::string Question() {
  return Post("/v1/chat/completions", R"({"messages":[{"role":"user","content":"upper cat"}],"max_tokens":16,"seed":1,)"
                                      R"("diffusion":{"steps":8,"confidence":0}})");
}

// ---- C1: a crowd that does nothing ----------------------------------------------------------------------------------

/// Idle connections and such whose heads come a byte a second, opened again when the server closes them. A thread of
/// their own, whose processor time is counted: it takes from the server what other machines' attackers would not.
class Crowd {
 public:
  explicit Crowd(int port) : port_(port) {
    for (int number = 0; number < kIdle + kSlow; ++number) members_.push_back(Join(number));
    thread_ = std::jthread([this](const std::stop_token& over) { Stir(over); });
  }
  /// Seconds of processor so far.
  double CpuSeconds() const { return cpu_seconds_; }
  int open() const { return open_; }

 private:
  /// Each member once a second, one after the other.
  void Stir(const std::stop_token& over) {
    constexpr size_t kParts = 50;
    for (size_t part = 0; !over.stop_requested(); part = (part + 1) % kParts) {
      Response ignored;
      for (size_t at = part; at < members_.size(); at += kParts) {
        Connection& member = members_[at];
        if (at >= kIdle) member.SendPiece("x");
        (void)member.Read(ignored);
        if (!member.open()) member = Join(static_cast<int>(at));
      }
      if (part == 0) {
        open_ = static_cast<int>(std::ranges::count_if(members_, [](const Connection& some) { return some.open(); }));
      }
      timespec used{};
      ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
      cpu_seconds_ = static_cast<double>(used.tv_sec) + 1e-9 * static_cast<double>(used.tv_nsec);
      std::this_thread::sleep_for(milliseconds(1000 / kParts));
    }
  }
  Connection Join(int number) const {
    Connection member(port_, 10 + number / kPerAddress);
    if (number >= kIdle) member.SendPiece("GET /health HTTP/1.1\r\nX: ");
    return member;
  }

  int port_;
  std::vector<Connection> members_;
  std::atomic<double> cpu_seconds_ = 0;
  std::atomic<int> open_ = 0;
  std::jthread thread_;  // last: ends first
};

struct Pace {
  double per_second = 0;
  double server_cpu = 0;       // seconds of processor for each answer
  double server_share = 0;     // seconds of processor a second
  std::vector<double> health;  // seconds
  int failed = 0;
};

/// `clients` that ask one thing after the other, and one that asks for health fifty times a second.
Pace Measure(const ServerProcess& server, int clients, double seconds) {
  const int port = server.port();
  std::vector<Connection> active;
  for (int number = 0; number < clients; ++number) active.emplace_back(port, 100 + number / kPerAddress);
  active.emplace_back(port, 200);
  std::vector<Connection*> all;
  for (Connection& connection : active) all.push_back(&connection);
  Connection& watcher = active.back();
  const std::string question = Question(), health = Get("/health");
  for (size_t at = 0; at + 1 < active.size(); ++at) active[at].Ask(question);
  Pace pace;
  Response response;
  int64_t answers = 0;
  Standstill standstill;
  const double cpu = server.CpuSeconds();
  const auto begin = Clock::now();
  auto next_health = begin;
  while (SecondsSince(begin) - standstill.seconds() < seconds) {
    const auto now = Clock::now();
    if (now >= next_health && !watcher.asking()) {
      watcher.Ask(health);
      next_health = now + milliseconds(20);
    }
    const std::vector<size_t> readable = Readable(all, 5);
    standstill.Look();
    for (const size_t at : readable) {
      if (!active[at].Read(response)) continue;
      const bool watches = at + 1 == active.size();
      if (!active[at].open()) active[at] = Connection(port, watches ? 200 : 100 + static_cast<int>(at) / kPerAddress);
      if (watches) {
        if (!standstill.Covers(response)) pace.health.push_back(response.seconds);
        continue;
      }
      response.status == 200 ? ++answers : ++pace.failed;
      active[at].Ask(question);
    }
  }
  pace.per_second = static_cast<double>(answers) / (SecondsSince(begin) - standstill.seconds());
  const double used = server.CpuSeconds() - cpu;
  pace.server_cpu = used / std::max(1.0, static_cast<double>(answers));
  pace.server_share = used / (SecondsSince(begin) - standstill.seconds());
  return pace;
}

void MeasureCrowd(const Arguments& arguments, std::vector<Line>& lines) {
  const ServerProcess server(arguments.program, arguments.model, {});
  (void)Measure(server, 4, 1);  // warm
  const double cores = Cores();
  {
    const Pace quiet = Measure(server, 0, arguments.seconds);
    const Crowd crowd(server.port());
    const Pace loud = Measure(server, 0, arguments.seconds);
    lines.push_back({"", "processor of the server for the crowd and nobody else, of all cores",
                     100 * (loud.server_share - quiet.server_share) / cores, "%"});
  }
  for (const int clients : {8, 64}) {
    std::vector<double> alone, crowded, lost, own, cpu_alone, cpu_crowded, cpu_more, attacker, health_alone, health;
    int failed = 0, held = 0;
    for (int pair = 0; pair < kPairs; ++pair) {
      const Pace quiet = Measure(server, clients, arguments.seconds);
      std::optional<Crowd> crowd(std::in_place, server.port());
      const double begin_cpu = crowd->CpuSeconds();
      const auto begin = Clock::now();
      const Pace loud = Measure(server, clients, arguments.seconds);
      const double taken = (crowd->CpuSeconds() - begin_cpu) / SecondsSince(begin) / cores;
      held = crowd->open();
      crowd.reset();
      std::this_thread::sleep_for(milliseconds(500));  // until the server has seen them go
      alone.push_back(quiet.per_second);
      crowded.push_back(loud.per_second);
      attacker.push_back(100 * taken);
      lost.push_back(100 * (1 - loud.per_second / quiet.per_second));
      own.push_back(100 * (1 - loud.per_second / quiet.per_second / (1 - taken)));
      cpu_alone.push_back(1000 * quiet.server_cpu);
      cpu_crowded.push_back(1000 * loud.server_cpu);
      cpu_more.push_back(100 * (loud.server_cpu / quiet.server_cpu - 1));
      health_alone.insert(health_alone.end(), quiet.health.begin(), quiet.health.end());
      health.insert(health.end(), loud.health.begin(), loud.health.end());
      failed += quiet.failed + loud.failed;
    }
    const auto add = [&](std::string promise, const char* what, double value, std::string unit, double most = -1) {
      lines.push_back({std::move(promise), fmt::format("{} active, {}", clients, what), value, std::move(unit), most});
    };
    add("", "answers alone", Percentile(alone, 0.5), "/s");
    add("", "answers in the crowd", Percentile(crowded, 0.5), "/s");
    add("", "throughput lost, median of pairs", Percentile(lost, 0.5), "%");
    add("", "... least", Percentile(lost, 0), "%");
    add("", "... most", Percentile(lost, 1), "%");
    add("", "the attacker's thread, of all cores", Percentile(attacker, 0.5), "%");
    add("C1", "throughput lost beyond what that took", Percentile(own, 0.5), "%", 5);
    add("", "processor of the server for an answer alone", Percentile(cpu_alone, 0.5), "ms");
    add("", "processor of the server for an answer in the crowd", Percentile(cpu_crowded, 0.5), "ms");
    add("", "... more, median of pairs", Percentile(cpu_more, 0.5), "%");
    add("", "health p99 alone", 1000 * Percentile(health_alone, 0.99), "ms");
    add("", "health p50 in the crowd", 1000 * Percentile(health, 0.5), "ms");
    add("C1", "health p99 in the crowd", 1000 * Percentile(health, 0.99), "ms", 50);
    add("C1", "answers that failed", static_cast<double>(failed), "", 0);
    add("", "of the crowd connected at the end", static_cast<double>(held), "");
  }
}

// ---- C2: nobody with a key ------------------------------------------------------------------------------------------

void MeasureUnkeyed(const Arguments& arguments, std::vector<Line>& lines) {
  const KeyFile keys;
  const ServerProcess server(arguments.program, arguments.model, {"--api-key-file", keys.path()});
  std::string fields;
  for (int field = 0; field < 60; ++field) fields += fmt::format("X-{}: {}\r\n", field, std::string(200, 'f'));
  const std::vector<std::pair<const char*, std::string>> kinds = {
      {"no key", Question()},
      {"a wrong key and 12 KiB of fields", Get("/v1/models", "X-Api-Key: not-the-key\r\n" + fields)},
      {"no HTTP", std::string(16'000, '\0')},
      {"health", Get("/health")}};
  for (const auto& [name, request] : kinds) {
    constexpr int kRequests = 2000;
    for (const bool warm : {false, true}) {
      const double begin = server.CpuSeconds();
      for (int number = 0; number < kRequests; ++number) {
        Connection connection(server.port(), 1);
        (void)AskAndWait(connection, request);
      }
      const double each = (server.CpuSeconds() - begin) / kRequests;
      if (warm) lines.push_back({"C2", fmt::format("processor time of a request with {}", name), 1000 * each, "ms", 1});
    }
  }
  const int64_t before = server.RssBytes();
  std::vector<Connection> held;
  for (int number = 0; number < 120; ++number) {
    held.emplace_back(server.port(), 10 + number / kPerAddress);
    held.back().SendPiece("GET / HTTP/1.1\r\n" + fields.substr(0, 12'000));
  }
  std::this_thread::sleep_for(milliseconds(300));
  const double each = static_cast<double>(server.RssBytes() - before) / 120;
  lines.push_back({"C2", "memory of a connection with 12 KiB of an unfinished head", each / 1024, "KiB", 64});
}

// ---- D4: too many ---------------------------------------------------------------------------------------------------

struct Flood {
  std::vector<double> answered, refused;  // seconds
  int failed = 0;
  double per_second = 0;  // answers
  size_t connections = 0;
  double stood_still = 0;  // seconds
  double cpu = 0;          // of all cores, what this program itself took

  /// One of `turns` that make up this one.
  void Add(const Flood& turn, int turns) {
    answered.insert(answered.end(), turn.answered.begin(), turn.answered.end());
    refused.insert(refused.end(), turn.refused.begin(), turn.refused.end());
    failed += turn.failed;
    per_second += turn.per_second / turns;
    connections = std::max(connections, turn.connections);
    stood_still += turn.stood_still;
    cpu += turn.cpu / turns;
  }
};

/// Seconds of processor of this program.
double OwnCpuSeconds() {
  timespec used{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) + 1e-9 * static_cast<double>(used.tv_nsec);
}

/// Requests at `rate` a second whatever becomes of them; with rate 0 by as many clients as the server has places for.
Flood Pour(int port, double rate, double seconds) {
  std::deque<Connection> connections;
  std::vector<Connection*> all;
  const std::string question = Question();
  const auto open = [&] {
    connections.emplace_back(port, 10 + static_cast<int>(connections.size()) / kPerAddress);
    all.push_back(&connections.back());
    return connections.size() - 1;
  };
  std::vector<size_t> free;
  Flood flood;
  Response response;
  if (rate == 0) {
    for (int number = 0; number < kSlots + kQueue; ++number) connections[open()].Ask(question);
  }
  const double warm = std::min(3.0, seconds / 4);
  const auto begin = Clock::now();
  int64_t asked = 0, counted = 0;
  Standstill standstill;
  const double own_cpu = OwnCpuSeconds();
  while (SecondsSince(begin) < seconds) {
    const auto due = static_cast<int64_t>(rate * SecondsSince(begin));
    asked = std::max(asked, due - static_cast<int64_t>(kMostLateSeconds * rate));
    for (; asked < due; ++asked) {
      size_t at = 0;
      if (free.empty()) {
        at = open();
      } else {
        at = free.back();
        free.pop_back();
      }
      if (!connections[at].open()) connections[at] = Connection(port, 10 + static_cast<int>(at) / kPerAddress);
      connections[at].Ask(question);
    }
    const std::vector<size_t> readable = Readable(all, 1);
    if (standstill.Look()) {  // the server may have given up what waits here
      for (const size_t at : free) connections[at].Close();
    }
    for (const size_t at : readable) {
      if (!connections[at].asking()) {  // closed by the server for having been idle
        connections[at].Close();
        continue;
      }
      if (!connections[at].Read(response)) continue;
      if (SecondsSince(begin) > warm && !standstill.Covers(response)) {
        if (response.status == 200) {
          flood.answered.push_back(response.seconds);
          ++counted;
        } else if (response.status == 429) {
          flood.refused.push_back(response.seconds);
        } else {
          ++flood.failed;
          fmt::print(stderr, "status {} after {:.3f} s: {:.200}\n", response.status, response.seconds, response.body);
        }
      }
      if (rate > 0) {
        free.push_back(at);
        continue;
      }
      if (!connections[at].open()) connections[at] = Connection(port, 10 + static_cast<int>(at) / kPerAddress);
      connections[at].Ask(question);
    }
  }
  flood.per_second = static_cast<double>(counted) / (seconds - warm - standstill.seconds());
  flood.connections = connections.size();
  flood.stood_still = standstill.seconds();
  flood.cpu = (OwnCpuSeconds() - own_cpu) / (seconds - standstill.seconds()) / Cores();
  return flood;
}

/// One times and ten times the load in turns, since other work on the machine comes and goes: the ratio is one of neighbours.
void MeasureOverload(const Arguments& arguments, std::vector<Line>& lines) {
  constexpr int kTurns = 10;
  const ServerProcess server(arguments.program, arguments.model, {"--parallel", std::to_string(kSlots)});
  const double seconds = 2 * arguments.seconds / kTurns;  // of ten times the load
  double rate = Pour(server.port(), 0, seconds).per_second;
  const double rss = static_cast<double>(server.RssBytes());
  Flood full, over;
  std::vector<double> ratios;
  for (int turn = 0; turn < kTurns; ++turn) {
    const Flood full_now = Pour(server.port(), 0, seconds / 2);
    const Flood over_now = Pour(server.port(), 10 * rate, seconds);
    rate = full_now.per_second;
    ratios.push_back(Percentile(over_now.answered, 0.95) / Percentile(full_now.answered, 0.95));
    full.Add(full_now, kTurns);
    over.Add(over_now, kTurns);
  }
  const double grown = static_cast<double>(server.RssBytes()) - rss;
  const auto count = [](const std::vector<double>& values) { return static_cast<double>(values.size()); };
  lines.push_back({"", "answers at 1x, the queue full", full.per_second, "/s"});
  lines.push_back({"", "answers at 10x", over.per_second, "/s"});
  lines.push_back({"", "p95 of those taken at 1x", 1000 * Percentile(full.answered, 0.95), "ms"});
  lines.push_back({"", "p95 of those taken at 10x", 1000 * Percentile(over.answered, 0.95), "ms"});
  lines.push_back({"D4", "the one divided by the other, median of ten turns", Percentile(ratios, 0.5), "", 1.5});
  lines.push_back({"", "... largest", Percentile(ratios, 1), ""});
  lines.push_back({"", "the clients' share of all cores at 1x", 100 * full.cpu, "%"});
  lines.push_back({"", "the clients' share of all cores at 10x", 100 * over.cpu, "%"});
  lines.push_back({"", "refused at 10x", count(over.refused), ""});
  lines.push_back({"", "p50 of refusals", 1000 * Percentile(over.refused, 0.5), "ms"});
  lines.push_back({"D4", "p95 of refusals", 1000 * Percentile(over.refused, 0.95), "ms", 20});
  lines.push_back({"", "p99 of refusals", 1000 * Percentile(over.refused, 0.99), "ms"});
  lines.push_back({"D4", "neither answered nor refused", static_cast<double>(full.failed + over.failed), "", 0});
  lines.push_back({"", "connections for that", static_cast<double>(over.connections), ""});
  lines.push_back({"", "the machine stood still", full.stood_still + over.stood_still, "s"});
  lines.push_back({"D4", "memory grown meanwhile", grown / (1 << 20), "MiB", 4});
}

// ---- G2 and I1: times that tell -------------------------------------------------------------------------------------

void MeasureTiming(const Arguments& arguments, std::vector<Line>& lines) {
  const KeyFile keys;
  const ServerProcess server(arguments.program, arguments.model, {"--api-key-file", keys.path()});
  std::mt19937 random(9);
  const auto wanted = static_cast<size_t>(arguments.probes);

  std::vector<double> nothing, almost;
  while (nothing.size() < wanted || almost.size() < wanted) {
    const bool near = random() % 2 == 0;
    Connection connection(server.port(), 1);
    const Response response =
        AskAndWait(connection, Get("/v1/models", near ? "X-Api-Key: key-of-anX\r\n" : "X-Api-Key: zzzzzzzzzz\r\n"));
    (near ? almost : nothing).push_back(response.seconds);
  }
  const double key_area = AreaUnderCurve(nothing, almost);
  lines.push_back(
      {"I1", "telling an almost right key from a wrong one", std::max(key_area, 1 - key_area), "AUC", 0.55});

  const auto text = [&random] {
    std::string letters(150, ' ');
    for (char& letter : letters) letter = static_cast<char>('a' + random() % 26);
    return letters;
  };
  const auto ask = [](Connection& connection, const std::string& prompt, const char* key) {
    return AskAndWait(connection,
                      Post("/completion", R"({"prompt":")" + prompt + R"(","n_predict":1,"diffusion":{"steps":1}})",
                           fmt::format("X-Api-Key: {}\r\n", key)));
  };
  // Bob guesses what Ann asked; then Ann asks again herself, which has to show.
  std::vector<double> hit, miss, own_hit, own_miss;
  int failed = 0;
  while (hit.size() < wanted || miss.size() < wanted) {
    Connection ann(server.port(), 2), bob(server.port(), 3);  // one would not last for all probes
    const std::string secret = text(), other = text();
    failed += ask(ann, secret, "key-of-ann").status != 200;
    const bool right = random() % 2 == 0;
    const Response guess = ask(bob, right ? secret : other, "key-of-bob");
    (right ? hit : miss).push_back(guess.seconds);
    const Response own = ask(ann, right ? secret : text(), "key-of-ann");
    (right ? own_hit : own_miss).push_back(own.seconds);
    failed += (guess.status != 200) + (own.status != 200);
  }
  const double prefix_area = AreaUnderCurve(hit, miss);
  lines.push_back(
      {"G2", "telling another key's prompt from a new one", std::max(prefix_area, 1 - prefix_area), "AUC", 0.55});
  lines.push_back({"", "the same for one's own prompts, which are reused", AreaUnderCurve(own_hit, own_miss), "AUC"});
  lines.push_back({"G2", "probes that failed", static_cast<double>(failed), "", 0});
}

// ---- E1: hours ------------------------------------------------------------------------------------------------------

void MeasureSoak(const Arguments& arguments, std::vector<Line>& lines) {
  const SoakFigures soak = Soak({.program = arguments.program,
                                 .model = arguments.model,
                                 .seconds = arguments.seconds,
                                 .samples_file = arguments.samples});
  const double percent = 100 / std::max(1.0, soak.mean_bytes);
  const auto number = [](int64_t count) { return static_cast<double>(count); };
  lines.push_back({"", "answers 2xx", number(soak.answers[2]), ""});
  lines.push_back({"", "answers 4xx", number(soak.answers[4]), ""});
  lines.push_back({"", "answers 5xx", number(soak.answers[5]), ""});
  lines.push_back({"", "requests that were cut off", number(soak.answers[0]), ""});
  lines.push_back({"E1", "answers of another status than expected", number(soak.unexpected), "", 0});
  lines.push_back({"", "processor of the server", 100 * soak.server_cpu, "%"});
  lines.push_back({"", "memory, mean", soak.mean_bytes / (1 << 20), "MiB"});
  lines.push_back({"", "... the last tenth less the first", (soak.last_bytes - soak.first_bytes) / 1024, "KiB"});
  lines.push_back({"", "... slope", soak.slope_bytes_per_day * percent, "% a day"});
  lines.push_back({"", "... standard error of the slope", soak.slope_error * percent, "% a day"});
  lines.push_back({"E1", "... slope less two standard errors",
                   (soak.slope_bytes_per_day - 2 * soak.slope_error) * percent, "% a day", 1});
  lines.push_back({"", "... slope and two standard errors", (soak.slope_bytes_per_day + 2 * soak.slope_error) * percent,
                   "% a day"});
  lines.push_back(
      {"E1", "descriptors more than at the begin", number(soak.descriptors_after - soak.descriptors_before), "", 0});
}

void Print(const std::vector<Line>& lines, bool json) {
  if (json) {
    std::string separator = "[";
    for (const Line& line : lines) {
      fmt::print(R"({}{{"promise":"{}","what":"{}","value":{:.4f},"unit":"{}")", separator, line.promise, line.what,
                 line.value, line.unit);
      if (line.most >= 0) fmt::print(R"(,"most":{},"kept":{})", line.most, line.value <= line.most);
      fmt::print("}}");
      separator = ",\n ";
    }
    fmt::print("]\n");
    return;
  }
  fmt::print("| promise | | measured | at most | |\n|---|---|---|---|---|\n");
  for (const Line& line : lines) {
    fmt::print("| {} | {} | {:.4g} {} | {} | {} |\n", line.promise, line.what, line.value, line.unit,
               line.most < 0 ? "" : fmt::format("{}", line.most),
               line.most < 0 ? "" : (line.value <= line.most ? "kept" : "missed"));
  }
}

int Run(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const auto next = [&] { return std::string(++i < argc ? argv[i] : ""); };
    if (argument == "--json")
      arguments.json = true;
    else if (argument == "--seconds")
      arguments.seconds = std::atof(next().c_str());
    else if (argument == "--probes")
      arguments.probes = std::atoi(next().c_str());
    else if (argument == "--only")
      arguments.only = next();
    else if (argument == "--samples")
      arguments.samples = next();
    else if (arguments.program.empty())
      arguments.program = argument;
    else
      arguments.model = argument;
  }
  if (arguments.program.empty() || arguments.seconds <= 0 || arguments.probes < 1) {
    fmt::print(stderr,
               "usage: serve_attack DGEMMA [MODEL] [--json] [--seconds N] [--probes N] [--samples CSV] "
               "[--only c1,c2,d4,timing,soak]\n");
    return 2;
  }
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = std::min<rlim_t>(files.rlim_max, 8192);
  ::setrlimit(RLIMIT_NOFILE, &files);
  std::vector<Line> lines;
  if (arguments.Wants("c1")) MeasureCrowd(arguments, lines);
  if (arguments.Wants("c2")) MeasureUnkeyed(arguments, lines);
  if (arguments.Wants("d4")) MeasureOverload(arguments, lines);
  if (arguments.Wants("timing")) MeasureTiming(arguments, lines);
  if (arguments.Wants("soak")) MeasureSoak(arguments, lines);
  Print(lines, arguments.json);
  return std::ranges::all_of(lines, [](const Line& line) { return line.most < 0 || line.value <= line.most; }) ? 0 : 1;
}

}  // namespace
}  // namespace dgemma::attack

int main(int argc, char** argv) { return dgemma::attack::Run(argc, argv); }
