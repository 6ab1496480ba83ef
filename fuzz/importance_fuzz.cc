// Any bytes as an importance matrix: no crash, a refusal of one line, and from an accepted file values that fit the
// model's matrices, are finite and not negative.
#include <algorithm>
#include <cstdint>

#include "expect.h"
#include "model/importance.h"
#include "model/tensor_list.h"
#include "tiny_config.h"

using dgemma::Expect;

namespace {

void ExpectOneLine(const std::string& message) {
  Expect(!message.empty() && message.size() < 2000, "a short message");
  Expect(std::ranges::all_of(message, [](char byte) { return byte >= 0x20 && byte < 0x7f; }), "one printable line");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const auto config = dgemma::ParseConfig(dgemma::kTinyConfig);
  Expect(config.has_value(), "the model's configuration is good");
  static const std::vector<dgemma::TensorSpec> specs = dgemma::ListTensors(*config);
  const auto file =
      dgemma::ParseImportance(dgemma::StaticBlob("input", std::as_bytes(std::span(bytes, size))), *config);
  if (!file) {
    ExpectOneLine(file.error().message);
    return 0;
  }
  Expect(!file->importance.empty(), "an accepted file says something");
  Expect(file->unknown >= 0 && file->unknown + file->without_data <= file->entries, "counts of entries agree");
  for (const auto& [name, values] : file->importance) {
    const auto spec = std::ranges::find(specs, name, &dgemma::TensorSpec::name);
    Expect(spec != specs.end(), "a tensor of the model");
    const uint64_t inputs = spec->shape.back();
    Expect(values.size() == inputs || values.size() == inputs * spec->shape.front(), "one value for each input");
    Expect(std::ranges::all_of(values, [](float value) { return value >= 0 && value < 1e30f; }), "sane values");
  }
  return 0;
}
