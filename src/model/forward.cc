// Forward(): checks a pass, embeds it, runs every layer, gathers the wanted rows.
#include "model/forward.h"

#include <algorithm>
#include <cmath>

#include "base/try.h"
#include "model/layer.h"

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
  UploadRotary(model, pass, b);
  EmbedInputs(model, pass, b);
  for (const Segment& segment : pass.segments) {
    if (segment.causal()) segment.cache->WillWrite(segment.pos + segment.rows());
  }
  observe("x0", -1, b.x);

  for (size_t l = 0; l < model.config.layers.size(); ++l) {
    if (pass.stop.stop_requested()) return Fail(StatusCode::kCancelled, "cancelled");
    const LayerPlan plan = PlanLayer(model, activations, pass, l);
    const Matrix q = b.q.Cols(plan.shape.heads * plan.shape.head_size), attended = b.attended.Cols(q.cols);
    const LayerBuffers layer{
        b.x,      b.normed, q,        attended,  b.branch,
        b.normed, b.branch, b.normed, b.experts, model.config.layers[l].sliding ? b.sliding : b.full};
    const bool keys_only = !any_hidden && observer == nullptr && l + 1 == model.config.layers.size();
    Routes routes;
    RunBranches(model, l, plan, layer, routes, observer, keys_only);
    if (keys_only) break;
    k.JoinBranches(b.branch, b.experts, model.weights.layers[l].branch_norms, plan.scalars, b.x);
    observe("layer", static_cast<int64_t>(l), b.x);
  }
  const Matrix hidden = GatherHidden(model, pass, b);
  observe("final_norm", -1, hidden);
  for (const Segment& segment : pass.segments) {
    if (segment.causal()) segment.cache->Append(segment.rows());
  }
  return hidden;
}

}  // namespace dgemma
