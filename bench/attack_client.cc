// Processes, sockets, and as much of HTTP as an answer with a length needs.
#include "attack_client.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <utility>

extern char** environ;  // POSIX wants the program to declare it

namespace dgemma::attack {

double SecondsSince(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

ServerProcess::ServerProcess(const std::string& program, const std::string& model,
                             const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {program, "serve"};
  if (!model.empty()) arguments.push_back(model);
  for (const char* argument : {"--port", "0", "--quiet"}) arguments.emplace_back(argument);
  arguments.insert(arguments.end(), more.begin(), more.end());
  std::vector<char*> values;
  for (std::string& argument : arguments) values.push_back(argument.data());
  values.push_back(nullptr);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) std::exit(1);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  const int failed = ::posix_spawn(&pid_, program.c_str(), &actions, nullptr, values.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  out_ = ends[0];
  std::string said;
  char byte = 0;
  while (failed == 0 && ::read(out_, &byte, 1) == 1 && byte != '\n') said += byte;
  const size_t colon = said.rfind(':');
  if (!said.starts_with("listening on ") || colon == std::string::npos) {
    fmt::print(stderr, "{}: no server: {}\n", program, said);
    std::exit(1);
  }
  port_ = std::atoi(said.c_str() + colon + 1);
}

ServerProcess::~ServerProcess() {
  ::kill(pid_, SIGTERM);
  ::kill(pid_, SIGTERM);
  ::waitpid(pid_, nullptr, 0);
  ::close(out_);
}

int64_t ServerProcess::StatusBytes(std::string_view field) const {
  std::ifstream status(fmt::format("/proc/{}/status", pid_));
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(field)) return 1024 * std::atoll(line.c_str() + field.size());
  }
  return 0;
}

int64_t ServerProcess::RssBytes() const { return StatusBytes("VmRSS:"); }
int64_t ServerProcess::AnonymousBytes() const { return StatusBytes("RssAnon:"); }

int64_t ServerProcess::Descriptors() const {
  const std::filesystem::directory_iterator all(fmt::format("/proc/{}/fd", pid_));
  return std::distance(begin(all), end(all));
}

double ServerProcess::CpuSeconds() const {
  double seconds = 0;
  for (const auto& thread : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid_))) {
    std::ifstream figures(thread.path() / "schedstat");
    double nanoseconds = 0;
    if (figures >> nanoseconds) seconds += 1e-9 * nanoseconds;
  }
  return seconds;
}

KeyFile::KeyFile() : path_(fmt::format("/tmp/serve_attack.{}", ::getpid())) {
  std::ofstream(path_) << "ann:key-of-ann\nbob:key-of-bob\n";
  ::chmod(path_.c_str(), 0600);
}

KeyFile::~KeyFile() { ::unlink(path_.c_str()); }

Connection::Connection(int port, int group) {
  descriptor_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in local{};
  local.sin_family = AF_INET;
  ::inet_pton(AF_INET, fmt::format("127.0.{}.1", group).c_str(), &local.sin_addr);
  sockaddr_in remote = local;
  ::inet_pton(AF_INET, "127.0.0.1", &remote.sin_addr);
  remote.sin_port = htons(static_cast<uint16_t>(port));
  const int yes = 1;
  ::setsockopt(descriptor_, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
  ::setsockopt(descriptor_, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof(yes));
  const bool bound = ::bind(descriptor_, reinterpret_cast<const sockaddr*>(&local), sizeof(local)) == 0;
  if (!bound || ::connect(descriptor_, reinterpret_cast<const sockaddr*>(&remote), sizeof(remote)) != 0) {
    Close();
    return;
  }
  ::fcntl(descriptor_, F_SETFL, O_NONBLOCK);
}

Connection::Connection(Connection&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      asking_(other.asking_),
      asked_(other.asked_),
      buffer_(std::move(other.buffer_)) {}

Connection& Connection::operator=(Connection&& other) noexcept {
  if (this == &other) return *this;
  Close();
  descriptor_ = std::exchange(other.descriptor_, -1);
  asking_ = other.asking_;
  asked_ = other.asked_;
  buffer_ = std::move(other.buffer_);
  return *this;
}

void Connection::Close() {
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = -1;
}

void Connection::SendPiece(std::string_view bytes) {
  // Requests are shorter than a socket's buffer.
  if (open() && ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0) Close();
}

void Connection::Ask(std::string_view request) {
  asked_ = Clock::now();
  asking_ = true;
  SendPiece(request);
}

bool Connection::Read(Response& response) {
  char piece[16'384];
  while (open()) {
    const ssize_t got = ::recv(descriptor_, piece, sizeof(piece), 0);
    if (got > 0) {
      buffer_.append(piece, static_cast<size_t>(got));
      continue;
    }
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) break;
    Close();
  }
  response = {};
  response.seconds = SecondsSince(asked_);
  const size_t head_end = buffer_.find("\r\n\r\n");
  if (head_end != std::string::npos) {
    const size_t body = head_end + 4, field = buffer_.find("Content-Length: ");
    size_t end = body + (field < head_end ? std::stoull(buffer_.substr(field + 16)) : 0);
    if (buffer_.find("Transfer-Encoding: chunked") < head_end) {
      // Chunks hold JSON, which has no line end of this kind; nothing follows, since the next question comes later.
      end = buffer_.ends_with("\r\n0\r\n\r\n") ? buffer_.size() : std::string::npos;
    }
    if (end <= buffer_.size()) {
      const bool last = buffer_.find("Connection: close") < head_end;
      response.status = std::atoi(buffer_.c_str() + 9);
      response.body = buffer_.substr(body, end - body);
      buffer_.erase(0, end);
      asking_ = false;
      if (last) Close();
      return true;
    }
  }
  if (open()) return false;
  asking_ = false;
  return true;
}

std::vector<size_t> Readable(const std::vector<Connection*>& connections, int milliseconds) {
  std::vector<pollfd> entries;
  for (const Connection* connection : connections) {
    entries.push_back({.fd = connection->descriptor(), .events = POLLIN, .revents = 0});
  }
  std::vector<size_t> readable;
  if (::poll(entries.data(), entries.size(), milliseconds) <= 0) return readable;
  for (size_t at = 0; at < entries.size(); ++at) {
    if (entries[at].fd >= 0 && entries[at].revents != 0) readable.push_back(at);
  }
  return readable;
}

Response AskAndWait(Connection& connection, std::string_view request) {
  connection.Ask(request);
  Response response;
  for (int tries = 0; tries < 10'000; ++tries) {
    if (connection.Read(response)) break;
    (void)Readable({&connection}, 1);
  }
  return response;
}

std::string Get(std::string_view path, std::string_view lines) {
  return fmt::format("GET {} HTTP/1.1\r\nHost: localhost\r\n{}\r\n", path, lines);
}

std::string Post(std::string_view path, std::string_view body, std::string_view lines) {
  return fmt::format("POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n{}\r\n{}", path, body.size(), lines,
                     body);
}

}  // namespace dgemma::attack
