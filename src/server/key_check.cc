// Reading keys, hashing what clients show, comparing without saying how much was right.
#include "server/key_check.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <utility>

#include "base/try.h"

namespace dgemma {
namespace {

constexpr size_t kShortestKey = 8;
constexpr size_t kLongestKey = 512;
constexpr size_t kLongestName = 64;
constexpr size_t kKeyFileBytes = 1 << 20;

Result<std::array<uint8_t, 32>> Sha256(std::string_view text) {
  std::array<uint8_t, 32> out{};
  if (EVP_Digest(text.data(), text.size(), out.data(), nullptr, EVP_sha256(), nullptr) != 1) {
    return Fail(StatusCode::kInternal, "SHA-256 is not available");
  }
  return out;
}

bool IsPlain(std::string_view text) {
  return std::ranges::all_of(text, [](unsigned char byte) { return byte > 0x20 && byte < 0x7F; });
}

/// Names go into logs and metrics.
bool IsName(std::string_view text) {
  return !text.empty() && text.size() <= kLongestName && std::ranges::all_of(text, [](unsigned char byte) {
    return std::isalnum(byte) != 0 || byte == '-' || byte == '_' || byte == '.';
  });
}

std::string_view Trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

/// The file's text, when nobody but owner and group can read it. Mode and bytes are of the same open file.
Result<std::string> ReadSecret(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY);
  if (descriptor < 0) return Fail(StatusCode::kNotFound, path + ": cannot be opened");
  std::string text(kKeyFileBytes + 1, '\0');
  struct stat facts{};
  const bool known = ::fstat(descriptor, &facts) == 0;
  size_t size = 0;
  ssize_t got = 0;
  while (known && size < text.size() && (got = ::read(descriptor, text.data() + size, text.size() - size)) > 0) {
    size += static_cast<size_t>(got);
  }
  ::close(descriptor);
  if (!known || got < 0) return Fail(StatusCode::kIo, path + ": cannot be read");
  if ((facts.st_mode & S_IRWXO) != 0) {
    return Fail(StatusCode::kInvalidFile, path + ": other users may read or change it (chmod 600)");
  }
  if (size > kKeyFileBytes) return Fail(StatusCode::kInvalidFile, path + ": too long (at most 1 MiB)");
  text.resize(size);
  return text;
}

/// The key in `Authorization: Bearer KEY`; the scheme in any case.
std::string_view BearerKey(std::string_view value) {
  constexpr std::string_view kScheme = "bearer ";
  if (value.size() <= kScheme.size()) return {};
  const bool matches = std::ranges::equal(value.substr(0, kScheme.size()), kScheme, [](unsigned char a, char b) {
    return static_cast<char>(std::tolower(a)) == b;
  });
  return matches ? Trim(value.substr(kScheme.size())) : std::string_view();
}

}  // namespace

Result<void> KeyRing::AddFile(const std::string& path) {
  DG_TRY(const std::string text, ReadSecret(path));
  size_t begin = 0;
  int line_number = 0;
  while (begin < text.size()) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = Trim(std::string_view(text).substr(begin, end - begin));
    begin = end + 1;
    ++line_number;
    if (line.empty() || line.starts_with('#')) continue;
    const size_t colon = line.find(':');
    const bool named = colon != std::string_view::npos;
    std::string name = named ? std::string(line.substr(0, colon)) : fmt::format("key{}", keys_.size() + 1);
    if (auto added = Add(std::move(name), named ? line.substr(colon + 1) : line); !added) {
      return std::unexpected(added.error().At(fmt::format("{}: line {}", path, line_number)));
    }
  }
  return {};
}

Result<void> KeyRing::Add(std::string name, std::string_view key) {
  if (!IsName(name)) {
    return Fail(StatusCode::kInvalidArgument, "the key's name is not made of 1 to 64 letters, digits, '-', '_', '.'");
  }
  if (key.size() < kShortestKey || key.size() > kLongestKey || !IsPlain(key)) {
    return Fail(StatusCode::kInvalidArgument, "the key is not made of 8 to 512 printable ASCII characters");
  }
  if (std::ranges::any_of(keys_, [&](const Key& other) { return other.caller.key_name == name; })) {
    return Fail(StatusCode::kInvalidArgument, "two keys have the same name");
  }
  DG_TRY(const auto hash, Sha256(key));
  keys_.push_back({hash, {std::move(name)}});
  return {};
}

const Caller* KeyRing::Find(const RequestHead& head) const {
  const std::string_view authorization = head.Field("authorization");
  const std::string_view shown = authorization.empty() ? head.Field("x-api-key") : BearerKey(authorization);
  if (shown.size() < kShortestKey || shown.size() > kLongestKey) return nullptr;
  const auto hash = Sha256(shown);
  if (!hash) return nullptr;
  const Caller* found = nullptr;
  for (const Key& key : keys_) {
    if (CRYPTO_memcmp(hash->data(), key.sha256.data(), hash->size()) == 0) found = &key.caller;
  }
  return found;
}

}  // namespace dgemma
