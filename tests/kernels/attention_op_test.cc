// Projection and attention: cpu against ref, and the promises that let the engine cut a prompt anywhere and mix sequences.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "op_cases.h"

namespace dgemma::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// A store whose slots hold NaN until they are written.
struct Store {
  Store(int64_t kv_heads, int64_t head_size, int64_t positions) {
    const int64_t slots = (positions + kKeyBlock - 1) / kKeyBlock * kKeyBlock;
    k.assign(static_cast<size_t>(kv_heads * slots * head_size), kNan);
    v = k;
    view = {k.data(), v.data(), kv_heads, head_size, slots};
  }

  std::vector<float> k, v;
  KvStore view;
};

/// Queries, keys and values of `rows` rows; keys are scaled so that scores stay within a few units.
struct Timeline {
  Timeline(const QkvShape& shape_in, int64_t rows, uint32_t seed)
      : shape(shape_in),
        q(Normals(rows * shape.heads * shape.head_size, seed)),
        k(Normals(rows * shape.kv_heads * shape.head_size, seed + 1,
                  2.0f / std::sqrt(static_cast<float>(shape.head_size)))),
        v(Normals(rows * shape.kv_heads * shape.head_size, seed + 2)) {}

  void Write(int64_t row, const KvStore& store, int64_t slot) const {
    const int64_t width = shape.kv_heads * shape.head_size;
    for (int64_t i = 0; i < width; ++i) {
      store.k[store.KeyIndex(i / shape.head_size, slot, i % shape.head_size)] = k[static_cast<size_t>(row * width + i)];
      store.v[store.ValueIndex(i / shape.head_size, slot, i % shape.head_size)] =
          v[static_cast<size_t>(row * width + i)];
    }
  }
  Rows Queries(int64_t begin, int64_t rows) const {
    const int64_t width = shape.heads * shape.head_size;
    return {rows, width, {q.begin() + begin * width, q.begin() + (begin + rows) * width}};
  }
  /// Outputs are means of values; scores carry the error of their sums into the weights, the softmax a few roundings more.
  double Bound(int64_t keys) const {
    const double score = SumBound(shape.head_size, LargestRowNorm(q, shape.head_size),
                                  2 / std::sqrt(static_cast<double>(shape.head_size)));
    return 5 * (2 * score + (std::sqrt(static_cast<double>(keys)) + 20) * kEps);
  }

  QkvShape shape;
  std::vector<float> q, k, v;
};

struct Causal {
  int64_t rows;
  int64_t window;
  int64_t slots;
};

/// Prefill in chunks: every chunk's keys and values are written, then its rows attend.
Rows Prefill(Kernels& kernels, const Timeline& line, const Causal& c, const std::vector<int64_t>& ends) {
  Store store(line.shape.kv_heads, line.shape.head_size, c.slots);
  Rows out(c.rows, line.shape.heads * line.shape.head_size);
  int64_t begin = 0;
  for (int64_t end : ends) {
    for (int64_t row = begin; row < end; ++row) line.Write(row, store.view, row % store.view.slots);
    AttentionSpan span;
    span.rows = end - begin;
    span.cache = store.view;
    span.cache_begin = std::max<int64_t>(0, end - store.view.slots);
    span.pos = begin;
    span.window = c.window;
    kernels.Attend({&span, 1}, line.shape, line.Queries(begin, end - begin).view, out.view.Rows(begin, end - begin));
    begin = end;
  }
  return out;
}

constexpr std::array<QkvShape, 8> kShapes = {
    {{8, 2, 16}, {4, 1, 32}, {16, 8, 64}, {8, 4, 128}, {8, 1, 256}, {4, 1, 512}, {2, 2, 24}, {3, 1, 8}}};

std::string Label(const std::string& op, const QkvShape& s, const Causal& c) {
  return op + " H " + std::to_string(s.heads) + " K " + std::to_string(s.kv_heads) + " Q " +
         std::to_string(s.head_size) + " rows " + std::to_string(c.rows) + " window " + std::to_string(c.window);
}

TEST(Attend, CausalRowsAgreeWithRef) {
  for (const QkvShape& shape : kShapes) {
    const int64_t rows = shape.head_size >= 128 ? 70 : 150;
    for (int64_t window : {0, 1, 33, 64}) {
      const Causal c{rows, window, rows};
      const Timeline line(shape, rows, 11);
      const Rows expected = Prefill(*Ref(), line, c, {rows}), actual = Prefill(*Cpu(), line, c, {rows});
      ExpectClose(Label("causal", shape, c), expected.view, actual.view, line.Bound(rows));
      EXPECT_TRUE(SameBits(actual.view, Prefill(*Cpu(2), line, c, {rows}).view));
      EXPECT_TRUE(SameBits(actual.view, Prefill(*Cpu(4), line, c, {rows}).view));
    }
  }
}

TEST(Attend, GivesTheSameBytesWhereverThePromptIsCut) {
  for (const QkvShape& shape : {QkvShape{8, 2, 16}, QkvShape{4, 1, 32}}) {
    for (int64_t window : {0, 8, 40}) {
      const Causal c{130, window, 192};
      const Timeline line(shape, c.rows, 21);
      const std::unique_ptr<Kernels> cpu = Cpu();
      const Rows whole = Prefill(*cpu, line, c, {c.rows});
      for (int64_t split = 1; split < c.rows; ++split) {
        EXPECT_TRUE(SameBits(whole.view, Prefill(*cpu, line, c, {split, c.rows}).view)) << "cut at " << split;
      }
      std::vector<int64_t> single;
      for (int64_t end = 1; end <= c.rows; ++end) single.push_back(end);
      EXPECT_TRUE(SameBits(whole.view, Prefill(*cpu, line, c, single).view)) << "row by row";
    }
  }
}

TEST(Attend, ReadsARingThatHasWrappedAsTheFullCache) {
  const Timeline line({4, 2, 16}, 500, 31);
  const std::unique_ptr<Kernels> cpu = Cpu();
  std::vector<int64_t> ends;
  for (int64_t end = 37; end < 500; end += 37) ends.push_back(end);
  ends.push_back(500);
  const Rows full = Prefill(*cpu, line, {500, 20, 512}, ends), ring = Prefill(*cpu, line, {500, 20, 64}, ends);
  EXPECT_TRUE(SameBits(full.view, ring.view));
  ExpectClose("wrapped ring", Prefill(*Ref(), line, {500, 20, 64}, ends).view, ring.view, line.Bound(20));
}

TEST(Attend, LetsNoNanOfALaterRowReachAnEarlierOne) {
  for (int64_t bad : {3, 64, 99}) {
    Timeline line({4, 2, 16}, 120, 41);
    const std::unique_ptr<Kernels> cpu = Cpu();
    const Causal c{120, 0, 128};
    const Rows clean = Prefill(*cpu, line, c, {120});
    std::fill_n(line.k.begin() + bad * 32, 32, kNan);
    std::fill_n(line.v.begin() + bad * 32, 32, kNan);
    const Rows poisoned = Prefill(*cpu, line, c, {120});
    EXPECT_TRUE(SameBits(clean.view.Rows(0, bad), poisoned.view.Rows(0, bad)));
    EXPECT_TRUE(std::isnan(poisoned.view.Row(bad)[0]));
  }
}

/// A canvas of `canvas` rows after `prompt` cached rows.
struct CanvasCase {
  CanvasCase(const Timeline& line_in, int64_t prompt_in, int64_t canvas_in, int64_t window_in)
      : line(line_in),
        prompt(prompt_in),
        canvas(canvas_in),
        window(window_in),
        cache(line.shape.kv_heads, line.shape.head_size, prompt + 1),
        local(line.shape.kv_heads, line.shape.head_size, canvas) {
    for (int64_t row = 0; row < prompt; ++row) line.Write(row, cache.view, row);
    for (int64_t row = 0; row < canvas; ++row) line.Write(prompt + row, local.view, row);
  }
  AttentionSpan Span(int64_t row) const {
    AttentionSpan span;
    span.row = row;
    span.rows = canvas;
    span.cache = cache.view;
    span.cache_end = prompt;
    span.pos = prompt;
    span.window = window;
    span.causal = false;
    span.local = local.view;
    span.local_rows = canvas;
    span.rounds = rounds;
    return span;
  }
  Rows Run(Kernels& kernels) const {
    Rows out(canvas, line.shape.heads * line.shape.head_size);
    const AttentionSpan span = Span(0);
    kernels.Attend({&span, 1}, line.shape, line.Queries(prompt, canvas).view, out.view);
    return out;
  }

  const Timeline& line;
  int64_t prompt, canvas, window;
  Store cache, local;
  bool rounds = false;
};

TEST(Attend, CanvasRowsAgreeWithRef) {
  for (const QkvShape& shape : kShapes) {
    const Timeline line(shape, 180, 51);
    for (int64_t prompt : {0, 1, 70}) {
      for (int64_t canvas : {1, 6, 65}) {
        for (int64_t window : {0, 8, 66}) {
          const CanvasCase c(line, prompt, canvas, window);
          const Rows actual = c.Run(*Cpu());
          ExpectClose(Label("canvas after " + std::to_string(prompt), shape, {canvas, window, 0}), c.Run(*Ref()).view,
                      actual.view, line.Bound(prompt + canvas));
          EXPECT_TRUE(SameBits(actual.view, c.Run(*Cpu(4)).view));
        }
      }
    }
  }
}

/// Beside the rounding of sums, both round probabilities, each by up to 2^-9 of itself and with different factors.
TEST(Attend, CanvasRowsOfRoundedSidesAgreeWithRef) {
  for (const QkvShape& shape : kShapes) {
    if (shape.head_size % kKeyPanel != 0) continue;
    const Timeline line(shape, 700, 51);
    for (int64_t prompt : {0, 1, 70, 601}) {
      for (int64_t canvas : {1, 6, 65}) {
        for (int64_t window : {0, 8, 65, 66}) {  // pairs of keys of which one or none is seen
          CanvasCase c(line, prompt, canvas, window);
          c.rounds = true;
          const Rows actual = c.Run(*Cpu());
          ExpectClose(Label("rounded canvas after " + std::to_string(prompt), shape, {canvas, window, 0}),
                      c.Run(*Ref()).view, actual.view, line.Bound(prompt + canvas) + 2 * 5 * 0x1p-9);
          EXPECT_TRUE(SameBits(actual.view, c.Run(*Cpu(4)).view));
        }
      }
    }
  }
}

void CheckNeighbours(bool rounds) {
  const QkvShape shape{8, 2, 32};
  const Timeline line(shape, 200, 61), other(shape, 200, 71);
  CanvasCase first(line, 90, 40, 16), second(other, 33, 70, 16);
  first.rounds = second.rounds = rounds;
  const std::unique_ptr<Kernels> cpu = Cpu();
  const Rows alone = first.Run(*cpu), other_alone = second.Run(*cpu);
  Rows q(110, 256), out(110, 256);
  const Rows q1 = line.Queries(90, 40), q2 = other.Queries(33, 70);
  for (int64_t row = 0; row < 70; ++row) std::copy_n(q2.view.Row(row), 256, q.view.Row(row));
  for (int64_t row = 0; row < 40; ++row) std::copy_n(q1.view.Row(row), 256, q.view.Row(70 + row));
  const std::array<AttentionSpan, 2> spans = {second.Span(0), first.Span(70)};
  cpu->Attend(spans, shape, q.view, out.view);
  EXPECT_TRUE(SameBits(other_alone.view, out.view.Rows(0, 70)));
  EXPECT_TRUE(SameBits(alone.view, out.view.Rows(70, 40)));
}

TEST(Attend, GivesASequenceTheSameBytesAloneAndAmongNeighbours) {
  CheckNeighbours(false);
  CheckNeighbours(true);
}

struct ProjectionCase {
  QkvShape shape;
  int64_t width;
  int64_t pairs;
  bool has_value;
};

TEST(ProjectQkv, AgreesWithRefAndWritesItsTargets) {
  const std::array<ProjectionCase, 5> cases = {{{{8, 2, 16}, 48, 8, true},
                                                {{4, 1, 32}, 33, 4, false},
                                                {{16, 8, 64}, 40, 32, true},
                                                {{8, 1, 256}, 20, 32, false},
                                                {{2, 1, 24}, 17, 12, true}}};
  for (const WeightType& type : AllTypes()) {
    for (const ProjectionCase& c : cases) {
      for (int64_t rows : {1, 7, 130}) {
        const int64_t size = c.shape.head_size, q_width = c.shape.heads * size, kv_width = c.shape.kv_heads * size;
        const float deviation = 1 / std::sqrt(static_cast<float>(c.width));
        const Stored wq(type, 1, q_width, c.width, 1, deviation), wk(type, 1, kv_width, c.width, 2, deviation);
        const Stored wv(type, 1, kv_width, c.width, 3, deviation), norm(type.file, 1, 1, size, 4);
        const std::vector<float> a = Normals(rows * c.width, 5), angles = Normals(rows * c.pairs, 6, 3.0f);
        std::vector<float> cosines, sines;
        for (float angle : angles) {
          cosines.push_back(std::cos(angle));
          sines.push_back(std::sin(angle));
        }
        OpCase op{
            "project " + type.Name() + " rows " + std::to_string(rows) + " Q " + std::to_string(size), rows, 0, {}};
        // The norm divides by a head's root mean square, near 1 here; weights stay below 4; the rotation adds two terms.
        op.bound =
            8 *
            (SumBound(c.width, LargestRowNorm(a, c.width), type.Walk() * static_cast<double>(deviation)) / 0.4 +
             (std::sqrt(static_cast<double>(size)) + 8) * kEps * std::min(5.0, std::sqrt(static_cast<double>(size))));
        op.run = [&](const OpRun& run) {
          QkvWeights w{Packed(run.kernels, wq),
                       Packed(run.kernels, wk),
                       {},
                       PackedVector(run.kernels, norm),
                       PackedVector(run.kernels, norm)};
          if (c.has_value) w.v = Packed(run.kernels, wv);
          Store store(c.shape.kv_heads, size, run.rows);
          std::vector<KvTarget> targets;
          for (int64_t row = 0; row < run.rows; ++row) targets.push_back({store.view, run.rows - 1 - row});
          const OpRun plain{run.kernels, run.begin, run.rows};
          const Rows cosine = plain.Input(cosines, c.pairs), sine = plain.Input(sines, c.pairs);
          Rows q(run.rows, q_width), out(run.rows, q_width + 2 * kv_width);
          run.kernels.ProjectQkv(run.Input(a, c.width).view, {}, w, c.shape, {cosine.view, sine.view}, targets, q.view);
          for (int64_t row = 0; row < run.rows; ++row) {
            std::copy_n(q.view.Row(row), q_width, out.view.Row(row));
            for (int64_t i = 0; i < kv_width; ++i) {
              const int64_t slot = run.rows - 1 - row;
              out.view.Row(row)[q_width + i] =
                  store.k[static_cast<size_t>(store.view.KeyIndex(i / size, slot, i % size))];
              out.view.Row(row)[q_width + kv_width + i] =
                  store.v[static_cast<size_t>(store.view.ValueIndex(i / size, slot, i % size))];
            }
          }
          return out;
        };
        CheckOp(op);
      }
    }
  }
}

}  // namespace
}  // namespace dgemma::test
