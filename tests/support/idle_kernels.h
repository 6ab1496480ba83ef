// Kernels for tests of code that should call few of them: every operation fails the test unless a test overrides it.
#pragma once

#include <gtest/gtest.h>

#include "kernels/host_memory.h"
#include "kernels/kernels.h"

namespace dgemma::test {

class IdleKernels : public Kernels {
 public:
  std::string Description() const override { return "idle"; }
  Result<Buffer> Allocate(int64_t bytes) override { return AllocateHost(bytes); }
  Result<Weight> Pack(const StoredTensor&, const WeightFormat&) override { return Called<Weight>("Pack"); }
  Result<Weight> PackVector(const StoredTensor&) override { return Called<Weight>("PackVector"); }
  int64_t PackedBytes(const WeightFormat&, int64_t, int64_t, int64_t) const override {
    return Called<int64_t>("PackedBytes");
  }
  void Upload(std::span<const float>, Matrix) override { Called<int>("Upload"); }
  void Download(Matrix, std::span<float>) override { Called<int>("Download"); }
  void Copy(Matrix, Matrix) override { Called<int>("Copy"); }
  void Embed(std::span<const int32_t>, const Weight&, float, Matrix) override { Called<int>("Embed"); }
  void RmsNorm(Matrix, const Weight&, Matrix) override { Called<int>("RmsNorm"); }
  void Linear(Matrix, std::span<const RowRole>, const Weight&, Matrix) override { Called<int>("Linear"); }
  void AddRmsNorm(Matrix, Matrix) override { Called<int>("AddRmsNorm"); }
  void NormAdd(Matrix, const Weight&, Matrix) override { Called<int>("NormAdd"); }
  void ProjectQkv(Matrix, std::span<const RowRole>, const QkvWeights&, const QkvShape&, const Rotary&,
                  std::span<const KvTarget>, Matrix) override {
    Called<int>("ProjectQkv");
  }
  void Attend(std::span<const AttentionSpan>, const QkvShape&, Matrix, Matrix) override { Called<int>("Attend"); }
  void GatedMlp(Matrix, std::span<const RowRole>, const MlpWeights&, Matrix) override { Called<int>("GatedMlp"); }
  void Route(Matrix, std::span<const RowRole>, const RouterWeights&, int64_t, Routes&) override {
    Called<int>("Route");
  }
  void Experts(Matrix, std::span<const RowRole>, const ExpertWeights&, const Routes&, Matrix) override {
    Called<int>("Experts");
  }
  void JoinBranches(Matrix, Matrix, const BranchNorms&, std::span<const float>, Matrix) override {
    Called<int>("JoinBranches");
  }
  std::unique_ptr<HeadScratch> MakeHeadScratch() override { return std::make_unique<HeadScratch>(); }
  void Denoise(Matrix, const Weight&, const HeadParams&, HeadScratch&, std::span<HeadRow>, Matrix) override {
    Called<int>("Denoise");
  }
  void Sample(HeadScratch&, std::span<const int32_t>, std::span<const double>, std::span<int32_t>) override {
    Called<int>("Sample");
  }
  void Logits(Matrix, const Weight&, float, Matrix) override { Called<int>("Logits"); }
  void SoftEmbed(Matrix, const Weight&, float, Matrix) override { Called<int>("SoftEmbed"); }

 private:
  template <typename T>
  static T Called(const char* operation) {
    ADD_FAILURE() << operation << " was not expected";
    return T{};
  }
};

}  // namespace dgemma::test
