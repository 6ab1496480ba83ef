// See bench_ops.h.
#include "bench_ops.h"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <functional>
#include <random>

#include "engine/backend.h"
#include "engine/guard.h"
#include "json_text.h"
#include "kernels/host_memory.h"
#include "model/kv_cache.h"
#include "tensor/panels.h"
#include "text_table.h"

namespace dgemma {
namespace {

constexpr int64_t kMostIds =
    65'536;  // of the vocabulary: the head takes time in proportion, and 262,144 rows much memory

double NowMs(OpClock clock) {
  timespec now = {};
  clock_gettime(clock == OpClock::kProcess ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

std::vector<float> Noise(int64_t count, float deviation) {
  std::minstd_rand engine(static_cast<uint32_t>(count));
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {  // a sum of four uniforms is normal enough, and quick for 10^8 values
    float sum = -2.0f;
    for (int i = 0; i < 4; ++i) sum += static_cast<float>(engine()) * 0x1p-31f;
    value = sum * 1.7320508f * deviation;
  }
  return values;
}

/// Value of a result that fails only where memory is short; Guarded turns that into a Status.
template <typename T>
T Take(Result<T> result) {
  if (!result) throw std::bad_alloc();
  return *std::move(result);
}

/// Random panels: codes of any value, scales and minima of 2^-8.
StoredTensor RandomPanels(const WeightFormat& format, int64_t count, int64_t out, int64_t in) {
  const int64_t bytes = GroupedBytes(format, count, out, in), panel = PanelBytes(format, in);
  const Buffer buffer = Take(AllocateHost(bytes));
  auto* data = static_cast<std::byte*>(buffer.owner.get());
  std::minstd_rand engine(1);
  std::generate_n(data, bytes, [&] { return static_cast<std::byte>(engine() >> 8); });
  for (int64_t at = 0; at < bytes; at += panel)
    std::fill_n(reinterpret_cast<uint16_t*>(data + at), PanelScaleBytes(format, in) / 2, uint16_t{0x1C00});
  StoredTensor stored{count, out, in, {}, {}};
  stored.panels = {format, {data, static_cast<size_t>(bytes)}, buffer.owner};
  return stored;
}

Operations Product(const Weight& w, int64_t rows) {
  const double operations = 2.0 * static_cast<double>(rows * w.out) * static_cast<double>(w.in);
  if (w.format.grouped()) return {.integers = operations};
  return w.format.kind == WeightKind::kBf16 ? Operations{.bf16 = operations} : Operations{.floats = operations};
}

class OpTimer {
 public:
  OpTimer(const OpsToTime& ops, const EngineOptions& options)
      : ops_(ops), c_(ops.config), rows_(c_.canvas), kernels_(MakeKernels(options, ops.config)) {}

  std::vector<OpTiming> Run() {
    TimeLinear();
    for (const bool sliding : {true, false}) {
      const auto layer = std::ranges::find(c_.layers, sliding, &LayerConfig::sliding);
      if (layer != c_.layers.end()) TimeAttention(*layer);
    }
    TimeFeedForward();
    TimeExperts();
    TimeRowOperations();
    TimeHead();
    return std::move(timings_);
  }

 private:
  Matrix Rows(int64_t rows, int64_t cols) {
    storage_.push_back(Noise(rows * cols, 1.0f));
    return {storage_.back().data(), rows, cols, cols};
  }
  float* Floats(int64_t count) {
    storage_.push_back(Noise(count, 0.1f));
    return storage_.back().data();
  }
  Weight Weights(const WeightFormat& format, int64_t count, int64_t out, int64_t in) {
    if (format.grouped()) return Take(kernels_->Pack(RandomPanels(format, count, out, in), format));
    const std::vector<float> values = Noise(count * out * in, 0.03f);
    return Take(kernels_->Pack(OneRun(DType::kF32, count, out, in, std::as_bytes(std::span(values))), format));
  }
  Weight Matrices(int64_t out, int64_t in) { return Weights(ops_.matrices, 1, out, in); }
  Weight Vector(int64_t width) {
    const std::vector<float> values = Noise(width, 1.0f);
    return Take(kernels_->PackVector(OneRun(DType::kF32, 1, 1, width, std::as_bytes(std::span(values)))));
  }

  bool Wanted(const std::string& name) const { return name.find(ops_.only) != std::string::npos; }

  void Time(const std::string& name, const Operations& operations, const std::function<void()>& run) {
    if (!Wanted(name)) return;
    run();
    std::vector<double> ms;
    for (int repeat = 0; repeat < ops_.repeats; ++repeat) {
      const double begin = NowMs(ops_.clock);
      run();
      ms.push_back(NowMs(ops_.clock) - begin);
    }
    std::ranges::sort(ms);
    timings_.push_back({name, operations, ms.front(), ms[ms.size() / 2]});
  }

  void TimeLinear() {
    const int64_t in = c_.heads * c_.layers.front().head_size;
    const Weight w = Matrices(c_.width, in);
    for (const int64_t rows : {int64_t{1}, int64_t{4}, int64_t{32}, rows_}) {
      const Matrix x = Rows(rows, in), y = Rows(rows, c_.width);
      Time(fmt::format("linear {}x{}x{}", rows, c_.width, in), Product(w, rows),
           [&] { kernels_->Linear(x, {}, w, y); });
    }
    storage_.clear();
  }

  void TimeAttention(const LayerConfig& layer) {
    const QkvShape shape{c_.heads, layer.kv_heads, layer.head_size};
    const std::string kind = fmt::format("{} x {}, kv {}", shape.heads, shape.head_size, shape.kv_heads);
    const int64_t q_width = shape.heads * shape.head_size, kv_width = shape.kv_heads * shape.head_size;
    const int64_t cached = ops_.cached_tokens, window = layer.sliding ? c_.window : 0;
    QkvWeights w{Matrices(q_width, c_.width),
                 Matrices(kv_width, c_.width),
                 {},
                 Vector(shape.head_size),
                 Vector(shape.head_size)};
    if (layer.sliding) w.v = Matrices(kv_width, c_.width);
    const Matrix a = Rows(rows_, c_.width), q = Rows(rows_, q_width), out = Rows(rows_, q_width);
    const Rotary rotary{Rows(rows_, shape.head_size / 2), Rows(rows_, shape.head_size / 2)};
    const auto store = [&](int64_t tokens) {
      const int64_t slots = RoundUpToKeyBlock(tokens);
      return KvStore{Floats(slots * kv_width), Floats(slots * kv_width), shape.kv_heads, shape.head_size, slots};
    };
    AttentionSpan span;
    span.rows = rows_;
    span.cache = store(cached + rows_);
    span.cache_end = span.pos = cached;
    span.window = window;
    span.causal = false;
    span.local = store(rows_);
    span.local_rows = rows_;
    span.rounds = RoundsAttention(w.q.format, shape.head_size);
    std::vector<KvTarget> targets;
    for (int64_t row = 0; row < rows_; ++row) targets.push_back({span.local, row});
    Operations projections = Product(w.q, rows_);
    for (const Weight* weight : {&w.k, &w.v}) projections += Product(*weight, rows_);
    Time("project qkv " + kind, projections, [&] { kernels_->ProjectQkv(a, {}, w, shape, rotary, targets, q); });
    const auto pairs = static_cast<double>(rows_ * q_width);  // of a row and a query element
    const auto keys = static_cast<double>((window > 0 ? std::min(cached, window - 1) : cached) + rows_);
    const double canvas = 4 * pairs * keys;
    Time(fmt::format("attend canvas {}, {} cached", kind, cached),
         {0, span.rounds ? 0 : canvas, span.rounds ? canvas : 0}, [&] { kernels_->Attend({&span, 1}, shape, q, out); });
    span.causal = true;
    double seen = 0;
    for (int64_t row = 0; row < rows_; ++row)
      seen += static_cast<double>(window > 0 ? std::min(cached + row + 1, window) : cached + row + 1);
    Time(fmt::format("attend causal {}, {} cached", kind, cached), {0, 4 * static_cast<double>(q_width) * seen},
         [&] { kernels_->Attend({&span, 1}, shape, q, out); });
    storage_.clear();
  }

  void TimeFeedForward() {
    const Matrix x = Rows(rows_, c_.width), y = Rows(rows_, c_.width);
    const MlpWeights mlp{Matrices(c_.hidden, c_.width), Matrices(c_.hidden, c_.width), Matrices(c_.width, c_.hidden)};
    Operations operations;
    for (const Weight* weight : {&mlp.gate, &mlp.up, &mlp.down}) operations += Product(*weight, rows_);
    Time(fmt::format("gated mlp {}", c_.hidden), operations, [&] { kernels_->GatedMlp(x, {}, mlp, y); });
    const RouterWeights router{Vector(c_.width), Weights(kFloat32Weights, 1, c_.experts, c_.width), Vector(c_.experts)};
    Routes routes;
    Time("route", Product(router.proj, rows_), [&] { kernels_->Route(x, {}, router, c_.active_experts, routes); });
    storage_.clear();
  }

  void TimeExperts() {
    const std::string name =
        fmt::format("experts {}, top {}, {} wide", c_.experts, c_.active_experts, c_.expert_hidden);
    if (!Wanted(name)) return;  // their weights take long to draw
    const Matrix x = Rows(rows_, c_.width), y = Rows(rows_, c_.width);
    Routes routes;  // evenly spread: every expert gets its share of rows
    routes.active = c_.active_experts;
    routes.expert.resize(static_cast<size_t>(rows_ * c_.active_experts));
    routes.weight.assign(routes.expert.size(), 0.1f);
    for (size_t i = 0; i < routes.expert.size(); ++i)
      routes.expert[i] = static_cast<int32_t>(i * 37 % static_cast<size_t>(c_.experts));
    const ExpertWeights experts{Weights(ops_.experts, c_.experts, 2 * c_.expert_hidden, c_.width),
                                Weights(ops_.experts, c_.experts, c_.width, c_.expert_hidden)};
    Operations operations = Product(experts.gate_up, rows_ * c_.active_experts);
    operations += Product(experts.down, rows_ * c_.active_experts);
    Time(name, operations, [&] { kernels_->Experts(x, {}, experts, routes, y); });
    storage_.clear();
  }

  void TimeRowOperations() {
    const Matrix x = Rows(rows_, c_.width), y = Rows(rows_, c_.width), z = Rows(rows_, c_.width);
    const Weight norm = Vector(c_.width);
    const std::vector<float> scalar(static_cast<size_t>(rows_), 1.0f);
    const auto values = static_cast<double>(rows_ * c_.width);
    Time("rmsnorm", {0, 3.0 * values}, [&] { kernels_->RmsNorm(x, norm, y); });
    Time("norm and add", {0, 4.0 * values}, [&] { kernels_->NormAdd(x, norm, y); });
    Time("join branches", {0, 14.0 * values}, [&] { kernels_->JoinBranches(x, z, {norm, norm, norm}, scalar, y); });
    storage_.clear();
  }

  void TimeHead() {
    const int64_t ids = std::min(c_.vocab, kMostIds);
    const Weight table = Weights(ops_.table, 1, ids, c_.width);
    const Matrix hidden = Rows(rows_, c_.width), soft = Rows(rows_, c_.width);
    const std::unique_ptr<HeadScratch> scratch = kernels_->MakeHeadScratch();
    std::vector<HeadRow> rows(static_cast<size_t>(rows_));
    HeadParams params;
    for (const bool sure : {false, true}) {
      const std::vector<float> temperature(static_cast<size_t>(rows_), sure ? 0.001f : 0.8f);
      params.temperature = temperature;
      Operations operations = Product(table, rows_);
      if (!sure) operations.floats += 2.0 * static_cast<double>(rows_ * ids) * static_cast<double>(c_.width);
      Time(fmt::format("denoise head {}, {}", ids, sure ? "few count" : "every probability counts"), operations,
           [&] { kernels_->Denoise(hidden, table, params, *scratch, rows, soft); });
    }
    std::vector<int32_t> picked(rows.size()), sampled(rows.size());
    std::vector<double> uniform(rows.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      picked[i] = static_cast<int32_t>(i);
      uniform[i] = static_cast<double>(i) / static_cast<double>(rows.size());
    }
    Weight tile = table;  // Sample computes one tile of 64 ids again for each row
    tile.out = std::min<int64_t>(64, ids);
    if (std::ranges::any_of(timings_, [](const OpTiming& timing) { return timing.name.starts_with("denoise head"); })) {
      Time(fmt::format("sample {} rows", rows_), Product(tile, rows_),
           [&] { kernels_->Sample(*scratch, picked, uniform, sampled); });
    }
    const Matrix one = hidden.Rows(0, 1), logits = Rows(1, ids), embedded = Rows(rows_, c_.width);
    Time(fmt::format("logits 1x{}", ids), Product(table, 1),
         [&] { kernels_->Logits(one, table, static_cast<float>(c_.softcap), logits); });
    Time(fmt::format("embed {} ids", rows_), {0, static_cast<double>(rows_ * c_.width)},
         [&] { kernels_->Embed(sampled, table, 32.0f, embedded); });
    storage_.clear();
  }

  const OpsToTime& ops_;
  const Config& c_;
  int64_t rows_;
  std::unique_ptr<Kernels> kernels_;
  std::vector<std::vector<float>> storage_;
  std::vector<OpTiming> timings_;
};

}  // namespace

void TakeFormats(std::span<const PlannedWeight> weights, OpsToTime& ops) {
  const auto first = [&](TensorRole role) {
    const auto found =
        std::ranges::find_if(weights, [role](const PlannedWeight& weight) { return weight.spec.role == role; });
    return found == weights.end() ? kFloat32Weights : found->format;
  };
  ops.matrices = first(TensorRole::kMatrix);
  ops.experts = first(TensorRole::kExperts);
  ops.table = first(TensorRole::kEmbedding);
}

Result<std::vector<OpTiming>> TimeOps(const OpsToTime& ops, const EngineOptions& options) {
  return Guarded([&]() -> Result<std::vector<OpTiming>> { return OpTimer(ops, options).Run(); });
}

std::string OpsTable(const std::vector<OpTiming>& timings, const MachineRates& machine, TableForm form) {
  TextTable table({"operation", "least ms", "median ms", "GOP/s", "of bound"});
  for (const OpTiming& timing : timings) {
    const double seconds = timing.least_ms / 1e3;
    const double rate =
        (timing.operations.integers + timing.operations.floats + timing.operations.bf16) / seconds / 1e9;
    table.Add({timing.name, fmt::format("{:.3f}", timing.least_ms), fmt::format("{:.3f}", timing.median_ms),
               fmt::format("{:.1f}", rate),
               fmt::format("{:.1f} %", 100 * SecondsAtPeak(timing.operations, machine) / seconds)});
  }
  return form == TableForm::kMarkdown ? table.Markdown() : table.Aligned();
}

std::string OpsJson(const std::vector<OpTiming>& timings, const MachineRates& machine) {
  boost::json::array operations;
  for (const OpTiming& timing : timings) {
    operations.push_back(boost::json::object{{"name", timing.name},
                                             {"least_ms", timing.least_ms},
                                             {"median_ms", timing.median_ms},
                                             {"int8_operations", timing.operations.integers},
                                             {"float32_operations", timing.operations.floats},
                                             {"bfloat16_operations", timing.operations.bf16},
                                             {"bound_ms", 1e3 * SecondsAtPeak(timing.operations, machine)}});
  }
  const boost::json::object object{{"machine", MachineJson(machine)}, {"operations", std::move(operations)}};
  return JsonText(object) + "\n";
}

}  // namespace dgemma
