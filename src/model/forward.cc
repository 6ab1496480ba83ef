// Forward() and the four things it needs to know about a pass: its inputs, where K/V go, what rows see, which scalar they get.
#include "model/forward.h"

#include <algorithm>
#include <cmath>

#include "base/try.h"
#include "model/rotary.h"

namespace dgemma {
namespace {

int64_t TotalRows(const Pass& pass) {
  int64_t rows = 0;
  for (const Segment& segment : pass.segments) rows += segment.rows();
  return rows;
}

/// Rows may only be left out where a store has them.
Result<void> CheckPlaces(const Segment& segment) {
  if (segment.places.empty()) return {};
  if (segment.store == nullptr || segment.places.size() != segment.tokens.size())
    return Fail(StatusCode::kInternal, "pass: places need a store, and one for each token");
  int32_t before = -1;
  for (int32_t place : segment.places) {
    if (place <= before || place >= segment.store->rows())
      return Fail(StatusCode::kInternal, "pass: places must ascend within the canvas");
    before = place;
  }
  return {};
}

/// Reads as the preconditions of Forward.
Result<void> CheckPass(const Model& model, const Activations& activations, const Pass& pass) {
  int64_t canvases = 0;
  for (const Segment& segment : pass.segments) {
    if (!segment.causal()) DG_CHECK_OK(RequireCanvases(model.config));
    canvases += segment.causal() ? 0 : 1;
    if (segment.tokens.empty()) return Fail(StatusCode::kInternal, "pass: empty segment");
    if (!segment.causal() && segment.rows() > model.config.canvas)
      return Fail(StatusCode::kInternal, "pass: canvas too long");
    DG_CHECK_OK(CheckPlaces(segment));
    if (segment.causal() && segment.pos + segment.rows() > segment.cache->context()) {
      return Fail(StatusCode::kResourceExhausted, "context: the sequence does not fit");
    }
    for (int32_t id : segment.tokens) {
      if (id < 0 || id >= model.config.vocab) {
        return Fail(StatusCode::kInvalidArgument, "token id " + std::to_string(id) + ": not in the vocabulary");
      }
    }
  }
  if (TotalRows(pass) > activations.max_rows() || canvases > activations.max_canvases()) {
    return Fail(StatusCode::kResourceExhausted, "pass: more rows than planned for");
  }
  return {};
}

void UploadRotary(const Model& model, const Pass& pass, bool sliding, const Rotary& target) {
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

/// x = embedding of every row; canvas rows then get their self-conditioning signal and the weightless norm.
void EmbedInputs(const Model& model, const Pass& pass, const PassBuffers& b) {
  const Weights& w = model.weights;
  int64_t row = 0;
  for (const Segment& segment : pass.segments) {
    const Matrix x = b.x.Rows(row, segment.rows());
    model.kernels.Embed(segment.tokens, w.embedding, model.embed_scale, x);
    if (!segment.causal() && segment.soft.data != nullptr) {
      const Matrix normed = b.normed.Rows(row, segment.rows()), signal = b.branch.Rows(row, segment.rows());
      NormSoftRows(model, segment, normed);
      model.kernels.GatedMlp(normed, w.self_conditioning, signal);
      model.kernels.AddRmsNorm(signal, x);
    } else if (!segment.causal()) {
      model.kernels.RmsNorm(x, Weight{}, x);  // the signal of the first step is exactly zero
    }
    row += segment.rows();
  }
}

/// Where each row's K and V go, and what each segment sees, in one layer.
struct LayerPlan {
  std::vector<KvTarget> targets;
  std::vector<AttentionSpan> spans;
  std::vector<float> scalars;
};

LayerPlan PlanLayer(const Model& model, const Activations& activations, const Pass& pass, size_t index) {
  const LayerConfig& layer = model.config.layers[index];
  const LayerWeights& w = model.weights.layers[index];
  LayerPlan plan;
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
      const KvStore scratch = activations.Local(canvases++, layer, segment.rows());
      span.local = segment.store != nullptr ? segment.store->Layer(index) : scratch;
      span.local_rows = segment.places.empty() ? segment.rows() : segment.store->rows();
    }
    for (int64_t r = 0; r < segment.rows(); ++r) {
      plan.targets.push_back(segment.causal() ? KvTarget{span.cache, (segment.pos + r) % span.cache.slots}
                                              : KvTarget{span.local, segment.Place(r)});
      plan.scalars.push_back(segment.causal() ? w.encoder_scalar : w.decoder_scalar);
    }
    plan.spans.push_back(span);
    row += segment.rows();
  }
  return plan;
}

/// Final norm of the wanted rows, gathered into b.hidden.
Matrix GatherHidden(const Model& model, const Pass& pass, const PassBuffers& b) {
  int64_t row = 0, taken = 0;
  for (const Segment& segment : pass.segments) {
    const int64_t wanted = segment.hidden_rows();
    if (wanted > 0) {
      model.kernels.RmsNorm(b.x.Rows(row + segment.rows() - wanted, wanted), model.weights.final_norm,
                            b.hidden.Rows(taken, wanted));
    }
    taken += wanted;
    row += segment.rows();
  }
  return b.hidden.Rows(0, taken);
}

}  // namespace

Model MakeModel(Config config, Weights weights, Kernels& kernels) {
  const float scale = Round(kernels.rounding(), std::sqrt(static_cast<float>(config.width)));
  return {std::move(config), std::move(weights), kernels, scale};
}

Result<Matrix> Forward(const Model& model, Activations& activations, const Pass& pass, ForwardObserver* observer) {
  DG_CHECK_OK(CheckPass(model, activations, pass));
  const auto observe = [&](const char* name, int64_t layer, Matrix value) {
    if (observer != nullptr) observer->Observe(name, layer, value);
  };
  Kernels& k = model.kernels;
  const PassBuffers b = activations.Narrow(TotalRows(pass));
  const bool any_hidden =
      std::any_of(pass.segments.begin(), pass.segments.end(), [](const Segment& s) { return s.hidden_rows() > 0; });
  UploadRotary(model, pass, true, b.sliding);
  UploadRotary(model, pass, false, b.full);
  EmbedInputs(model, pass, b);
  for (const Segment& segment : pass.segments) {
    if (segment.causal()) segment.cache->WillWrite(segment.pos + segment.rows());
  }
  observe("x0", -1, b.x);

  for (size_t l = 0; l < model.config.layers.size(); ++l) {
    if (pass.stop.stop_requested()) return Fail(StatusCode::kCancelled, "cancelled");
    const LayerConfig& layer = model.config.layers[l];
    const LayerWeights& w = model.weights.layers[l];
    const QkvShape shape{model.config.heads, layer.kv_heads, layer.head_size};
    const Matrix q = b.q.Cols(shape.heads * shape.head_size), attended = b.attended.Cols(shape.heads * shape.head_size);
    const auto index = static_cast<int64_t>(l);
    const LayerPlan plan = PlanLayer(model, activations, pass, l);
    Routes routes;

    k.RmsNorm(b.x, w.input_norm, b.normed);
    observe("attn_in", index, b.normed);
    k.ProjectQkv(b.normed, w.qkv, shape, layer.sliding ? b.sliding : b.full, plan.targets, q);  // K/V are written here
    if (!any_hidden && observer == nullptr && l + 1 == model.config.layers.size()) break;       // only K/V were wanted
    k.Attend(plan.spans, shape, q, attended);
    k.Linear(attended, w.attention_out, b.branch);
    observe("attn_out", index, b.branch);
    k.NormAdd(b.branch, w.post_attention_norm, b.x);
    observe("router_in", index, b.x);

    k.RmsNorm(b.x, w.pre_dense_norm, b.normed);
    k.GatedMlp(b.normed, w.dense, b.branch);
    observe("dense_out", index, b.branch);
    k.Route(b.x, w.router, model.config.active_experts, routes);
    k.RmsNorm(b.x, w.pre_experts_norm, b.normed);
    k.Experts(b.normed, w.experts, routes, b.experts);
    observe("experts_out", index, b.experts);
    k.JoinBranches(b.branch, b.experts, w.branch_norms, plan.scalars, b.x);
    observe("layer", index, b.x);
  }
  const Matrix hidden = GatherHidden(model, pass, b);
  observe("final_norm", -1, hidden);
  for (const Segment& segment : pass.segments) {
    if (segment.causal()) segment.cache->Append(segment.rows());
  }
  return hidden;
}

}  // namespace dgemma
