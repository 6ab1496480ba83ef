// Writing a checkpoint in another form: a GGUF file or a model folder, with its tensors in other types. Streams; a
// tensor is in memory only by batches of rows.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "dgemma/status.h"
#include "files/checkpoint_files.h"
#include "files/dtype.h"
#include "model/config.h"
#include "model/tensor_list.h"
#include "model/tensor_stream.h"

namespace dgemma {

/// Of matrices: a plain type or a block type; nothing keeps each tensor's type. Vectors and scalars are F32 in GGUF
/// files.
using TypeWish = std::optional<DType>;

struct ConvertOptions {
  TypeWish type;
  std::string name;  ///< general.name of a GGUF file, unless the source has one
  StreamOptions stream;
};

/// What became of one tensor, with w the source's values and w' the written ones.
struct TensorOutcome {
  std::string name;  ///< ours
  std::string from;  ///< type in the source
  DType to = DType::kF32;
  uint64_t bytes = 0;
  double relative_error = 0;  ///< sqrt(sum (w - w')^2 / sum w^2); 0 for all-zero tensors
  double largest_error = 0;   ///< max |w - w'|
};

/// The type a tensor gets in a GGUF file, as llama.cpp's tools choose: router and vectors F32; the token table, which
/// is also the head, Q6_K where matrices have fewer bits; where rows are no whole number of blocks Q8_0, or F16 where
/// even those do not fit.
DType GgufTypeFor(const TensorSpec& spec, DType wanted);

/// Writes a GGUF file atomically: every tensor but those of vision, the configuration, the tokenizer (required). Removes what killed
/// writers left beside it.
/// Errors: WriteGguf's, PutTokenizer's; kInvalidFile, naming the tensor, for values that the type cannot hold.
Result<std::vector<TensorOutcome>> SaveGguf(const CheckpointFiles& files, const Config& config,
                                            const std::filesystem::path& target, const ConvertOptions& options,
                                            ThreadPool& pool);

/// Writes a model folder with every tensor (SaveModelFolder). kInvalidArgument for a block type, which such folders cannot hold; tensors that have one become F32 unless a type is asked for.
Result<std::vector<TensorOutcome>> SaveFolder(const CheckpointFiles& files, const Config& config,
                                              const std::filesystem::path& target, const ConvertOptions& options,
                                              ThreadPool& pool);

}  // namespace dgemma
