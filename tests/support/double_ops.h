// The operations of the model once more, in float64 and straight from their formulas (src/kernels/kernels.h and the
// functions of Transformers it names): what gradients are checked against by differences. Independent of every backend;
// matrices are dense.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

namespace dgemma::test::exact {

using Values = std::vector<double>;

inline constexpr double kNormEps = 1e-6;

/// out[r][o] = sum_i x[r][i] w[o][i], for rows of `in` values and a matrix that starts at w[begin].
inline Values Linear(const Values& x, const Values& w, size_t in, size_t out, size_t begin = 0) {
  Values y;
  for (size_t row = 0; row < x.size() / in; ++row) {
    for (size_t o = 0; o < out; ++o) {
      double sum = 0;
      for (size_t i = 0; i < in; ++i) sum += x[row * in + i] * w[begin + o * in + i];
      y.push_back(sum);
    }
  }
  return y;
}

/// x (mean(x^2) + eps)^-1/2 weight in pieces of `width`; weight empty = ones.
inline Values RmsNorm(const Values& x, size_t width, const Values& weight = {}) {
  Values y;
  for (size_t begin = 0; begin < x.size(); begin += width) {
    double mean = 0;
    for (size_t i = 0; i < width; ++i) mean += x[begin + i] * x[begin + i] / static_cast<double>(width);
    for (size_t i = 0; i < width; ++i) {
      y.push_back(x[begin + i] / std::sqrt(mean + kNormEps) * (weight.empty() ? 1 : weight[i]));
    }
  }
  return y;
}

/// gelu in its tanh form.
inline double Gelu(double v) {
  return v / 2 * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (v + 0.044715 * v * v * v)));
}

/// Softmax in pieces of `width`.
inline Values Softmax(const Values& x, size_t width) {
  Values p;
  for (size_t begin = 0; begin < x.size(); begin += width) {
    const double max = *std::max_element(&x[begin], &x[begin] + width);
    double sum = 0;
    for (size_t i = 0; i < width; ++i) sum += std::exp(x[begin + i] - max);
    for (size_t i = 0; i < width; ++i) p.push_back(std::exp(x[begin + i] - max) / sum);
  }
  return p;
}

/// softcap tanh(hidden E^T / softcap).
inline Values Logits(const Values& hidden, const Values& table, size_t width, size_t vocab, double softcap) {
  Values z = Linear(hidden, table, width, vocab);
  for (double& value : z) value = softcap * std::tanh(value / softcap);
  return z;
}

/// Rotates every head of `size` values in rows of `row_width`: pair i of a row by the row's angle i, cos and sin [rows,
/// pairs].
inline Values Rotate(const Values& x, size_t row_width, size_t size, const Values& cosine, const Values& sine) {
  Values y = x;
  const size_t rows = x.size() / row_width, pairs = cosine.size() / rows;
  for (size_t row = 0; row < rows; ++row) {
    for (size_t head = row * row_width; head < (row + 1) * row_width; head += size) {
      for (size_t i = 0; i < pairs; ++i) {
        const double c = cosine[row * pairs + i], s = sine[row * pairs + i];
        y[head + i] = x[head + i] * c - x[head + size / 2 + i] * s;
        y[head + size / 2 + i] = x[head + size / 2 + i] * c + x[head + i] * s;
      }
    }
  }
  return y;
}

/// Down(gelu(x Gate) (x Up)) of one row that starts at x[row]; matrices start at the given places of their values.
struct Gated {
  const Values& gate;
  size_t gate_begin;
  const Values& up;
  size_t up_begin;
  const Values& down;
  size_t down_begin;
  size_t hidden;

  Values operator()(const Values& x, size_t width) const {
    Values h = Linear(x, gate, width, hidden, gate_begin);
    const Values u = Linear(x, up, width, hidden, up_begin);
    for (size_t i = 0; i < h.size(); ++i) h[i] = Gelu(h[i]) * u[i];
    return Linear(h, down, hidden, width, down_begin);
  }
};

/// One head of attention of one query over keys and values [n, size].
inline Values Attend(std::span<const double> query, const Values& keys, const Values& values) {
  const size_t size = query.size();
  Values scores;
  for (size_t begin = 0; begin < keys.size(); begin += size) {
    double score = 0;
    for (size_t i = 0; i < size; ++i) score += query[i] * keys[begin + i];
    scores.push_back(score);
  }
  const Values p = Softmax(scores, scores.size());
  Values out(size, 0.0);
  for (size_t j = 0; j < p.size(); ++j) {
    for (size_t i = 0; i < size; ++i) out[i] += p[j] * values[j * size + i];
  }
  return out;
}

/// sum_i a[i] b[i]: a linear functional, the loss of a test.
template <typename B>
double Dot(const Values& a, const std::vector<B>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * static_cast<double>(b[i]);
  return sum;
}

}  // namespace dgemma::test::exact
