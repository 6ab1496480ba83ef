// The cases of train_cases.h that have keys and values: projection and attention.
#include <algorithm>
#include <cmath>

#include "train_operands.h"

namespace dgemma::test {

using exact::Values;

namespace {

/// A key/value store with its memory. Tensors hold it by slot: [S, K*Q].
struct CaseStore {
  CaseStore(int64_t kv_heads, int64_t head_size, int64_t slots)
      : k(Size(kv_heads * head_size * slots), 0.0f), v(k), view{k.data(), v.data(), kv_heads, head_size, slots} {}
  CaseStore(const CaseStore&) = delete;
  CaseStore& operator=(const CaseStore&) = delete;

  void WriteRow(int64_t slot, const float* keys, const float* values) const {
    for (int64_t i = 0; i < view.kv_heads * view.head_size; ++i) {
      view.k[view.KeyIndex(i / view.head_size, slot, i % view.head_size)] = keys[i];
      view.v[view.ValueIndex(i / view.head_size, slot, i % view.head_size)] = values[i];
    }
  }
  void ReadRow(int64_t slot, float* keys, float* values) const {
    for (int64_t i = 0; i < view.kv_heads * view.head_size; ++i) {
      keys[i] = view.k[view.KeyIndex(i / view.head_size, slot, i % view.head_size)];
      values[i] = view.v[view.ValueIndex(i / view.head_size, slot, i % view.head_size)];
    }
  }

  std::vector<float> k, v;
  KvStore view;
};

}  // namespace

TrainCase QkvCase(const QkvCaseShape& s, uint32_t seed, const CaseDeltas& deltas) {
  const int64_t size = s.heads.head_size, q_width = s.heads.heads * size, kv_width = s.heads.kv_heads * size;
  TrainCase c{Label(s.has_value ? "qkv" : "qk", {{"R", s.rows},
                                                 {"D", s.width},
                                                 {"H", s.heads.heads},
                                                 {"K", s.heads.kv_heads},
                                                 {"Q", size},
                                                 {"pairs", s.pairs}}),
              {},
              std::max({s.rows, s.width, q_width}),
              {},
              {}};
  c.inputs["a"] = RandomRows(s.rows, s.width, seed);
  c.inputs["q"] = RandomMatrices(1, q_width, s.width, seed + 1);
  c.inputs["k"] = RandomMatrices(1, kv_width, s.width, seed + 2);
  if (s.has_value) c.inputs["v"] = RandomMatrices(1, kv_width, s.width, seed + 3);
  c.inputs["q_norm"] = RandomVector(size, seed + 4);
  c.inputs["k_norm"] = RandomVector(size, seed + 5);
  std::vector<float> cosine, sine;
  for (float angle : Normals(s.rows * s.pairs, seed + 6, 2.0f)) {
    cosine.push_back(std::cos(angle));
    sine.push_back(std::sin(angle));
  }
  const std::vector<float> dq = Normals(s.rows * q_width, seed + 7), dk = Normals(s.rows * kv_width, seed + 8),
                           dv = Normals(s.rows * kv_width, seed + 9);
  AddDeltas(deltas, s.rows, seed + 100, c);
  c.loss = [=](const DoubleTensors& in) {
    const ExactProduct product{in, deltas};
    const auto head_rows = [&](const Values& projected, size_t width, const Values& norm) {
      return exact::Rotate(exact::RmsNorm(projected, Size(size), norm), width, Size(size), Widen(cosine), Widen(sine));
    };
    const Values q = product(in.at("a"), "q", s.width, q_width);
    const Values k = product(in.at("a"), "k", s.width, kv_width);
    const Values v = s.has_value ? product(in.at("a"), "v", s.width, kv_width) : k;
    return exact::Dot(head_rows(q, Size(q_width), in.at("q_norm")), dq) +
           exact::Dot(head_rows(k, Size(kv_width), in.at("k_norm")), dk) +
           exact::Dot(exact::RmsNorm(v, Size(size)), dv);
  };
  c.gradients = [=, roles = c.roles](const TrainRun& run, const Tensors& in) {
    Operands operands(run, in, deltas);
    const Rows a = operands.Input("a"), cosines(s.rows, s.pairs, cosine), sines(s.rows, s.pairs, sine);
    const CaseStore store(s.heads.kv_heads, size, (s.rows + kKeyBlock - 1) / kKeyBlock * kKeyBlock);
    std::vector<KvTarget> targets;
    for (int64_t row = 0; row < s.rows; ++row) {
      targets.push_back({store.view, s.rows - 1 - row});
      store.WriteRow(targets.back().slot, dk.data() + row * kv_width, dv.data() + row * kv_width);
    }
    const auto weights = [&](auto&& of) { return QkvWeights{of("q"), of("k"), of("v"), of("q_norm"), of("k_norm")}; };
    const QkvWeights w = weights([&](const char* name) { return operands.WeightOf(name); });
    const QkvWeights dw = weights([&](const char* name) { return operands.GradientOf(name); });
    const Matrix da = operands.Overwritten("a");
    for (int time = 0; time < run.times; ++time) {
      const Rows gradient(s.rows, q_width, dq);
      run.backend.train->ProjectQkvBackward(a.view, roles, w, s.heads, {cosines.view, sines.view}, targets,
                                            gradient.view, dw, da);
    }
    operands.Keep("a", da, false);
    return operands.Collect();
  };
  return c;
}

TrainCase AttendCase(const AttendCaseShape& s, uint32_t seed) {
  const int64_t size = s.heads.head_size, q_width = s.heads.heads * size, kv_width = s.heads.kv_heads * size;
  int64_t rows = 0, depth = q_width;
  for (const AttendCaseSpan& span : s.spans) {
    rows += span.rows;
    depth = std::max({depth, rows, span.pos + span.rows, span.cache_end + span.local_rows});
  }
  TrainCase c{"attend " + s.name, {}, depth, {}, {}};
  for (size_t i = 0; i < s.slots.size(); ++i) {
    const bool seen = std::ranges::any_of(s.spans, [&](const AttendCaseSpan& span) {
      return (span.cache == static_cast<int>(i) && (span.local < 0 || span.cache_end > span.cache_begin)) ||
             (span.local == static_cast<int>(i) && span.local_rows > 0);
    });
    if (!seen) c.flat.insert({"k" + std::to_string(i), "v" + std::to_string(i)});
  }
  c.inputs["q"] = RandomRows(rows, q_width, seed);
  for (size_t i = 0; i < s.slots.size(); ++i) {
    const auto salt = static_cast<uint32_t>(i) * 2;
    const float deviation = 2 * UnitDeviation(size);  // scores of a few units
    c.inputs["k" + std::to_string(i)] = RandomRows(s.slots[i], kv_width, seed + 2 + salt, deviation);
    c.inputs["v" + std::to_string(i)] = RandomRows(s.slots[i], kv_width, seed + 3 + salt);
  }
  const std::vector<float> dout = Normals(rows * q_width, seed + 1);

  c.loss = [=](const DoubleTensors& in) {
    double loss = 0;
    int64_t row = 0;
    for (const AttendCaseSpan& span : s.spans) {
      for (int64_t end = row + span.rows, pos = span.pos; row < end; ++row, ++pos) {
        std::vector<std::pair<int, int64_t>> seen;  // store and slot
        for (int64_t p = span.cache_begin; p < (span.local < 0 ? pos + 1 : span.cache_end); ++p) {
          const int64_t distance =
              span.local < 0 ? pos - p : span.cache_end - p;  // a canvas starts where the cache ends
          if (span.window == 0 || distance < span.window) seen.emplace_back(span.cache, p % s.slots[Size(span.cache)]);
        }
        for (int64_t slot = 0; slot < span.local_rows; ++slot) seen.emplace_back(span.local, slot);
        for (int64_t head = 0; head < s.heads.heads; ++head) {
          const int64_t kv_head = head * s.heads.kv_heads / s.heads.heads;
          Values keys, values;
          for (const auto& [store, slot] : seen) {
            const int64_t begin = slot * kv_width + kv_head * size;
            const Values& k = in.at("k" + std::to_string(store));
            const Values& v = in.at("v" + std::to_string(store));
            keys.insert(keys.end(), k.begin() + begin, k.begin() + begin + size);
            values.insert(values.end(), v.begin() + begin, v.begin() + begin + size);
          }
          const int64_t query = row * q_width + head * size;
          const Values out = exact::Attend(std::span(in.at("q")).subspan(Size(query), Size(size)), keys, values);
          loss += exact::Dot(out, std::vector<float>(dout.begin() + query, dout.begin() + query + size));
        }
      }
    }
    return loss;
  };

  c.gradients = [=](const TrainRun& run, const Tensors& in) {
    Operands operands(run, in);
    std::vector<std::unique_ptr<CaseStore>> stores, gradients;
    for (size_t i = 0; i < s.slots.size(); ++i) {
      stores.push_back(std::make_unique<CaseStore>(s.heads.kv_heads, size, s.slots[i]));
      gradients.push_back(std::make_unique<CaseStore>(s.heads.kv_heads, size, s.slots[i]));
      const std::vector<float>& k = in.at("k" + std::to_string(i)).values;
      const std::vector<float>& v = in.at("v" + std::to_string(i)).values;
      for (int64_t slot = 0; slot < s.slots[i]; ++slot) {
        stores[i]->WriteRow(slot, k.data() + slot * kv_width, v.data() + slot * kv_width);
      }
    }
    std::vector<AttentionSpan> spans, dspans;
    int64_t row = 0;
    for (const AttendCaseSpan& part : s.spans) {
      AttentionSpan span;
      span.row = row;
      span.rows = part.rows;
      span.cache = stores[Size(part.cache)]->view;
      span.cache_begin = part.cache_begin;
      span.cache_end = part.cache_end;
      span.pos = part.pos;
      span.window = part.window;
      span.causal = part.local < 0;
      AttentionSpan dspan = span;
      dspan.cache = gradients[Size(part.cache)]->view;
      if (part.local >= 0) {
        span.local = stores[Size(part.local)]->view;
        dspan.local = gradients[Size(part.local)]->view;
        span.local_rows = dspan.local_rows = part.local_rows;
      }
      spans.push_back(span);
      dspans.push_back(dspan);
      row += part.rows;
    }
    const Rows q = operands.Input("q"), gradient(rows, q_width, dout);
    Rows out(rows, q_width);
    run.backend.forward->Attend(spans, s.heads, q.view, out.view);
    const Matrix dq = operands.Overwritten("q");
    for (int time = 0; time < run.times; ++time) {
      run.backend.train->AttendBackward(spans, dspans, s.heads, q.view, out.view, gradient.view, dq);
    }
    operands.Keep("q", dq, false);
    for (size_t i = 0; i < s.slots.size(); ++i) {
      const Rows k(s.slots[i], kv_width), v(s.slots[i], kv_width);
      for (int64_t slot = 0; slot < s.slots[i]; ++slot) gradients[i]->ReadRow(slot, k.view.Row(slot), v.view.Row(slot));
      operands.Keep("k" + std::to_string(i), k.view, true);
      operands.Keep("v" + std::to_string(i), v.view, true);
    }
    return operands.Collect();
  };
  return c;
}

}  // namespace dgemma::test
