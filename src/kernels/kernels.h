// The seam: every operation of the model, once, with its maths, shapes and rounding. Three implementations stand behind it:
// ref/ (scalar, the specification), cpu/ (blocked, vectorised, threads) and later cuda/. Nothing above knows which one runs.
//
// Letters: R rows of the pass, D width of the model, H query heads, K key/value heads, Q head size, F dense hidden width,
// E experts, A experts a row uses, X expert hidden width, V vocabulary, S slots of a key/value store.
// Shapes are in memory order, last index fastest; activations are float32 in the backend's memory. bf(x) marks where the bfloat16
// mode of ref rounds (Transformers rounds there for a bfloat16 model); in float32 it is the identity.
// x . w depends on the format of w. float32: as it stands. bfloat16: every value of x is rounded to bfloat16 once, to nearest, ties
// to even; products are exact then, sums float32. Groups: x as int8 codes with one scale a row (tensor/groups.h). So in every
// operation and on every processor; soft embeddings are no product of activations, their probabilities stay float32.
// Where a weight has deltas (Weight::low_rank), x . w is x W^T + (scale . mask . (x down^T)) up^T: the second term is float32 and reads
// x as it is, unrounded, whatever the format of W; both are added before the result is rounded. mask is 0 for the columns of the role
// that the row has not: roles[r] is that of row r. `roles` [R] is read only where a weight of the operation has deltas, and may be
// empty only where none has. Matrix e of E matrices has matrix e of down and of up. Tables of the vocabulary and vectors have no deltas.
// Every result depends on its own row only: neighbours, chunking and the number of threads never change a bit of it.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dgemma/status.h"
#include "tensor/matrix.h"
#include "tensor/rounding.h"
#include "tensor/stored.h"

namespace dgemma {

/// Lanes of one panel of keys in a KvStore.
inline constexpr int64_t kKeyPanel = 16;
/// Slots of a KvStore are a multiple of this, so that a block of keys never wraps around the ring.
inline constexpr int64_t kKeyBlock = 64;

/// Which of the tied layers a row runs through: the encoder's (prompt, commit, autoregressive step) or the decoder's (canvas). The
/// weights are the same; adapters may change them for one role only.
enum class RowRole : uint8_t { kEncoder, kDecoder };

/// Keys and values of one layer for one sequence (its cache) or of one canvas (scratch): a ring of S slots.
///   k [K, S/16, Q, 16]: after k_norm and rotary; 16 consecutive slots interleaved, the order the score product reads
///   v [K, S, Q]: after the weightless norm
struct KvStore {
  float* k = nullptr;
  float* v = nullptr;
  int64_t kv_heads = 0;
  int64_t head_size = 0;
  int64_t slots = 0;  ///< a multiple of kKeyBlock; position p lives in slot p % slots

  int64_t KeyIndex(int64_t head, int64_t slot, int64_t dim) const {
    return ((head * (slots / kKeyPanel) + slot / kKeyPanel) * head_size + dim) * kKeyPanel + slot % kKeyPanel;
  }
  int64_t ValueIndex(int64_t head, int64_t slot, int64_t dim) const { return (head * slots + slot) * head_size + dim; }
};

/// Where the K and V of one row go.
struct KvTarget {
  KvStore store;
  int64_t slot = 0;
};

/// Rotary tables of the rows of a pass for one kind of layer. Pair i rotates elements i and i + Q/2; pairs beyond `pairs` stay.
///   cos, sin [R, pairs] f32, already rounded to the model's dtype (bf)
struct Rotary {
  Matrix cos;
  Matrix sin;
};

/// Attention weights of one layer. v is absent on full layers, where V is the raw K projection.
struct QkvWeights {
  Weight q, k, v;         // [H*Q, D], [K*Q, D], [K*Q, D]
  Weight q_norm, k_norm;  // [Q]
};

struct QkvShape {
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_size = 0;
};

/// What consecutive rows of one segment may see.
struct AttentionSpan {
  int64_t row = 0;  ///< first row of the segment in the pass
  int64_t rows = 0;
  KvStore cache;            ///< the sequence's keys and values, rows' own ones included when causal
  int64_t cache_begin = 0;  ///< first position that exists in the cache
  int64_t cache_end =
      0;            ///< one past the last cached position a bidirectional row sees; causal rows see up to themselves
  int64_t pos = 0;  ///< position of the first row
  int64_t window =
      0;  ///< causal: a row sees its last `window` positions, itself included; bidirectional: the last window - 1
          ///< cached positions; 0 means all
  bool causal = true;
  KvStore local;  ///< bidirectional: keys and values of the canvas, of this pass or kept; every row sees all of them
  int64_t local_rows = 0;  ///< bidirectional: slots of `local` that hold a row, from 0
  /// Bidirectional, Q a multiple of kKeyPanel: queries, keys, probabilities (up to a factor) and values are rounded to bfloat16
  /// before they are multiplied. Sums stay float32.
  bool rounds = false;
};

/// Whether canvases set AttentionSpan::rounds for heads of this size whose queries are made by weights of this format: bfloat16 or less
/// makes keys and values that are no more exact.
inline bool RoundsAttention(const WeightFormat& queries, int64_t head_size) {
  return queries != kFloat32Weights && head_size % kKeyPanel == 0;
}

struct MlpWeights {
  Weight gate, up, down;  // [F, D], [F, D], [D, F]
};

struct RouterWeights {
  Weight scale;             // [D]
  Weight proj;              // [E, D]
  Weight per_expert_scale;  // [E]
};

struct ExpertWeights {
  Weight gate_up;  // E x [2X, D]: rows 0..X-1 gate, X..2X-1 up
  Weight down;     // E x [D, X]
};

/// Which experts a row uses, in descending probability, and with which weight. Ties: lower index first;
/// ref orders them as torch.topk does on a CPU, which matters in bfloat16, where scores tie often.
///   expert [R, A] i32, weight [R, A] f32
struct Routes {
  std::vector<int32_t> expert;
  std::vector<float> weight;
  int64_t active = 0;
};

/// Norm weights and branch outputs that JoinBranches combines.
struct BranchNorms {
  Weight dense, experts, joined;  // [D] each: post_feedforward_layernorm_1, _2, and the one without a number
};

/// The output distribution of one row after softcap and temperature.
struct HeadRow {
  int32_t argmax = 0;  ///< lowest index among equal logits
  float max = 0;       ///< the largest logit
  float entropy = 0;   ///< nats, -sum p log p
  bool finite = true;  ///< false when any logit was NaN or infinite; the other fields are then meaningless
};

/// Parameters of the denoise head.
struct HeadParams {
  float softcap = 30.0f;
  float embed_scale = 1.0f;            ///< multiplies the soft embedding
  std::span<const float> temperature;  ///< [R], one for each row, > 0
};

/// Memory of a denoise head between Denoise and Sample; owned by the caller, opaque, reusable for any later pass.
struct HeadScratch {
  virtual ~HeadScratch() = default;
};

class Kernels {
 public:
  virtual ~Kernels() = default;

  /// For people: backend, instruction set, threads; for example "cpu avx2, 2 threads".
  virtual std::string Description() const = 0;
  /// Precision of stored activations; constants such as the embedding scale are rounded alike.
  virtual Rounding rounding() const { return Rounding::kFloat32; }

  // ---- memory -----------------------------------------------------------------------------------------------------------

  /// Zeroed memory of this backend, aligned to 64 bytes. kResourceExhausted when there is none.
  virtual Result<Buffer> Allocate(int64_t bytes) = 0;
  /// Brings stored matrices [count, out, in] into the layout this backend reads, in `format`: NaturalFormat(tensor) keeps values
  /// (or a file's codes) exactly; panels that are in this format already are used where they lie. kInvalidFile as ReadGroupedRow.
  virtual Result<Weight> Pack(const StoredTensor& tensor, const WeightFormat& format) = 0;
  /// A vector (norm weight, scale) as plain float32.
  virtual Result<Weight> PackVector(const StoredTensor& tensor) = 0;
  /// Bytes that Pack would allocate for this shape: the memory plan before loading.
  virtual int64_t PackedBytes(const WeightFormat& format, int64_t count, int64_t out, int64_t in) const = 0;
  /// Host -> backend and backend -> host copies of float rows (dense [rows, cols] on the host side).
  virtual void Upload(std::span<const float> source, Matrix target) = 0;
  virtual void Download(Matrix source, std::span<float> target) = 0;
  /// Copies float rows within the backend's memory: target [R, D] from source [R, D], which do not overlap.
  virtual void Copy(Matrix source, Matrix target) = 0;

  // ---- rows in, rows out ------------------------------------------------------------------------------------------------

  /// out[r] = bf(table[ids[r]] * scale). table V x D, out [R, D]. Ids must be in range (callers check).
  /// DiffusionGemmaTextScaledWordEmbedding.
  virtual void Embed(std::span<const int32_t> ids, const Weight& table, float scale, Matrix out) = 0;

  /// out[r] = bf(x[r] * (mean(x[r]^2) + eps)^-1/2 * weight), weight absent = ones. x, out [R, D]; may alias. DiffusionGemmaRMSNorm.
  virtual void RmsNorm(Matrix x, const Weight& weight, Matrix out) = 0;

  /// out[r] = bf(x[r] . w^T): x [R, in], w [out, in], out [R, out]; must not alias. Float32 accumulation.
  virtual void Linear(Matrix x, std::span<const RowRole> roles, const Weight& w, Matrix out) = 0;

  /// sum[r] = RmsNorm(bf(sum[r] + x[r])) without weight, in place in `sum`. The post_norm of DiffusionGemmaSelfConditioning.
  virtual void AddRmsNorm(Matrix x, Matrix sum) = 0;

  /// residual[r] = bf(residual[r] + RmsNorm(y[r], weight)), in place in `residual`.
  virtual void NormAdd(Matrix y, const Weight& weight, Matrix residual) = 0;

  /// Attention inputs of one layer. a [R, D] (normed); q [R, H*Q] gets rotary(norm(a Wq)); K and V go to target[r]:
  /// K = rotary(norm(a Wk)), V = weightless norm of (a Wv, or of a Wk where v is absent).
  /// rotary: out[i] = bf(bf(x[i] c[i]) + bf(-x[i+Q/2] s[i])), out[i+Q/2] = bf(bf(x[i+Q/2] c[i]) + bf(x[i] s[i])).
  virtual void ProjectQkv(Matrix a, std::span<const RowRole> roles, const QkvWeights& w, const QkvShape& shape,
                          const Rotary& rotary, std::span<const KvTarget> target, Matrix q) = 0;

  /// out[r] = softmax over visible keys of (q . k) times v, scale 1, query head h uses key/value head h / (H/K).
  /// bfloat16 mode as eager attention: scores bf, softmax in f32, probabilities bf, product bf. q, out [R, H*Q]; must not alias.
  virtual void Attend(std::span<const AttentionSpan> spans, const QkvShape& shape, Matrix q, Matrix out) = 0;

  /// out = bf(bf(bf(gelu(x Wg)) * bf(x Wu)) Wd), gelu in its tanh form. x [R, D], out [R, D]; must not alias. DiffusionGemmaText4MLP.
  virtual void GatedMlp(Matrix x, std::span<const RowRole> roles, const MlpWeights& w, Matrix out) = 0;

  /// Chooses `active` experts a row: z = bf(bf(bf(RmsNorm(h) scale) D^-1/2) Wp), p = softmax_f32(z), the largest p normalised to
  /// sum 1, times per_expert_scale. h [R, D] is the residual, not the experts' normed input. DiffusionGemmaTextRouter.
  virtual void Route(Matrix h, std::span<const RowRole> roles, const RouterWeights& w, int64_t active,
                     Routes& routes) = 0;

  /// out[r] = sum over the row's experts e of weight * Down_e(bf(bf(gelu(g)) u)), (g, u) = x GateUp_e^T. x, out [R, D]; must not alias.
  /// Sum in float32 in the order of the routes; bfloat16 mode as Transformers' eager experts: ascending expert, every product and sum bf.
  virtual void Experts(Matrix x, std::span<const RowRole> roles, const ExpertWeights& w, const Routes& routes,
                       Matrix out) = 0;

  /// h[r] = bf(bf(h[r] + RmsNorm(bf(RmsNorm(dense[r]) + RmsNorm(experts[r])))) * scalar[r]), in place in h. All [R, D], scalar [R] on the host.
  virtual void JoinBranches(Matrix dense, Matrix experts, const BranchNorms& norms, std::span<const float> scalar,
                            Matrix h) = 0;

  // ---- vocabulary -------------------------------------------------------------------------------------------------------

  virtual std::unique_ptr<HeadScratch> MakeHeadScratch() = 0;

  /// The denoise head over final-normed rows hidden [R, D] and the table E [V, D]. With z = softcap tanh(bf(hidden E^T) / softcap),
  /// l = z / temperature, p = softmax(l): fills rows[r], and soft[r] = bf(bf(bf(p) E) embed_scale) [R, D] (in bfloat16 mode p comes
  /// from bf(l), as Transformers stores it). R x V is never stored outside ref. `scratch` keeps what Sample needs until the next call.
  virtual void Denoise(Matrix hidden, const Weight& table, const HeadParams& params, HeadScratch& scratch,
                       std::span<HeadRow> rows, Matrix soft) = 0;

  /// For each picked row of the last Denoise on `scratch`: the first id whose cumulative probability exceeds uniform * total
  /// (float64 sums, as the recorded draws of the tests). rows index that Denoise's rows; uniform in [0, 1).
  virtual void Sample(HeadScratch& scratch, std::span<const int32_t> rows, std::span<const double> uniform,
                      std::span<int32_t> ids) = 0;

  /// z = softcap tanh(bf(hidden E^T) / softcap) in full: out [R, V]. For autoregressive steps (one row), dumps and training.
  virtual void Logits(Matrix hidden, const Weight& table, float softcap, Matrix out) = 0;

  /// soft[r] = bf(bf(bf(softmax(logits[r])) E) scale) from given logits [R, V] (already divided by the temperature and stored
  /// in the model's dtype). For start logits that a caller supplies.
  virtual void SoftEmbed(Matrix logits, const Weight& table, float scale, Matrix soft) = 0;
};

}  // namespace dgemma
