// Any bytes as a GGUF file: no crash; an accepted table covers the file in order, aligned, with right sizes; what its
// metadata says becomes texts, or an error of one line.
#include <algorithm>
#include <cstdint>

#include "expect.h"
#include "files/gguf.h"
#include "model/gguf_model.h"
#include "model/stored_tensors.h"

using dgemma::Expect;

namespace {

void ExpectOneLine(const std::string& message) {
  Expect(!message.empty() && message.size() < 2000, "a short message");
  Expect(std::ranges::all_of(message, [](char byte) { return byte >= 0x20 && byte < 0x7f; }), "one printable line");
}

void CheckTable(const dgemma::GgufTable& table, size_t size) {
  uint64_t covered = 0;
  for (const dgemma::GgufTensor& tensor : table.tensors) {
    Expect(tensor.begin % table.alignment == table.data_begin % table.alignment, "tensors are aligned");
    Expect(tensor.begin >= covered && tensor.end > tensor.begin && tensor.end <= size,
           "tensors follow each other inside");
    covered = tensor.end;
    __extension__ unsigned __int128 values = 1;
    for (const uint64_t dimension : tensor.shape()) values *= dimension;
    Expect(values / ValuesPerBlock(tensor.dtype) * BytesPerBlock(tensor.dtype) == tensor.end - tensor.begin,
           "sizes agree");
  }
  for (const auto& [key, value] : table.metadata) {
    (void)value.Integer(), (void)value.Number(), (void)value.Bool();
    if (const auto texts = value.Texts()) Expect(texts->size() == value.count, "as many texts as counted");
    if (const auto integers = value.Integers()) Expect(integers->size() == value.count, "as many integers as counted");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const std::span<const std::byte> file = std::as_bytes(std::span(bytes, size));
  const auto table = dgemma::ParseGguf(file);
  if (!table) {
    ExpectOneLine(table.error().message);
    return 0;
  }
  CheckTable(*table, size);
  const auto files = dgemma::OpenGguf(dgemma::StaticBlob("input", file));
  if (!files) {
    ExpectOneLine(files.error().message);
    return 0;
  }
  const auto config = dgemma::ParseConfig(*files->Text("config.json"));
  Expect(config.has_value(), "an opened file has a configuration");
  if (const auto checked = CheckTensors(*files, *config); !checked) ExpectOneLine(checked.error().message);
  for (const char* name : {"generation_config.json", "tokenizer.json", "tokenizer_config.json"}) {
    if (const auto text = files->Text(name); !text) ExpectOneLine(text.error().message);
  }
  return 0;
}
