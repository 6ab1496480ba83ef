// The cases of train_cases.h but for attention: random inputs, the loss, and the run on a backend, one function for
// each operation.
#include <algorithm>
#include <cmath>

#include "kernels/ref/ref_train_kernels.h"
#include "train_operands.h"

namespace dgemma::test {
using exact::Values;

std::vector<RowRole> CaseDeltas::Roles(int64_t rows) {
  std::vector<RowRole> roles;
  for (int64_t row = 0; row < rows; ++row) roles.push_back(RoleOf(row));
  return roles;
}

TrainBackend RefTrain() { return {MakeRefKernels({}), MakeRefTrainKernels({})}; }

TrainCase EmbedCase(int64_t rows, int64_t width, int64_t vocab, uint32_t seed) {
  TrainCase c{Label("embed", {{"R", rows}, {"D", width}, {"V", vocab}}), {}, rows, {}, {}};
  c.inputs["table"] = RandomMatrices(1, vocab, width, seed);
  std::vector<int32_t> ids;
  for (int64_t row = 0; row < rows; ++row) ids.push_back(static_cast<int32_t>(row / 2 * 7 % vocab));
  const std::vector<float> dout = Normals(rows * width, seed + 1);
  constexpr float kScale = 3.25f;
  c.loss = [=](const DoubleTensors& in) {
    double loss = 0;
    for (int64_t i = 0; i < rows * width; ++i) {
      const double value = in.at("table")[Size(ids[Size(i / width)] * width + i % width)] * static_cast<double>(kScale);
      loss += value * static_cast<double>(dout[Size(i)]);
    }
    return loss;
  };
  c.gradients = [=](const TrainRun& run, const Tensors& in) {
    Operands operands(run, in);
    const Rows gradient(rows, width, dout);
    for (int time = 0; time < run.times; ++time) {
      run.backend.train->EmbedBackward(ids, kScale, gradient.view, operands.GradientOf("table"));
    }
    return operands.Collect();
  };
  return c;
}

TrainCase RmsNormCase(int64_t rows, int64_t width, NormWeight norm_weight, uint32_t seed) {
  const bool weighted = norm_weight == NormWeight::kPresent;
  TrainCase c{
      Label(weighted ? "norm" : "norm of ones", {{"R", rows}, {"D", width}}), {}, std::max(rows, width), {}, {}};
  c.inputs["x"] = RandomRows(rows, width, seed, 2.0f);
  if (weighted) c.inputs["weight"] = RandomVector(width, seed + 1);
  const std::vector<float> dout = Normals(rows * width, seed + 2);
  c.loss = [=](const DoubleTensors& in) {
    return exact::Dot(exact::RmsNorm(in.at("x"), Size(width), weighted ? in.at("weight") : Values()), dout);
  };
  c.gradients = [=](const TrainRun& run, const Tensors& in) {
    Operands operands(run, in);
    const Rows x = operands.Input("x"), gradient(rows, width, dout);
    const Matrix dx = operands.Added("x");
    for (int time = 0; time < run.times; ++time) {
      run.backend.train->RmsNormBackward(x.view, operands.WeightOf("weight"), gradient.view,
                                         operands.GradientOf("weight"), dx);
    }
    operands.Keep("x", dx, true);
    return operands.Collect();
  };
  return c;
}

TrainCase LinearCase(int64_t rows, int64_t in, int64_t out, uint32_t seed, const CaseDeltas& deltas) {
  TrainCase c{Label("linear", {{"R", rows}, {"in", in}, {"out", out}}), {}, std::max({rows, in, out}), {}, {}};
  c.inputs["x"] = RandomRows(rows, in, seed);
  c.inputs["w"] = RandomMatrices(1, out, in, seed + 1);
  const std::vector<float> dout = Normals(rows * out, seed + 2);
  AddDeltas(deltas, rows, seed + 100, c);
  c.loss = [=](const DoubleTensors& tensors) {
    return exact::Dot(ExactProduct{tensors, deltas}(tensors.at("x"), "w", in, out), dout);
  };
  c.gradients = [=, roles = c.roles](const TrainRun& run, const Tensors& tensors) {
    Operands operands(run, tensors, deltas);
    const Rows x = operands.Input("x"), gradient(rows, out, dout);
    const Matrix dx = operands.Overwritten("x");
    for (int time = 0; time < run.times; ++time) {
      run.backend.train->LinearBackward(x.view, roles, operands.WeightOf("w"), gradient.view, operands.GradientOf("w"),
                                        dx);
    }
    operands.Keep("x", dx, false);
    return operands.Collect();
  };
  return c;
}

TrainCase GatedMlpCase(int64_t rows, int64_t width, int64_t hidden, uint32_t seed, const CaseDeltas& deltas) {
  TrainCase c{Label("mlp", {{"R", rows}, {"D", width}, {"F", hidden}}), {}, std::max({rows, width, hidden}), {}, {}};
  c.inputs["x"] = RandomRows(rows, width, seed);
  c.inputs["gate"] = RandomMatrices(1, hidden, width, seed + 1);
  c.inputs["up"] = RandomMatrices(1, hidden, width, seed + 2);
  c.inputs["down"] = RandomMatrices(1, width, hidden, seed + 3);
  const std::vector<float> dout = Normals(rows * width, seed + 4);
  AddDeltas(deltas, rows, seed + 100, c);
  c.loss = [=](const DoubleTensors& in) {
    const ExactProduct product{in, deltas};
    Values h = product(in.at("x"), "gate", width, hidden);
    const Values u = product(in.at("x"), "up", width, hidden);
    for (size_t i = 0; i < h.size(); ++i) h[i] = exact::Gelu(h[i]) * u[i];
    return exact::Dot(product(h, "down", hidden, width), dout);
  };
  c.gradients = [=, roles = c.roles](const TrainRun& run, const Tensors& in) {
    Operands operands(run, in, deltas);
    const Rows x = operands.Input("x"), gradient(rows, width, dout);
    const MlpWeights w{operands.WeightOf("gate"), operands.WeightOf("up"), operands.WeightOf("down")};
    const MlpWeights dw{operands.GradientOf("gate"), operands.GradientOf("up"), operands.GradientOf("down")};
    const Matrix dx = operands.Overwritten("x");
    for (int time = 0; time < run.times; ++time) {
      run.backend.train->GatedMlpBackward(x.view, roles, w, gradient.view, dw, dx);
    }
    operands.Keep("x", dx, false);
    return operands.Collect();
  };
  return c;
}

TrainCase RouteCase(const ExpertCaseShape& s, uint32_t seed, const CaseDeltas& deltas) {
  TrainCase c{Label("route", {{"R", s.rows}, {"D", s.width}, {"E", s.experts}, {"A", s.active}}),
              {},
              std::max({s.rows, s.width, s.experts}),
              {},
              {}};
  c.inputs["h"] = RandomRows(s.rows, s.width, seed, 2.0f);
  c.inputs["scale"] = RandomVector(s.width, seed + 1);
  c.inputs["proj"] = {Tensor::Kind::kMatrices, 1, s.experts, s.width, Normals(s.experts * s.width, seed + 2, 2.0f)};
  c.inputs["per_expert_scale"] = RandomVector(s.experts, seed + 3);
  if (s.active == 1) c.flat = {"h", "scale", "proj"};  // one probability, normalised to 1
  const std::vector<float> dweight = Normals(s.rows * s.active, seed + 4);

  AddDeltas(deltas, s.rows, seed + 100, c);

  // The choice is the reference's, and stays: only the weights have a gradient.
  Routes routes;
  TrainBackend ref = RefTrain();
  const TrainRun choose{ref};
  Operands operands(choose, c.inputs, deltas);
  ref.forward->Route(operands.Input("h").view, c.roles,
                     {operands.WeightOf("scale"), operands.WeightOf("proj"), operands.WeightOf("per_expert_scale")},
                     s.active, routes);

  c.loss = [=](const DoubleTensors& in) {
    Values input = exact::RmsNorm(in.at("h"), Size(s.width));
    for (size_t i = 0; i < input.size(); ++i) {
      input[i] *= in.at("scale")[i % Size(s.width)] / std::sqrt(static_cast<double>(s.width));
    }
    const Values p = exact::Softmax(ExactProduct{in, deltas}(input, "proj", s.width, s.experts), Size(s.experts));
    Values weights;
    for (int64_t row = 0; row < s.rows; ++row) {
      double sum = 0;
      for (int64_t k = 0; k < s.active; ++k) sum += p[Size(row * s.experts + routes.expert[Size(row * s.active + k)])];
      for (int64_t k = 0; k < s.active; ++k) {
        const int32_t expert = routes.expert[Size(row * s.active + k)];
        weights.push_back(p[Size(row * s.experts + expert)] / sum * in.at("per_expert_scale")[Size(expert)]);
      }
    }
    return exact::Dot(weights, dweight);
  };
  c.gradients = [=, roles = c.roles](const TrainRun& run, const Tensors& in) {
    Operands all(run, in, deltas);
    const Rows h = all.Input("h");
    const RouterWeights w{all.WeightOf("scale"), all.WeightOf("proj"), all.WeightOf("per_expert_scale")};
    const RouterWeights dw{all.GradientOf("scale"), all.GradientOf("proj"), all.GradientOf("per_expert_scale")};
    const Matrix dh = all.Added("h");
    for (int time = 0; time < run.times; ++time) {
      run.backend.train->RouteBackward(h.view, roles, w, routes, dweight, dw, dh);
    }
    all.Keep("h", dh, true);
    return all.Collect();
  };
  return c;
}

TrainCase ExpertsCase(const ExpertCaseShape& s, uint32_t seed, const CaseDeltas& deltas) {
  TrainCase c{Label("experts", {{"R", s.rows}, {"D", s.width}, {"E", s.experts}, {"A", s.active}, {"X", s.hidden}}),
              {},
              std::max({s.rows, s.width, s.hidden}) * s.active,
              {},
              {}};
  c.inputs["x"] = RandomRows(s.rows, s.width, seed);
  c.inputs["gate_up"] = RandomMatrices(s.experts, 2 * s.hidden, s.width, seed + 1);
  c.inputs["down"] = RandomMatrices(s.experts, s.width, s.hidden, seed + 2);
  c.inputs["weight"] = RandomRows(s.rows, s.active, seed + 3, 0.5f);
  const std::vector<float> dout = Normals(s.rows * s.width, seed + 4);
  const int64_t usable = s.experts > s.active ? s.experts - 1 : s.experts;
  std::vector<int32_t> expert;
  for (int64_t slot = 0; slot < s.rows * s.active; ++slot) {
    expert.push_back(static_cast<int32_t>((slot / s.active * 7 + slot % s.active) % usable));
  }
  AddDeltas(deltas, s.rows, seed + 100, c);
  c.loss = [=](const DoubleTensors& in) {
    double loss = 0;
    for (int64_t slot = 0; slot < s.rows * s.active; ++slot) {
      const int64_t row = slot / s.active, begin = row * s.width;
      const Values x(in.at("x").begin() + begin, in.at("x").begin() + begin + s.width);
      const ExactProduct product{in, deltas, row, expert[Size(slot)]};
      const Values both = product(x, "gate_up", s.width, 2 * s.hidden);
      Values h;
      for (size_t i = 0; i < Size(s.hidden); ++i) h.push_back(exact::Gelu(both[i]) * both[Size(s.hidden) + i]);
      loss += in.at("weight")[Size(slot)] *
              exact::Dot(product(h, "down", s.hidden, s.width),
                         std::vector<float>(dout.begin() + begin, dout.begin() + begin + s.width));
    }
    return loss;
  };
  c.gradients = [=, roles = c.roles](const TrainRun& run, const Tensors& in) {
    Operands operands(run, in, deltas);
    const Rows x = operands.Input("x"), gradient(s.rows, s.width, dout);
    const Routes routes{expert, in.at("weight").values, s.active};
    const ExpertWeights w{operands.WeightOf("gate_up"), operands.WeightOf("down")};
    const ExpertWeights dw{operands.GradientOf("gate_up"), operands.GradientOf("down")};
    const Matrix dx = operands.Overwritten("x");
    std::vector<float> droute(expert.size(), std::nanf(""));
    for (int time = 0; time < run.times; ++time) {
      run.backend.train->ExpertsBackward(x.view, roles, w, routes, gradient.view, dw, droute, dx);
    }
    operands.Keep("x", dx, false);
    operands.Keep("weight", {droute.data(), s.rows, s.active, s.active}, false);
    return operands.Collect();
  };
  return c;
}

TrainCase JoinCase(int64_t rows, int64_t width, uint32_t seed) {
  TrainCase c{Label("join", {{"R", rows}, {"D", width}}), {}, std::max(rows, width), {}, {}};
  c.inputs["dense"] = RandomRows(rows, width, seed);
  c.inputs["experts"] = RandomRows(rows, width, seed + 1, 3.0f);
  c.inputs["h"] = RandomRows(rows, width, seed + 2);
  c.inputs["dense_norm"] = RandomVector(width, seed + 3);
  c.inputs["experts_norm"] = RandomVector(width, seed + 4);
  c.inputs["joined_norm"] = RandomVector(width, seed + 5);
  const std::vector<float> scalar = Normals(rows, seed + 6), dout = Normals(rows * width, seed + 7);
  c.loss = [=](const DoubleTensors& in) {
    Values sum = exact::RmsNorm(in.at("dense"), Size(width), in.at("dense_norm"));
    const Values second = exact::RmsNorm(in.at("experts"), Size(width), in.at("experts_norm"));
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += second[i];
    Values out = exact::RmsNorm(sum, Size(width), in.at("joined_norm"));
    for (size_t i = 0; i < out.size(); ++i) {
      out[i] = (in.at("h")[i] + out[i]) * static_cast<double>(scalar[i / Size(width)]);
    }
    return exact::Dot(out, dout);
  };
  c.gradients = [=](const TrainRun& run, const Tensors& in) {
    Operands operands(run, in);
    const Rows dense = operands.Input("dense"), experts = operands.Input("experts");
    const auto norms = [&](auto&& of) { return BranchNorms{of("dense_norm"), of("experts_norm"), of("joined_norm")}; };
    const BranchNorms w = norms([&](const char* name) { return operands.WeightOf(name); });
    const BranchNorms dw = norms([&](const char* name) { return operands.GradientOf(name); });
    const Matrix ddense = operands.Overwritten("dense"), dexperts = operands.Overwritten("experts");
    for (int time = 0; time < run.times; ++time) {
      const Rows dh(rows, width, dout);
      run.backend.train->JoinBranchesBackward(dense.view, experts.view, w, scalar, dw, dh.view, ddense, dexperts);
      operands.Keep("h", dh.view, false);
    }
    operands.Keep("dense", ddense, false);
    operands.Keep("experts", dexperts, false);
    return operands.Collect();
  };
  return c;
}

TrainCase CrossEntropyCase(const HeadCaseShape& s, uint32_t seed) {
  TrainCase c{Label("cross-entropy", {{"R", s.rows}, {"D", s.width}, {"V", s.vocab}}) + " softcap " +
                  std::to_string(static_cast<int>(s.softcap)),
              {},
              std::max({s.rows, s.width, s.vocab}),
              {},
              {}};
  c.inputs["hidden"] = RandomRows(s.rows, s.width, seed, s.deviation);
  c.inputs["table"] = RandomMatrices(1, s.vocab, s.width, seed + 1);
  std::vector<int32_t> target;
  std::vector<float> weight = Normals(s.rows, seed + 2);
  for (int64_t row = 0; row < s.rows; ++row) {
    target.push_back(row % 5 == 1 ? -1 : static_cast<int32_t>(row / 2 * 11 % s.vocab));
    weight[Size(row)] = row % 7 == 3 ? 0.0f : std::abs(weight[Size(row)]);
  }
  c.loss = [=](const DoubleTensors& in) {
    const Values z =
        exact::Logits(in.at("hidden"), in.at("table"), Size(s.width), Size(s.vocab), static_cast<double>(s.softcap));
    const Values p = exact::Softmax(z, Size(s.vocab));
    double loss = 0;
    for (int64_t row = 0; row < s.rows; ++row) {
      if (target[Size(row)] < 0) continue;
      loss -= static_cast<double>(weight[Size(row)]) * std::log(p[Size(row * s.vocab + target[Size(row)])]);
    }
    return loss;
  };
  c.gradients = [=](const TrainRun& run, const Tensors& in) {
    Operands operands(run, in);
    const Rows hidden = operands.Input("hidden");
    const Matrix dhidden = operands.Overwritten("hidden");
    std::vector<LossRow> rows(Size(s.rows));
    for (int time = 0; time < run.times; ++time) {
      run.backend.train->CrossEntropy(hidden.view, operands.WeightOf("table"), s.softcap, target, weight, rows, dhidden,
                                      operands.GradientOf("table"));
    }
    operands.Keep("hidden", dhidden, false);
    std::vector<float> losses, correct, finite;
    for (const LossRow& row : rows) {
      losses.push_back(row.loss);
      correct.push_back(row.correct ? 1.0f : 0.0f);
      finite.push_back(row.finite ? 1.0f : 0.0f);
    }
    operands.Keep("row loss", {losses.data(), s.rows, 1, 1}, false);
    operands.Keep("row correct", {correct.data(), s.rows, 1, 1}, false);
    operands.Keep("row finite", {finite.data(), s.rows, 1, 1}, false);
    return operands.Collect();
  };
  return c;
}

TrainCase SoftEmbedCase(const HeadCaseShape& s, uint32_t seed) {
  TrainCase c{Label("soft embedding", {{"R", s.rows}, {"D", s.width}, {"V", s.vocab}}) + " softcap " +
                  std::to_string(static_cast<int>(s.softcap)),
              {},
              std::max({s.rows, s.width, s.vocab}),
              {},
              {}};
  c.inputs["table"] = RandomMatrices(1, s.vocab, s.width, seed + 1);
  const std::vector<float> hidden = Normals(s.rows * s.width, seed, s.deviation),
                           dsoft = Normals(s.rows * s.width, seed + 2);
  constexpr float kScale = 2.5f;
  const Values z = exact::Logits(Widen(hidden), Widen(c.inputs["table"].values), Size(s.width), Size(s.vocab),
                                 static_cast<double>(s.softcap));
  const Values p = exact::Softmax(z, Size(s.vocab));  // constants of the loss
  c.loss = [=](const DoubleTensors& in) {
    double loss = 0;
    for (int64_t row = 0; row < s.rows; ++row) {
      for (int64_t i = 0; i < s.vocab * s.width; ++i) {
        loss += static_cast<double>(kScale) * p[Size(row * s.vocab + i / s.width)] * in.at("table")[Size(i)] *
                static_cast<double>(dsoft[Size(row * s.width + i % s.width)]);
      }
    }
    return loss;
  };
  c.gradients = [=](const TrainRun& run, const Tensors& in) {
    Operands operands(run, in);
    const Rows states(s.rows, s.width, hidden), gradient(s.rows, s.width, dsoft);
    for (int time = 0; time < run.times; ++time) {
      run.backend.train->SoftEmbedBackward(states.view, operands.WeightOf("table"), s.softcap, kScale, gradient.view,
                                           operands.GradientOf("table"));
    }
    return operands.Collect();
  };
  return c;
}

}  // namespace dgemma::test
