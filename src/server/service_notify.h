// Tells systemd how the service is doing: its notification protocol, one datagram a message. No library needed.
#pragma once

#include <string>
#include <string_view>

#include "dgemma/status.h"

namespace dgemma {

/// Sends "READY=1", "STOPPING=1", "WATCHDOG=1" or "STATUS=..." to the socket that $NOTIFY_SOCKET names: a path, or '@' and
/// an abstract name. An empty name is no failure: nobody wants to know.
Result<void> NotifyService(const std::string& socket_name, std::string_view message);

}  // namespace dgemma
