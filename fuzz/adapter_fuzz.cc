// Any bytes as an adapter: no crash, a refusal of one line, and from an accepted file deltas that fit the model and are
// finite. The first byte says the form: 'G', then a GGUF file; else the length of adapter_config.json in two bytes,
// that text, then a safetensors file.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "expect.h"
#include "model/adapter_files.h"
#include "tiny_config.h"

using dgemma::Expect;

namespace {

void ExpectOneLine(const std::string& message) {
  Expect(!message.empty() && message.size() < 2000, "a short message");
  Expect(std::ranges::all_of(message, [](char byte) { return byte >= 0x20 && byte < 0x7f; }), "one printable line");
}

dgemma::Result<dgemma::OpenedAdapter> Open(std::span<const std::byte> input) {
  if (!input.empty() && static_cast<char>(input.front()) == 'G')
    return dgemma::OpenGgufAdapter(dgemma::StaticBlob("input.gguf", input.subspan(1)));
  if (input.size() < 3) return dgemma::Fail(dgemma::StatusCode::kInvalidFile, "short");
  const auto length = std::min(static_cast<size_t>(input[1]) + 256 * static_cast<size_t>(input[2]), input.size() - 3);
  const auto matrices =
      dgemma::CheckpointFromMemory({dgemma::StaticBlob("model.safetensors", input.subspan(3 + length))});
  if (!matrices) return std::unexpected(matrices.error());
  return dgemma::OpenPeftAdapter("input", dgemma::AsText(input.subspan(3, length)), *matrices);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const auto parsed = dgemma::ParseConfig(dgemma::kTinyConfig);
  Expect(parsed.has_value(), "the model's configuration is good");
  const dgemma::Config& config = *parsed;
  const auto opened = Open(std::as_bytes(std::span(bytes, size)));
  if (!opened) {
    ExpectOneLine(opened.error().message);
    return 0;
  }
  Expect(!opened->modules.empty(), "an opened adapter has modules");
  const auto adapter = MakeAdapter(*opened, config);
  if (!adapter) {
    ExpectOneLine(adapter.error().message);
    return 0;
  }
  Expect(!adapter->deltas.empty(), "an adapter has deltas");
  for (const dgemma::AdapterDelta& delta : adapter->deltas) {
    Expect(CheckDelta(delta, config).has_value(), "a delta fits its tensor");
    const auto finite = [](float value) { return std::isfinite(value); };
    Expect(std::ranges::all_of(delta.down, finite), "finite values");
    Expect(static_cast<size_t>(delta.Values()) * 4 <= 64 * size, "memory in proportion to the file");
  }
  return 0;
}
