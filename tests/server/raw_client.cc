// Sockets and the least of HTTP that reading an answer needs.
#include "raw_client.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstdlib>
#include <utility>

namespace dgemma {
namespace {

bool Ready(int descriptor, short events, int milliseconds) {
  pollfd entry{.fd = descriptor, .events = events, .revents = 0};
  return ::poll(&entry, 1, milliseconds) == 1;
}

}  // namespace

RawClient::RawClient(int port, const std::string& from) {
  descriptor_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in local{};
  local.sin_family = AF_INET;
  inet_pton(AF_INET, from.c_str(), &local.sin_addr);
  sockaddr_in remote = local;
  inet_pton(AF_INET, "127.0.0.1", &remote.sin_addr);
  remote.sin_port = htons(static_cast<uint16_t>(port));
  const bool bound = ::bind(descriptor_, reinterpret_cast<const sockaddr*>(&local), sizeof(local)) == 0;
  if (!bound || ::connect(descriptor_, reinterpret_cast<const sockaddr*>(&remote), sizeof(remote)) != 0) Close();
}

RawClient::RawClient(RawClient&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      patience_ms_(other.patience_ms_),
      buffer_(std::move(other.buffer_)) {}

void RawClient::Close() {
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = -1;
}

void RawClient::Reset() {
  const linger hard{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(descriptor_, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
  Close();
}

bool RawClient::Send(std::string_view bytes) const {
  while (!bytes.empty()) {
    if (!Ready(descriptor_, POLLOUT, patience_ms_)) return false;
    const ssize_t sent = ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

bool RawClient::Fill() {
  if (!Ready(descriptor_, POLLIN, patience_ms_)) return false;
  std::string piece(65'536, '\0');
  const ssize_t got = ::recv(descriptor_, piece.data(), piece.size(), 0);
  if (got <= 0) return false;
  buffer_.append(piece, 0, static_cast<size_t>(got));
  return true;
}

RawResponse RawClient::Read(std::string_view method) {
  RawResponse response;
  size_t end = 0;
  while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
    if (!Fill()) return response;
  }
  response.head = buffer_.substr(0, end + 2);
  buffer_.erase(0, end + 4);
  response.status = std::atoi(response.head.substr(std::min<size_t>(9, response.head.size())).c_str());
  size_t begin = response.head.find("\r\n") + 2;
  while (begin < response.head.size()) {
    const size_t line_end = response.head.find("\r\n", begin);
    const size_t colon = response.head.find(": ", begin);
    std::string name = response.head.substr(begin, colon - begin);
    std::ranges::transform(name, name.begin(),
                           [](unsigned char byte) { return static_cast<char>(std::tolower(byte)); });
    response.fields[name] = response.head.substr(colon + 2, line_end - colon - 2);
    begin = line_end + 2;
  }
  if (response.status == 100) return response;
  if (method == "HEAD" || response.status == 204) {
    response.whole = true;
    return response;
  }
  if (response.fields.contains("content-length")) {
    const size_t length = std::stoull(response.fields["content-length"]);
    while (buffer_.size() < length && Fill()) {
    }
    response.whole = buffer_.size() >= length;
    response.body = buffer_.substr(0, length);
    buffer_.erase(0, response.body.size());
    return response;
  }
  if (!response.fields.contains("transfer-encoding")) {
    while (Fill()) {
    }
    response.body = std::exchange(buffer_, {});
    response.whole = true;
    return response;
  }
  while (true) {
    size_t line = 0;
    while ((line = buffer_.find("\r\n")) == std::string::npos) {
      if (!Fill()) return response;
    }
    const size_t size = std::stoull(buffer_.substr(0, line), nullptr, 16);
    while (buffer_.size() < line + 2 + size + 2) {
      if (!Fill()) return response;
    }
    response.body += buffer_.substr(line + 2, size);
    buffer_.erase(0, line + 2 + size + 2);
    if (size > 0) continue;
    response.whole = true;
    return response;
  }
}

std::string RawClient::ReadAll(size_t limit) {
  while (buffer_.size() < limit && Fill()) {
  }
  return std::exchange(buffer_, {});
}

bool RawClient::EndsWithin(int milliseconds) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    if (left.count() <= 0 || !Ready(descriptor_, POLLIN, static_cast<int>(left.count()))) return false;
    char piece[4096];
    if (::recv(descriptor_, piece, sizeof(piece), 0) <= 0) return true;
  }
}

std::string Get(std::string_view path, std::string_view lines) {
  return fmt::format("GET {} HTTP/1.1\r\nHost: localhost\r\n{}\r\n", path, lines);
}

std::string Post(std::string_view path, std::string_view body, std::string_view lines) {
  return fmt::format("POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n{}\r\n{}", path, body.size(), lines,
                     body);
}

}  // namespace dgemma
