// Safetensors files written out by hand, so that tests of the reader do not rest on our writer.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace dgemma {

/// A file with this declared header length, header text and count of data bytes (0, 1, 2, ... mod 251).
inline std::string SafetensorsFile(uint64_t declared, std::string_view header, uint64_t data_bytes) {
  std::string file;
  for (int i = 0; i < 8; ++i) file += static_cast<char>(declared >> (8 * i) & 0xff);
  file += header;
  for (uint64_t i = 0; i < data_bytes; ++i) file += static_cast<char>(i % 251);
  return file;
}

/// The same with the header's true length declared.
inline std::string SafetensorsFile(std::string_view header, uint64_t data_bytes) {
  return SafetensorsFile(header.size(), header, data_bytes);
}

/// One entry of a header.
inline std::string Entry(std::string_view name, std::string_view dtype, std::string_view shape,
                         std::string_view offsets) {
  return "\"" + std::string(name) + "\":{\"dtype\":\"" + std::string(dtype) + "\",\"shape\":[" + std::string(shape) +
         "],\"data_offsets\":[" + std::string(offsets) + "]}";
}

}  // namespace dgemma
