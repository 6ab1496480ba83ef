// Where a request may come from: the Host and Origin rules that keep web pages away from a local server.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "server/http_message.h"

namespace dgemma {

/// True for a Host value (with or without port) that cannot come from DNS rebinding: localhost, an IP address, or one of
/// `allowed` (names without port). Upper and lower case are the same.
bool HostIsAllowed(std::string_view host, std::span<const std::string> allowed);

enum class OriginVerdict {
  kNone,     ///< no web page, or a page of this server
  kListed,   ///< a page of a listed origin: answers carry CORS fields
  kRefused,  ///< a page of another origin
};

/// What Origin and Sec-Fetch-Site say. Following a link from anywhere (a navigation) is no request of a page.
OriginVerdict JudgeOrigin(const RequestHead& head, std::span<const std::string> listed);

/// True when `address` (an IP address or "localhost") is reached from this machine only.
bool IsLoopback(std::string_view address);

}  // namespace dgemma
