// The backward pass, in the reverse order of model/forward.cc and model/layer.cc.
#include "train/train_pass.h"

#include <algorithm>

#include "base/try.h"

namespace dgemma {
namespace {

int64_t WidestQuery(const Config& config) {
  int64_t width = 0;
  for (const LayerConfig& layer : config.layers) width = std::max(width, config.heads * layer.head_size);
  return width;
}

int64_t WidestKeys(const Config& config) {
  int64_t width = 0;
  for (const LayerConfig& layer : config.layers) width = std::max(width, layer.kv_heads * layer.head_size);
  return width;
}

/// Floats of all row buffers: the tape, one layer's values, and their gradients.
int64_t RowFloats(const Config& config, int64_t rows) {
  const auto layers = static_cast<int64_t>(config.layers.size());
  return rows * ((layers + 1 + 7 + 4) * config.width + 4 * WidestQuery(config));
}

int64_t StoreFloats(const Config& config, int64_t canvases, int64_t cache_slots) {
  return 2 * WidestKeys(config) * (cache_slots + canvases * RoundUpToKeyBlock(config.canvas));
}

/// Remembers the input of every layer.
class Tape final : public ForwardObserver {
 public:
  Tape(TrainKernels& kernels, std::vector<Matrix>& inputs) : kernels_(kernels), inputs_(inputs) {}

  void Observe(const char* name, int64_t layer, Matrix value) override {
    const std::string_view what = name;
    if (what == "x0") kernels_.Copy(value, inputs_.front().Rows(0, value.rows));
    if (what == "layer") kernels_.Copy(value, inputs_[static_cast<size_t>(layer) + 1].Rows(0, value.rows));
  }

 private:
  TrainKernels& kernels_;
  std::vector<Matrix>& inputs_;
};

}  // namespace

int64_t TrainPass::PlannedBytes(const Config& config, int64_t rows, int64_t canvases, int64_t cache_slots) {
  return static_cast<int64_t>(sizeof(float)) * (RowFloats(config, rows) + StoreFloats(config, canvases, cache_slots));
}

Result<TrainPass> TrainPass::Create(const Model& model, TrainKernels& kernels, int64_t rows, int64_t canvases,
                                    int64_t cache_slots) {
  TrainPass pass(model, kernels);
  const Config& config = model.config;
  const auto bytes = [](int64_t floats) { return floats * static_cast<int64_t>(sizeof(float)); };
  DG_TRY(pass.memory_, model.kernels.Allocate(bytes(RowFloats(config, rows))));
  DG_TRY(pass.store_memory_, model.kernels.Allocate(bytes(StoreFloats(config, canvases, cache_slots))));
  float* next = pass.memory_.Floats();
  const auto take = [&](int64_t cols) {
    const Matrix taken{next, rows, cols, cols};
    next += rows * cols;
    return taken;
  };
  const int64_t width = config.width, query_width = WidestQuery(config);
  for (size_t l = 0; l <= config.layers.size(); ++l) pass.tape_.push_back(take(width));
  for (Matrix LayerBuffers::* buffer :
       {&LayerBuffers::x, &LayerBuffers::attention_in, &LayerBuffers::attention_out, &LayerBuffers::dense_in,
        &LayerBuffers::dense_out, &LayerBuffers::experts_in, &LayerBuffers::experts_out}) {
    pass.layer_.*buffer = take(width);
  }
  pass.layer_.q = take(query_width);
  pass.layer_.attended = take(query_width);
  for (Matrix TrainPass::* buffer : {&TrainPass::dx_, &TrainPass::dinput_, &TrainPass::dbranch_, &TrainPass::dexperts_})
    pass.*buffer = take(width);
  pass.dq_ = take(query_width);
  pass.dattended_ = take(query_width);
  return pass;
}

Result<Matrix> TrainPass::Run(Activations& activations, const Pass& pass) {
  Tape tape(kernels_, tape_);
  return Forward(model_, activations, pass, &tape);
}

void TrainPass::Backward(const Activations& activations, const Pass& pass, Matrix dhidden,
                         std::span<const Matrix> first_hidden, const Weights& gradients) {
  int64_t row = 0, taken = 0;
  for (const Segment& segment : pass.segments) row += segment.rows();
  const Matrix dx = dx_.Rows(0, row);
  rotary_ = activations.Narrow(row);
  kernels_.Zero(dx);
  row = 0;
  for (const Segment& segment : pass.segments) {  // as GatherHidden in forward.cc
    const int64_t wanted = segment.hidden_rows(), first = row + segment.rows() - wanted;
    if (wanted > 0) {
      kernels_.RmsNormBackward(tape_.back().Rows(first, wanted), model_.weights.final_norm, dhidden.Rows(taken, wanted),
                               gradients.final_norm, dx.Rows(first, wanted));
    }
    taken += wanted;
    row += segment.rows();
  }
  for (size_t l = model_.config.layers.size(); l-- > 0;) LayerBackward(activations, pass, l, dx, gradients);
  EmbedBackward(pass, dx, first_hidden, gradients);
}

TrainPass::StoreGradients TrainPass::MakeStores(const LayerPlan& plan) {
  StoreGradients made{plan.spans, plan.targets};
  std::vector<std::pair<const float*, KvStore>> known;  // forward keys -> gradients
  float* next = store_memory_.Floats();
  const auto gradient_of = [&](const KvStore& store) -> KvStore {
    if (store.k == nullptr) return store;
    for (const auto& [keys, gradient] : known) {
      if (keys == store.k) return gradient;
    }
    const int64_t floats = store.kv_heads * store.head_size * store.slots;
    KvStore gradient = store;
    gradient.k = next;
    gradient.v = next + floats;
    kernels_.Zero({next, 1, 2 * floats, 2 * floats});
    next += 2 * floats;
    known.emplace_back(store.k, gradient);
    return gradient;
  };
  for (AttentionSpan& span : made.spans) {
    span.cache = gradient_of(span.cache);
    span.local = gradient_of(span.local);
  }
  for (KvTarget& target : made.targets) target.store = gradient_of(target.store);
  return made;
}

void TrainPass::LayerBackward(const Activations& activations, const Pass& pass, size_t layer, Matrix dx,
                              const Weights& gradients) {
  const LayerWeights& w = model_.weights.layers[layer];
  const LayerWeights& dw = gradients.layers[layer];
  const LayerPlan plan = PlanLayer(model_, activations, pass, layer);
  const int64_t rows = dx.rows, query_width = plan.shape.heads * plan.shape.head_size;
  const auto narrow = [&](const Matrix& all) { return all.Rows(0, rows); };
  const LayerBuffers b{narrow(layer_.x),
                       narrow(layer_.attention_in),
                       narrow(layer_.q).Cols(query_width),
                       narrow(layer_.attended).Cols(query_width),
                       narrow(layer_.attention_out),
                       narrow(layer_.dense_in),
                       narrow(layer_.dense_out),
                       narrow(layer_.experts_in),
                       narrow(layer_.experts_out),
                       model_.config.layers[layer].sliding ? rotary_.sliding : rotary_.full};
  const Matrix input = narrow(tape_[layer]), dinput = narrow(dinput_), dbranch = narrow(dbranch_),
               dexperts = narrow(dexperts_);
  const Matrix dq = narrow(dq_).Cols(query_width), dattended = narrow(dattended_).Cols(query_width);
  Routes routes;
  kernels_.Copy(input, b.x);
  RunBranches(model_, layer, plan, b, routes, nullptr);  // b.x is now what the branches read

  TrainKernels& k = kernels_;
  k.JoinBranchesBackward(b.dense_out, b.experts_out, w.branch_norms, plan.scalars, dw.branch_norms, dx, dbranch,
                         dexperts);
  droute_.resize(routes.weight.size());
  k.ExpertsBackward(b.experts_in, plan.roles, w.experts, routes, dexperts, dw.experts, droute_, dinput);
  k.RmsNormBackward(b.x, w.pre_experts_norm, dinput, dw.pre_experts_norm, dx);
  k.RouteBackward(b.x, plan.roles, w.router, routes, droute_, dw.router, dx);
  k.GatedMlpBackward(b.dense_in, plan.roles, w.dense, dbranch, dw.dense, dinput);
  k.RmsNormBackward(b.x, w.pre_dense_norm, dinput, dw.pre_dense_norm, dx);

  k.Zero(dbranch);
  k.RmsNormBackward(b.attention_out, w.post_attention_norm, dx, dw.post_attention_norm, dbranch);
  k.LinearBackward(b.attended, plan.roles, w.attention_out, dbranch, dw.attention_out, dattended);
  const StoreGradients stores = MakeStores(plan);
  k.AttendBackward(plan.spans, stores.spans, plan.shape, b.q, b.attended, dattended, dq);
  k.ProjectQkvBackward(b.attention_in, plan.roles, w.qkv, plan.shape, b.rotary, stores.targets, dq, dw.qkv, dinput);
  k.RmsNormBackward(input, w.input_norm, dinput, dw.input_norm, dx);
}

void TrainPass::EmbedBackward(const Pass& pass, Matrix dx, std::span<const Matrix> first_hidden,
                              const Weights& gradients) {
  const Weights& w = model_.weights;
  TrainKernels& k = kernels_;
  int64_t row = 0;
  size_t canvas = 0;
  for (const Segment& segment : pass.segments) {
    const int64_t rows = segment.rows();
    const Matrix dout = dx.Rows(row, rows);
    row += rows;
    if (segment.causal()) {
      k.EmbedBackward(segment.tokens, model_.embed_scale, dout, gradients.embedding);
      continue;
    }
    const Matrix first = canvas < first_hidden.size() ? first_hidden[canvas] : Matrix{};
    ++canvas;
    // The sum of embedding and signal, which the weightless norm read, once more.
    const Matrix sum = layer_.x.Rows(0, rows), normed = layer_.dense_in.Rows(0, rows),
                 signal = layer_.dense_out.Rows(0, rows);
    const Matrix dsum = dbranch_.Rows(0, rows), dnormed = dinput_.Rows(0, rows), dsoft = dexperts_.Rows(0, rows);
    const std::vector<RowRole> roles(segment.tokens.size(), RowRole::kDecoder);
    model_.kernels.Embed(segment.tokens, w.embedding, model_.embed_scale, sum);
    if (segment.soft.data != nullptr) {
      model_.kernels.RmsNorm(segment.soft, w.self_conditioning_norm, normed);
      model_.kernels.GatedMlp(normed, roles, w.self_conditioning, signal);
      k.Add(signal, sum);
    }
    k.Zero(dsum);
    k.RmsNormBackward(sum, Weight{}, dout, Weight{}, dsum);
    k.EmbedBackward(segment.tokens, model_.embed_scale, dsum, gradients.embedding);
    if (segment.soft.data == nullptr) continue;
    k.GatedMlpBackward(normed, roles, w.self_conditioning, dsum, gradients.self_conditioning, dnormed);
    k.Zero(dsoft);
    k.RmsNormBackward(segment.soft, w.self_conditioning_norm, dnormed, gradients.self_conditioning_norm, dsoft);
    if (first.data != nullptr) {
      k.SoftEmbedBackward(first, w.embedding, static_cast<float>(model_.config.softcap), model_.embed_scale, dsoft,
                          gradients.embedding);
    }
  }
}

}  // namespace dgemma
