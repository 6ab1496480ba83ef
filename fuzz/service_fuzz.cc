// Requests from their bytes to their answers. Connection, router, service and scheduler are the server's own; the socket is a
// string and the model is scripted. Whatever comes, every answer is whole, of a documented status and valid in its format, in
// bounded time, and nothing is left behind.
//
// The first byte of the input: size of the pieces that arrive (low five bits, as a power of two), kHasty, kRaw. Raw: the rest is what the
// client sends. Otherwise a byte that picks the route, one of Wish bits, and the body. The mutator is request_mutator.cc.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <thread>

#include "expect.h"
#include "files/json.h"
#include "server/connection.h"
#include "server/wire_scripted.h"

namespace {

using dgemma::Expect;
using dgemma::HttpMethod;
using dgemma::HttpRequest;
using dgemma::Reply;

constexpr uint8_t kPieceBits = 0x1F, kHasty = 0x40, kRaw = 0x80;
enum Wish : uint8_t { kOtherKey = 1, kNoKey = 2, kChunked = 4, kFrames = 8, kOldHttp = 16, kWatch = 32, kTwice = 64 };

// Of one input of at most 64 KiB, all threads together, with sanitizers.
constexpr double kMostSeconds = 10;

/// What the socket of a connection has received, and where it is.
struct Line {
  std::string incoming;
  size_t read = 0;
  size_t piece = 1;
  std::string sent;
  std::span<char> buffer;
  dgemma::SocketStream::Completion reading;  // waits for bytes
};

class LineStream final : public dgemma::SocketStream {
 public:
  LineStream(boost::asio::io_context& context, Line& line) : context_(context), line_(line) {}

  void Handshake(Completion done) override { Post(std::move(done), {}, 0); }
  void ReadSome(std::span<char> buffer, Completion done) override {
    const size_t bytes = std::min({buffer.size(), line_.piece, line_.incoming.size() - line_.read});
    if (bytes == 0) {
      line_.buffer = buffer;
      line_.reading = std::move(done);
      return;
    }
    std::memcpy(buffer.data(), line_.incoming.data() + line_.read, bytes);
    line_.read += bytes;
    Post(std::move(done), {}, bytes);
  }
  void WriteSome(std::string_view bytes, Completion done) override {
    bytes = bytes.substr(0, 64 * line_.piece);
    line_.sent += bytes;
    Post(std::move(done), {}, bytes.size());
  }
  void EndWriting(Completion done) override { Post(std::move(done), {}, 0); }
  bool takes_bytes_after_end() const override { return true; }
  void Close() override { End(boost::asio::error::operation_aborted); }
  /// The read under way finds no more bytes.
  void End(boost::system::error_code why) {
    if (line_.reading) Post(std::exchange(line_.reading, nullptr), why, 0);
  }

 private:
  void Post(Completion done, boost::system::error_code error, size_t bytes) {
    boost::asio::post(context_, [done = std::move(done), error, bytes] { done(error, bytes); });
  }

  boost::asio::io_context& context_;
  Line& line_;
};

/// What the log says of an answer.
struct Logged {
  std::string method;
  int status = 0;
};

dgemma::ServerLimits SmallLimits() {
  dgemma::ServerLimits limits;
  limits.head_bytes = 4096;
  limits.head_line_bytes = 1024;
  limits.head_fields = 24;
  limits.text_body_bytes = 32 << 10;
  limits.json_nodes = 2000;
  limits.messages = 16;
  limits.content_parts = 4;
  limits.tools = 4;
  limits.stop_strings = 4;
  limits.choices = 3;
  limits.log_lines_per_s = std::numeric_limits<int64_t>::max();
  // A machine that stands still for minutes is no finding.
  constexpr int64_t kHourMs = 3'600'000;
  for (int64_t* time : {&limits.head_ms, &limits.body_window_ms, &limits.write_stall_ms, &limits.request_ms,
                        &limits.stop_grace_ms, &limits.linger_ms, &limits.keep_alive_ms, &limits.queue_wait_ms})
    *time = kHourMs;
  return limits;
}

class Bench {
 public:
  Bench()
      : server_({.slots = 2, .port = 0, .limits = SmallLimits(), .keys = {{"ann", kAnn}, {"bob", kBob}}}),
        routes_(Watched()),
        router_(routes_, Options()),
        table_(router_, SmallLimits(),
               dgemma::RequestLog([this](std::string_view line) { OnLog(line); }, SmallLimits()), &server_.metrics,
               "fuzz") {}

  void Run(std::span<const uint8_t> input);

 private:
  static constexpr const char *kAnn = "key-of-ann", *kBob = "key-of-bob";

  static dgemma::RouterOptions Options() {
    dgemma::RouterOptions options;
    Expect(options.keys.Add("ann", kAnn) && options.keys.Add("bob", kBob), "the keys are taken");
    options.cors_origins = {"https://a.example"};
    return options;
  }

  /// The server's routes, whose handlers tell that an answer is under way.
  std::vector<dgemma::Route> Watched() {
    std::vector<dgemma::Route> routes = server_.service->Routes();
    const dgemma::HealthSource health{.engine = [this] { return server_.service->State(); },
                                      .draining = [] { return false; }};
    for (dgemma::Route& route : dgemma::HealthRoutes(health)) routes.push_back(std::move(route));
    routes.push_back(dgemma::MetricsRoute(server_.metrics));
    for (dgemma::Route& route : routes) {
      route.handler = [this, handler = std::move(route.handler)](HttpRequest request, Reply reply) {
        answering_ = true;
        handler(std::move(request), std::move(reply));
      };
    }
    return routes;
  }

  void OnLog(std::string_view line) {
    // "ID METHOD PATTERN STATUS ...": no part holds a blank, the method may be empty.
    std::array<std::string, 4> parts;
    for (std::string& part : parts) {
      part = line.substr(0, line.find(' '));
      line.remove_prefix(std::min(line.size(), part.size() + 1));
    }
    logged_.push_back({parts[1], std::atoi(parts[3].c_str())});
    answering_ = false;
  }

  std::string Framed(std::span<const uint8_t> input) const;
  void Converse(bool hasty);
  void Settle();

  dgemma::test::ScriptedServer server_;
  boost::asio::io_context context_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{context_.get_executor()};
  std::vector<dgemma::Route> routes_;
  dgemma::Router router_;
  dgemma::ConnectionTable table_;
  bool answering_ = false;
  std::vector<Logged> logged_;
  Line line_;
};

std::string Bench::Framed(std::span<const uint8_t> input) const {
  const dgemma::Route& route = routes_[input[0] % routes_.size()];
  const uint8_t wishes = input[1];
  const std::string_view body(reinterpret_cast<const char*>(input.data()) + 2, input.size() - 2);
  std::string path = route.pattern;
  if (const size_t id = path.find("{id"); id != std::string::npos) {
    path.replace(id, path.find('}') - id + 1, server_.engine->facts().name);
  }
  const std::string_view version = (wishes & kOldHttp) != 0 ? "HTTP/1.0" : "HTTP/1.1";
  std::string fields = "Host: localhost\r\n";
  if ((wishes & kNoKey) == 0) fields += fmt::format("X-Api-Key: {}\r\n", (wishes & kOtherKey) != 0 ? kBob : kAnn);
  if ((wishes & kFrames) != 0) fields += "X-Diffusion-Frames: 1\r\n";
  if (route.method == HttpMethod::kGet) {
    const size_t end = body.find_first_of("\r\n ");
    return fmt::format("GET {}?{} {}\r\n{}\r\n", path, body.substr(0, end), version, fields);
  }
  const std::string head = fmt::format("POST {} {}\r\n{}", path, version, fields);
  if ((wishes & kChunked) == 0 || (wishes & kOldHttp) != 0 || body.empty())
    return fmt::format("{}Content-Length: {}\r\n\r\n{}", head, body.size(), body);
  return fmt::format("{}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n", head, body.size(), body);
}

/// Until the connection is over. A hasty client goes when all is sent, another one when all is answered.
void Bench::Converse(bool hasty) {
  auto stream = std::make_unique<LineStream>(context_, line_);
  LineStream& end = *stream;
  const auto connection = std::make_shared<dgemma::Connection>(context_, std::move(stream), table_, "127.0.0.1");
  connection->Start();
  while (true) {
    context_.poll();
    if (table_.size() == 0) break;
    if (line_.reading && (hasty || !answering_)) {
      end.End(boost::asio::error::eof);
    } else {
      context_.run_one();
    }
  }
}

/// Waits until nobody works on what was asked.
void Bench::Settle() {
  const auto wait = [](auto&& over) {
    for (int tries = 0; !over(); ++tries) {
      Expect(tries < 1'000'000, "what nobody waits for ends");
      tries < 100 ? std::this_thread::yield() : std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  };
  // The service's thread takes one thing after the other.
  const auto last = std::make_shared<dgemma::Exchange>(1 << 20);
  for (const dgemma::Route& route : routes_) {
    if (route.pattern == "/api/version") route.handler({}, Reply(last));
  }
  answering_ = false;
  wait([&] { return last->complete(); });
  wait([&] {
    const dgemma::SchedulerStats stats = server_.scheduler->stats();
    return stats.active + stats.queued == 0;
  });
}

// ---- what was answered ----------------------------------------------------------------------------------------------

struct Head {
  int status = 0;
  std::string_view type;
  std::optional<size_t> length;
  bool chunked = false;
};

std::string_view Field(std::string_view head, std::string_view name) {
  const size_t at = head.find(fmt::format("\r\n{}: ", name));
  if (at == std::string_view::npos) return {};
  const size_t begin = at + name.size() + 4;
  return head.substr(begin, head.find("\r\n", begin) - begin);
}

/// Takes a head from the begin of the text; nothing when it is not whole.
std::optional<Head> TakeHead(std::string_view& text) {
  const size_t end = text.find("\r\n\r\n");
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view head = text.substr(0, end + 2);
  text.remove_prefix(end + 4);
  Expect(head.starts_with("HTTP/1.1 "), "an answer begins with its version");
  Head out{.status = std::atoi(head.data() + 9), .type = Field(head, "Content-Type"), .length = {}, .chunked = false};
  out.chunked = Field(head, "Transfer-Encoding") == "chunked";
  if (const std::string_view length = Field(head, "Content-Length"); !length.empty())
    out.length = std::strtoull(length.data(), nullptr, 10);
  Expect(out.status == 100 || !Field(head, "X-Request-Id").empty(), "an answer has its id");
  return out;
}

/// Takes the body that belongs to the head; nothing when it is not whole.
std::optional<std::string> TakeBody(std::string_view& text, const Head& head) {
  std::string body;
  if (!head.chunked) {
    const size_t length = head.length.value_or(head.status == 204 ? 0 : text.size());
    if (text.size() < length) return std::nullopt;
    body = text.substr(0, length);
    text.remove_prefix(length);
    return body;
  }
  while (true) {
    const size_t line = text.find("\r\n");
    if (line == std::string_view::npos) return std::nullopt;
    const size_t length = std::strtoull(text.data(), nullptr, 16);
    if (text.size() < line + 4 + length) return std::nullopt;
    body += text.substr(line + 2, length);
    Expect(text.substr(line + 2 + length, 2) == "\r\n", "a chunk has its length");
    text.remove_prefix(line + 4 + length);
    if (length == 0) return body;
  }
}

void CheckJson(std::string_view text) {
  const auto value = dgemma::ParseJson(text);
  if (!value) fmt::print(stderr, "{}\n{}\n", value.error().message, text);
  Expect(value.has_value(), "an answer is JSON");
}

void CheckBody(const Head& head, std::string_view body) {
  if (head.type == "application/json") return CheckJson(body);
  if (head.type != dgemma::kSseType && head.type != dgemma::kNdjsonType) return;
  while (!body.empty()) {
    const size_t end = body.find('\n');
    Expect(end != std::string_view::npos, "lines of a stream end");
    std::string_view line = body.substr(0, end);
    body.remove_prefix(end + 1);
    if (line.empty() || line.starts_with("event: ") || line == "data: [DONE]" || line.starts_with(": ")) continue;
    if (head.type == dgemma::kSseType) {
      Expect(line.starts_with("data: "), "lines of a stream are data");
      line.remove_prefix(6);
    }
    CheckJson(line);
  }
}

void CheckAnswers(std::string_view sent, const std::vector<Logged>& logged, bool may_be_cut) {
  size_t answers = 0;
  while (!sent.empty()) {
    const auto head = TakeHead(sent);
    if (!head) return Expect(may_be_cut, "a head is whole");
    if (head->status == 100) continue;
    Expect(answers < logged.size(), "every answer is logged");
    const Logged& line = logged[answers++];
    Expect(head->status == line.status, "the log knows the status");
    const bool told = head->status < 500 || head->status == 501 || head->status == 505;
    if (!told) fmt::print(stderr, "{} {}\n", head->status, sent.substr(0, 300));
    Expect(told, "no failure of the server");
    if (line.method == "HEAD") continue;
    const auto body = TakeBody(sent, *head);
    if (!body) return Expect(may_be_cut, "a body is whole");
    if (head->status >= 400) Expect(head->type == "application/json", "errors are JSON");
    if (head->length || head->chunked || !may_be_cut) CheckBody(*head, *body);
  }
}

/// Processor time of all threads.
double CpuSeconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

void Bench::Run(std::span<const uint8_t> input) {
  const uint8_t how = input[0];
  const bool hasty = (how & kHasty) != 0;
  input = input.subspan(1);
  line_ = {};
  line_.piece = size_t{1} << (how & kPieceBits) % 14;
  logged_.clear();
  answering_ = false;
  const double begin = CpuSeconds();
  if ((how & kRaw) != 0) {
    line_.incoming.assign(reinterpret_cast<const char*>(input.data()), input.size());
  } else if (input.size() >= 2) {
    line_.incoming = Framed(input);
    if ((input[1] & kTwice) != 0) line_.incoming += line_.incoming;
  }
  Converse(hasty);
  CheckAnswers(line_.sent, logged_, hasty);
  if ((how & kRaw) == 0 && input.size() >= 2 && (input[1] & kWatch) != 0) {
    if (const std::string id(Field(line_.sent, "X-Diffusion-Id")); !id.empty()) {
      line_ = {.incoming = fmt::format("GET /v1/diffusion/{}/frames?max_fps=0&fields=text,tokens HTTP/1.1\r\n"
                                       "Host: a.localhost\r\nX-Api-Key: {}\r\n\r\n",
                                       id, kAnn),
               .read = 0,
               .piece = line_.piece,
               .sent = {},
               .buffer = {},
               .reading = nullptr};
      logged_.clear();
      Converse(hasty);
      CheckAnswers(line_.sent, logged_, hasty);
    }
  }
  Settle();
  Expect(CpuSeconds() - begin < kMostSeconds, "the time is bounded");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Bench* const bench = [] {
    GTEST_FLAG_SET(break_on_failure, true);  // what the scripted model must never be asked for
    return new Bench;                        // its threads go with the process
  }();
  if (size > 0 && size <= (64U << 10)) bench->Run({data, size});
  return 0;
}
