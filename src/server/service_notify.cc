// sendto on a unix datagram socket.
#include "server/service_notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>

namespace dgemma {

Result<void> NotifyService(const std::string& socket_name, std::string_view message) {
  if (socket_name.empty()) return {};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_name.size() >= sizeof(address.sun_path) || (socket_name[0] != '/' && socket_name[0] != '@')) {
    return Fail(StatusCode::kInvalidArgument, "NOTIFY_SOCKET: not the name of a unix socket");
  }
  std::ranges::copy(socket_name, address.sun_path);
  if (socket_name[0] == '@') address.sun_path[0] = '\0';
  const int descriptor = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return Fail(StatusCode::kIo, "NOTIFY_SOCKET: no socket to be had");
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket_name.size());
  const ssize_t sent = ::sendto(descriptor, message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                                reinterpret_cast<const sockaddr*>(&address), length);
  ::close(descriptor);
  if (sent != static_cast<ssize_t>(message.size())) return Fail(StatusCode::kIo, "NOTIFY_SOCKET: not sent");
  return {};
}

}  // namespace dgemma
