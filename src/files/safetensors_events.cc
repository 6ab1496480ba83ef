// A handler for Boost.JSON's event parser: a state for each place of the header, and one refusal for everything else.
#include "files/safetensors_events.h"

#include <boost/json/basic_parser_impl.hpp>
#include <optional>
#include <utility>

#include "files/messages.h"

namespace dgemma {
namespace {

namespace json = boost::json;

/// Where in the header the next event belongs.
enum class Place { kStart, kTable, kMetadata, kTensor, kDType, kShape, kShapeList, kOffsets, kOffsetsList };

constexpr unsigned kDType = 1, kShape = 2, kOffsets = 4;  // keys of a tensor that were seen

struct Handler {
  static constexpr std::size_t max_object_size = SIZE_MAX;
  static constexpr std::size_t max_array_size = SIZE_MAX;
  static constexpr std::size_t max_key_size = SIZE_MAX;
  static constexpr std::size_t max_string_size = SIZE_MAX;

  Handler(const FileLimits& bounds, std::size_t length) : limits(bounds), text_bytes(length) {}

  bool on_document_begin(json::error_code&) { return true; }
  bool on_document_end(json::error_code&) { return true; }

  bool on_object_begin(json::error_code& error) {
    switch (place) {
      case Place::kStart:
        place = Place::kTable;
        return true;
      case Place::kTable:
        if (in_metadata) {
          place = Place::kMetadata;
          return true;
        }
        seen = 0;
        offsets_count = 0;
        place = Place::kTensor;
        return true;
      default:
        return Misplaced("an object", error);
    }
  }

  bool on_object_end(std::size_t, json::error_code& error) {
    if (place == Place::kMetadata) {
      in_metadata = false;
      place = Place::kTable;
    } else if (place == Place::kTensor) {
      if (seen != (kDType | kShape | kOffsets)) {
        const char* missing = !(seen & kDType) ? "dtype" : !(seen & kShape) ? "shape" : "data_offsets";
        return Refuse(Subject() + "has no " + missing + " (each tensor has dtype, shape and data_offsets)", error);
      }
      place = Place::kTable;
    }
    return true;
  }

  bool on_array_begin(json::error_code& error) {
    if (place == Place::kShape) {
      place = Place::kShapeList;
      return true;
    }
    if (place == Place::kOffsets) {
      place = Place::kOffsetsList;
      return true;
    }
    return Misplaced("an array", error);
  }

  bool on_array_end(std::size_t, json::error_code& error) {
    if (place == Place::kOffsetsList && offsets_count != 2) {
      return Refuse(Subject() + "data_offsets has " + std::to_string(offsets_count) + " numbers (it is [begin, end])",
                    error);
    }
    place = Place::kTensor;
    return true;
  }

  bool on_key_part(json::string_view part, std::size_t length, json::error_code& error) {
    if (place == Place::kTable && length > limits.tensor_name_bytes) return NameTooLong(error);
    Gather(part);
    return true;
  }

  bool on_key(json::string_view part, std::size_t length, json::error_code& error) {
    const std::string_view key = Whole(part);
    switch (place) {
      case Place::kTable:
        if (key == "__metadata__") {
          if (std::exchange(metadata_seen, true)) return Refuse("duplicate key \"__metadata__\"", error);
          in_metadata = true;
          break;
        }
        if (length > limits.tensor_name_bytes) return NameTooLong(error);
        if (statement.tensors.size() >= limits.safetensors_tensors) {
          return Refuse("more than " + std::to_string(limits.safetensors_tensors) + " tensors (limit)", error);
        }
        statement.tensors.emplace_back().name = key;
        break;
      case Place::kMetadata: {
        if (statement.metadata.size() >= limits.safetensors_metadata_entries) {
          return Refuse(
              "__metadata__ has more than " + std::to_string(limits.safetensors_metadata_entries) + " entries (limit)",
              error);
        }
        const auto [entry, inserted] = statement.metadata.try_emplace(std::string(key));
        if (!inserted) return Refuse("__metadata__: duplicate key " + Quoted(key), error);
        metadata_value = &entry->second;
        break;
      }
      default:
        return TensorKey(key, error);
    }
    gathered.clear();
    return true;
  }

  bool on_string_part(json::string_view part, std::size_t, json::error_code& error) {
    if (place != Place::kMetadata && place != Place::kDType) return Misplaced("a string", error);
    Gather(part);
    return true;
  }

  bool on_string(json::string_view part, std::size_t, json::error_code& error) {
    const std::string_view value = Whole(part);
    if (place == Place::kMetadata) {
      *metadata_value = value;
    } else if (place == Place::kDType) {
      const std::optional<DType> dtype = DTypeFromName(value);
      if (!dtype) return UnknownDType(value, error);
      statement.tensors.back().dtype = *dtype;
      place = Place::kTensor;
    } else {
      return Misplaced("a string", error);
    }
    gathered.clear();
    return true;
  }

  bool on_number_part(json::string_view, json::error_code&) { return true; }
  bool on_int64(std::int64_t value, json::string_view text, json::error_code& error) {
    if (value < 0 || text.starts_with('-')) return Misplaced("a negative number", error);
    return Number(static_cast<uint64_t>(value), error);
  }
  bool on_uint64(std::uint64_t value, json::string_view, json::error_code& error) { return Number(value, error); }
  bool on_double(double, json::string_view, json::error_code& error) {
    return Misplaced("a number that is no 64-bit integer", error);
  }
  bool on_bool(bool, json::error_code& error) { return Misplaced("a boolean", error); }
  bool on_null(json::error_code& error) { return Misplaced("null", error); }
  bool on_comment_part(json::string_view, json::error_code&) { return true; }
  bool on_comment(json::string_view, json::error_code&) { return true; }

  bool Number(uint64_t value, json::error_code& error) {
    SafetensorsEntry* entry = statement.tensors.empty() ? nullptr : &statement.tensors.back();
    if (place == Place::kShapeList) {
      if (entry->shape.size() >= limits.safetensors_dimensions) {
        return Refuse(
            Subject() + "has more than " + std::to_string(limits.safetensors_dimensions) + " dimensions (limit)",
            error);
      }
      entry->shape.push_back(value);
      return true;
    }
    if (place == Place::kOffsetsList) {
      if (offsets_count < 2) (offsets_count == 0 ? entry->begin : entry->end) = value;
      ++offsets_count;
      return true;
    }
    return Misplaced("a number", error);
  }

  bool TensorKey(std::string_view key, json::error_code& error) {
    const auto [bit, next] = key == "dtype"          ? std::pair(kDType, Place::kDType)
                             : key == "shape"        ? std::pair(kShape, Place::kShape)
                             : key == "data_offsets" ? std::pair(kOffsets, Place::kOffsets)
                                                     : std::pair(0U, Place::kTensor);
    if (bit == 0) {
      return Refuse(Subject() + "unknown key " + Quoted(key) + " (only dtype, shape and data_offsets)", error);
    }
    if (seen & bit) return Refuse(Subject() + "duplicate key " + Quoted(key), error);
    seen |= bit;
    place = next;
    gathered.clear();
    return true;
  }

  bool UnknownDType(std::string_view value, json::error_code& error) {
    if (value == "F4" || value == "F6_E2M3" || value == "F6_E3M2") {
      code = StatusCode::kUnsupported;
      return Refuse(Subject() + "dtype " + std::string(value) + " (types of less than a byte are not read)", error);
    }
    return Refuse(Subject() + "unknown dtype " + Quoted(value), error);
  }

  bool NameTooLong(json::error_code& error) {
    return Refuse("a tensor's name exceeds " + std::to_string(limits.tensor_name_bytes) + " bytes (limit)", error);
  }

  bool Misplaced(const char* found, json::error_code& error) {
    const std::string what = std::string(found) + " where ";
    switch (place) {
      case Place::kStart:
        return Refuse(what + "the header's object is expected", error);
      case Place::kMetadata:
        return Refuse("__metadata__: " + what + "a string is expected", error);
      case Place::kTable:
        if (in_metadata) return Refuse("__metadata__: " + what + "an object of strings is expected", error);
        return Refuse(Subject() + what + "an object with dtype, shape and data_offsets is expected", error);
      case Place::kDType:
        return Refuse(Subject() + "dtype: " + what + "a string is expected", error);
      case Place::kShape:
        return Refuse(Subject() + "shape: " + what + "an array is expected", error);
      case Place::kOffsets:
        return Refuse(Subject() + "data_offsets: " + what + "an array is expected", error);
      case Place::kShapeList:
        return Refuse(Subject() + "shape: " + what + "a non-negative integer is expected", error);
      default:
        return Refuse(Subject() + "data_offsets: " + what + "a non-negative integer is expected", error);
    }
  }

  bool Refuse(std::string why, json::error_code& error) {
    refusal = std::move(why);
    error = json::error::exception;  // any error stops the parser; `refusal` holds the reason
    return false;
  }

  std::string Subject() const { return "tensor " + Quoted(statement.tensors.back().name) + ": "; }

  /// Keeps a piece of a string with escapes. One buffer of the text's length serves all of them.
  void Gather(json::string_view part) {
    if (gathered.capacity() < text_bytes) gathered.reserve(text_bytes);
    gathered.append(part.data(), part.size());
  }
  /// The complete string whose last piece is `part`; valid until `gathered` changes.
  std::string_view Whole(json::string_view part) {
    if (gathered.empty()) return {part.data(), part.size()};
    gathered.append(part.data(), part.size());
    return gathered;
  }

  const FileLimits& limits;
  std::size_t text_bytes;
  SafetensorsStatement statement;
  Place place = Place::kStart;
  bool in_metadata = false;
  bool metadata_seen = false;
  unsigned seen = 0;
  uint64_t offsets_count = 0;
  std::string* metadata_value = nullptr;
  std::string gathered;
  std::string refusal;
  StatusCode code = StatusCode::kInvalidFile;
};

}  // namespace

Result<SafetensorsStatement> ReadSafetensorsStatement(std::string_view text, const FileLimits& limits) {
  if (!text.starts_with('{')) return Fail(StatusCode::kInvalidFile, "header does not begin with '{'");
  json::parse_options options;
  options.max_depth = 8;  // the format needs three; the handler refuses deeper values anyway
  json::basic_parser<Handler> parser(options, limits, text.size());
  json::error_code error;
  const std::size_t used = parser.write_some(false, text.data(), text.size(), error);
  if (!error && used < text.size()) error = json::error::extra_data;
  if (error) {
    Handler& handler = parser.handler();
    if (!handler.refusal.empty()) return Fail(handler.code, std::move(handler.refusal));
    return Fail(StatusCode::kInvalidFile,
                "header is not JSON: " + error.message() + " at byte " + std::to_string(used));
  }
  return std::move(parser.handler().statement);
}

}  // namespace dgemma
