// Plans and runs one layer; embeds the inputs of the first.
#include "model/layer.h"

#include <algorithm>

#include "model/forward.h"
#include "model/rotary.h"

namespace dgemma {
namespace {

void UploadTable(const Model& model, const Pass& pass, bool sliding, const Rotary& target) {
  const auto layer = std::find_if(model.config.layers.begin(), model.config.layers.end(),
                                  [&](const LayerConfig& l) { return l.sliding == sliding; });
  if (layer == model.config.layers.end()) return;
  std::vector<int64_t> positions;
  for (const Segment& segment : pass.segments) {
    for (int64_t row = 0; row < segment.rows(); ++row) positions.push_back(segment.pos + segment.Place(row));
  }
  const RotaryTable table =
      MakeRotaryTable(model.config.Rope(*layer), layer->head_size, positions, model.kernels.rounding());
  model.kernels.Upload(table.cos, target.cos);
  model.kernels.Upload(table.sin, target.sin);
}

/// norm(soft) of the segment's rows, run by run of neighbouring places.
void NormSoftRows(const Model& model, const Segment& segment, Matrix normed) {
  for (int64_t row = 0, end = 0; row < segment.rows(); row = end) {
    for (end = row + 1; end < segment.rows() && segment.Place(end) == segment.Place(row) + (end - row);) ++end;
    model.kernels.RmsNorm(segment.soft.Rows(segment.Place(row), end - row), model.weights.self_conditioning_norm,
                          normed.Rows(row, end - row));
  }
}

}  // namespace

void UploadRotary(const Model& model, const Pass& pass, const PassBuffers& b) {
  UploadTable(model, pass, true, b.sliding);
  UploadTable(model, pass, false, b.full);
}

void EmbedInputs(const Model& model, const Pass& pass, const PassBuffers& b) {
  const Weights& w = model.weights;
  int64_t row = 0;
  for (const Segment& segment : pass.segments) {
    const Matrix x = b.x.Rows(row, segment.rows());
    model.kernels.Embed(segment.tokens, w.embedding, model.embed_scale, x);
    if (!segment.causal() && segment.soft.data != nullptr) {
      const Matrix normed = b.normed.Rows(row, segment.rows()), signal = b.branch.Rows(row, segment.rows());
      NormSoftRows(model, segment, normed);
      const std::vector<RowRole> roles(segment.tokens.size(), RowRole::kDecoder);
      model.kernels.GatedMlp(normed, roles, w.self_conditioning, signal);
      model.kernels.AddRmsNorm(signal, x);
    } else if (!segment.causal()) {
      model.kernels.RmsNorm(x, Weight{}, x);  // the signal of the first step is exactly zero
    }
    row += segment.rows();
  }
}

LayerPlan PlanLayer(const Model& model, const Activations& activations, const Pass& pass, size_t index) {
  const LayerConfig& layer = model.config.layers[index];
  const LayerWeights& w = model.weights.layers[index];
  LayerPlan plan;
  plan.shape = {model.config.heads, layer.kv_heads, layer.head_size};
  const WeightFormat& queries = model.weights.layers.front().qkv.q.format;  // one choice for all layers
  int64_t row = 0, canvases = 0;
  for (const Segment& segment : pass.segments) {
    AttentionSpan span;
    span.row = row;
    span.rows = segment.rows();
    span.cache = segment.cache->Layer(index);
    span.cache_begin = segment.cache->begin();
    span.cache_end = segment.pos;
    span.pos = segment.pos;
    span.window = layer.sliding ? model.config.window : 0;
    span.causal = segment.causal();
    if (!segment.causal()) {
      span.rounds = pass.rounds_attention && RoundsAttention(queries, layer.head_size);
      const KvStore scratch = activations.Local(canvases++, layer, segment.rows());
      span.local = segment.store != nullptr ? segment.store->Layer(index) : scratch;
      span.local_rows = segment.places.empty() ? segment.rows() : segment.store->rows();
    }
    for (int64_t r = 0; r < segment.rows(); ++r) {
      plan.targets.push_back(segment.causal() ? KvTarget{span.cache, (segment.pos + r) % span.cache.slots}
                                              : KvTarget{span.local, segment.Place(r)});
      plan.scalars.push_back(segment.causal() ? w.encoder_scalar : w.decoder_scalar);
      plan.roles.push_back(segment.causal() ? RowRole::kEncoder : RowRole::kDecoder);
    }
    plan.spans.push_back(span);
    row += segment.rows();
  }
  return plan;
}

void RunBranches(const Model& model, size_t layer, const LayerPlan& plan, const LayerBuffers& b, Routes& routes,
                 ForwardObserver* observer, bool keys_only) {
  const auto observe = [&](const char* name, Matrix value) {
    if (observer != nullptr) observer->Observe(name, static_cast<int64_t>(layer), value);
  };
  Kernels& k = model.kernels;
  const LayerWeights& w = model.weights.layers[layer];

  k.RmsNorm(b.x, w.input_norm, b.attention_in);
  observe("attn_in", b.attention_in);
  k.ProjectQkv(b.attention_in, plan.roles, w.qkv, plan.shape, b.rotary, plan.targets, b.q);  // K/V are written here
  if (keys_only) return;
  k.Attend(plan.spans, plan.shape, b.q, b.attended);
  k.Linear(b.attended, plan.roles, w.attention_out, b.attention_out);
  observe("attn_out", b.attention_out);
  k.NormAdd(b.attention_out, w.post_attention_norm, b.x);
  observe("router_in", b.x);

  k.RmsNorm(b.x, w.pre_dense_norm, b.dense_in);
  k.GatedMlp(b.dense_in, plan.roles, w.dense, b.dense_out);
  observe("dense_out", b.dense_out);
  k.Route(b.x, plan.roles, w.router, model.config.active_experts, routes);
  k.RmsNorm(b.x, w.pre_experts_norm, b.experts_in);
  k.Experts(b.experts_in, plan.roles, w.experts, routes, b.experts_out);
  observe("experts_out", b.experts_out);
}

}  // namespace dgemma
