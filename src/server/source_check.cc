// Host names are compared as text; addresses are recognised by the system's parser, never resolved.
#include "server/source_check.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cctype>

namespace dgemma {
namespace {

char LowerByte(char byte) { return static_cast<char>(std::tolower(static_cast<unsigned char>(byte))); }

bool EqualNoCase(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char x, char y) { return LowerByte(x) == LowerByte(y); });
}

/// Host without port and brackets; "" when it is malformed.
std::string_view HostName(std::string_view host) {
  std::string_view name = host;
  std::string_view port;
  if (host.starts_with('[')) {
    const size_t close = host.find(']');
    if (close == std::string_view::npos) return {};
    name = host.substr(1, close - 1);
    if (name.find(':') == std::string_view::npos) return {};
    port = host.substr(close + 1);
  } else if (const size_t colon = host.find(':'); colon != std::string_view::npos) {
    name = host.substr(0, colon);
    port = host.substr(colon);
  }
  const bool good_port = port.empty() || (port.starts_with(':') && std::ranges::all_of(port.substr(1), [](char byte) {
                                            return byte >= '0' && byte <= '9';
                                          }));
  return good_port ? name : std::string_view();
}

bool IsIpv4(std::string_view text) {
  in_addr address{};
  return inet_pton(AF_INET, std::string(text).c_str(), &address) == 1;
}

std::optional<in6_addr> Ipv6(std::string_view text) {
  in6_addr address{};
  if (inet_pton(AF_INET6, std::string(text).c_str(), &address) != 1) return std::nullopt;
  return address;
}

}  // namespace

bool HostIsAllowed(std::string_view host, std::span<const std::string> allowed) {
  const std::string_view name = HostName(host);
  if (name.empty() || name.find('\0') != std::string_view::npos) return false;
  if (EqualNoCase(name, "localhost") || IsIpv4(name) || Ipv6(name)) return true;
  return std::ranges::any_of(allowed, [&](const std::string& one) { return EqualNoCase(name, one); });
}

OriginVerdict JudgeOrigin(const RequestHead& head, std::span<const std::string> listed) {
  const std::string_view origin = head.Field("origin");
  if (!origin.empty()) {
    for (const std::string_view scheme : {"http://", "https://"}) {
      if (origin.starts_with(scheme) && EqualNoCase(origin.substr(scheme.size()), head.Field("host"))) {
        return OriginVerdict::kNone;
      }
    }
    const bool found =
        std::ranges::any_of(listed, [&](const std::string& one) { return one == "*" || EqualNoCase(one, origin); });
    return found ? OriginVerdict::kListed : OriginVerdict::kRefused;
  }
  const std::string_view site = head.Field("sec-fetch-site");
  const bool foreign = site == "cross-site" || site == "same-site";
  return foreign && head.Field("sec-fetch-mode") != "navigate" ? OriginVerdict::kRefused : OriginVerdict::kNone;
}

bool IsLoopback(std::string_view address) {
  if (EqualNoCase(address, "localhost") || (IsIpv4(address) && address.starts_with("127."))) return true;
  const std::optional<in6_addr> ipv6 = Ipv6(address);
  return ipv6 && IN6_IS_ADDR_LOOPBACK(&*ipv6);
}

}  // namespace dgemma
