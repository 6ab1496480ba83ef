// How much each input of a matrix matters, read from files: llama.cpp's importance matrices (imatrix) as GGUF files and
// in the older binary form, and a safetensors file with our own names. Files are untrusted. What quantising makes of it is
// in quantize.h.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "dgemma/status.h"
#include "files/bytes.h"
#include "files/limits.h"
#include "model/config.h"

namespace dgemma {

/// How much each input of a matrix matters, by tensor name: [in] or [E, in] values >= 0, such as mean squares of
/// activations. Only ratios within one row of inputs count.
using Importance = std::map<std::string, std::vector<float>, std::less<>>;

/// What a file says about the matrices of one model.
struct ImportanceFile {
  std::string form;                ///< "safetensors", "GGUF" or "dat"
  Importance importance;           ///< never empty, sizes fit the model
  int64_t entries = 0;             ///< in the file, one for each name
  int64_t unknown = 0;             ///< ... with a name that the model has not
  int64_t without_data = 0;        ///< ... about one of its matrices, but with nothing counted or all sums 0
  std::optional<int64_t> chunks;   ///< of text behind the sums, where the file says it
  std::vector<std::string> texts;  ///< names of the data sets behind the sums; text from outside
};

/// Reads a file whose form its content decides:
///   GGUF         general.type "imatrix"; NAME.in_sum2 [matrices, in] and NAME.counts [matrices], both F32: sums of
///                squared inputs, and of how many rows. Importance is sum / count.
///   dat          i32 entries (1 or more); each: i32 length, name, i32 calls, i32 values, float32 values, worth
///                value / calls; then perhaps i32 chunks, then perhaps i32 length and the data set's name. All
///                little-endian.
///   safetensors  NAME [in] or [E, in], F32, BF16 or F16: importance itself. NAME is one of model/tensor_list.h.
/// In the first two NAME is a GGUF name (model/gguf_names.h). Where experts' halves lie apart, those of the gate are
/// taken: both halves have the same inputs. Tensors NAME.in_sum are not needed and not read. Entries about tensors that
/// stay as they are (routers) are left out.
///
/// A count of 0, or sums that are all 0, say nothing: such an entry is as if absent, and such an expert of an entry
/// weighs its inputs alike; what the entry holds besides is not looked at. kInvalidFile, with file, entry and rule: a
/// broken file; a name twice; sums without counts; another type; a number of values or counts that does not fit the
/// matrix; counts that are negative or not whole; values that are negative, NaN or infinite; means of 1e30 or more; a
/// file that says nothing about any matrix of the model. kUnsupported: a GGUF file of another kind.
Result<ImportanceFile> ReadImportance(const std::filesystem::path& path, const Config& config);

/// The same of bytes in memory; `blob.name` is what messages begin with.
Result<ImportanceFile> ParseImportance(const Blob& blob, const Config& config, const FileLimits& limits = {});

}  // namespace dgemma
