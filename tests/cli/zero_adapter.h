// An adapter of zeros for a model: in every form that the program reads, and changing no answer.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "engine/loaded_model.h"
#include "files/gguf_writer.h"
#include "model/adapter_files.h"
#include "model_source.h"

namespace dgemma {

/// Writes `folder` as a PEFT adapter.
inline void WriteZeroAdapter(const std::string& model, const std::string& folder) {
  const Config config = *ReadConfig(*OpenModelFiles(model));
  AdapterDelta delta;
  delta.tensor = "model.decoder.layers.0.self_attn.q_proj.weight";
  delta.rank = 1;
  delta.out = config.heads * config.layers[0].head_size;
  delta.in = config.width;
  delta.down.resize(static_cast<size_t>(delta.in));
  delta.up.resize(static_cast<size_t>(delta.out));
  EXPECT_TRUE(WriteAdapter({"zeros", {delta}}, config, folder));
}

/// The same as a GGUF file.
inline void WriteZeroGgufAdapter(const std::string& model, const std::string& path) {
  const Config config = *ReadConfig(*OpenModelFiles(model));
  GgufMetadata metadata;
  metadata.Put("general.type", "adapter");
  metadata.Put("general.architecture", "diffusion-gemma");
  metadata.Put("adapter.type", "lora");
  metadata.Put("adapter.lora.alpha", 1.0f);
  const auto out = static_cast<uint64_t>(config.heads * config.layers[0].head_size);
  const std::vector<float> zeros(std::max<size_t>(out, static_cast<size_t>(config.width)));
  const auto tensor = [&](const char* name, std::vector<uint64_t> shape) {
    const size_t values = shape[0] * shape[1];
    return TensorFromMemory(name, DType::kF32, std::move(shape), std::as_bytes(std::span(zeros).first(values)));
  };
  EXPECT_TRUE(WriteGguf(path, metadata,
                        {tensor("blk.0.attn_q.weight.lora_a", {1, static_cast<uint64_t>(config.width)}),
                         tensor("blk.0.attn_q.weight.lora_b", {out, 1})}));
}

}  // namespace dgemma
