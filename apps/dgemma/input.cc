// Reading descriptors to their end.
#include "input.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "files/messages.h"

namespace dgemma {
namespace {

Result<std::string> ReadAll(int descriptor, const std::string& name) {
  std::string text;
  std::array<char, 65'536> part{};
  while (true) {
    const ssize_t count = ::read(descriptor, part.data(), part.size());
    if (count == 0) return text;
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Fail(StatusCode::kIo, name + ": " + std::strerror(errno));
    text.append(part.data(), static_cast<size_t>(count));
    if (text.size() > kMostInputBytes) {
      return Fail(StatusCode::kResourceExhausted,
                  fmt::format("{}: is too long (at most {} bytes)", name, kMostInputBytes));
    }
  }
}

}  // namespace

Result<std::string> ReadStandardInput() { return ReadAll(STDIN_FILENO, "standard input"); }

Result<std::string> ReadInputFile(const std::string& path) {
  if (path == "-") return ReadStandardInput();
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    const auto code = errno == ENOENT ? StatusCode::kNotFound : StatusCode::kIo;
    return Fail(code, Quoted(path) + ": " + std::strerror(errno));
  }
  auto text = ReadAll(descriptor, Quoted(path));
  ::close(descriptor);
  return text;
}

bool InputIsTerminal() { return ::isatty(STDIN_FILENO) == 1; }

}  // namespace dgemma
