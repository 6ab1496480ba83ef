// See delta_cases.h.
#include "delta_cases.h"

namespace dgemma::test {

std::string DeltaColumns::Name() const {
  return "rank " + std::to_string(encoder) + "+" + std::to_string(decoder) + "+" +
         std::to_string(rank - encoder - decoder);
}

std::vector<RowRole> RolesOf(const OpRun& run) {
  std::vector<RowRole> roles;
  for (int64_t row = run.begin; row < run.begin + run.rows; ++row) roles.push_back(RoleOfRow(row));
  return roles;
}

StoredDelta::StoredDelta(const DeltaColumns& which, int64_t count, int64_t out, int64_t in, uint32_t seed)
    : columns(which),
      down_values(Normals(count * which.rank * in, seed, UnitDeviation(in))),
      up_values(Normals(count * out * which.rank, seed + 1, UnitDeviation(which.rank))),
      down(DType::kF32, count, which.rank, in, down_values),
      up(DType::kF32, count, out, which.rank, up_values) {
  for (int64_t column = 0; column < which.rank; ++column)
    scale.push_back(column % 2 == 0 ? 0.75f : -0.5f * static_cast<float>(1 + column % 3));
}

Weight StoredDelta::On(Kernels& kernels, Weight weight) const {
  auto delta = std::make_shared<LowRank>();
  delta->down = Packed(kernels, down);
  delta->up = Packed(kernels, up);
  delta->scale = scale;
  delta->encoder = columns.encoder;
  delta->decoder = columns.decoder;
  weight.low_rank = delta;
  return weight;
}

double StoredDelta::Factor(int64_t column, RowRole role) const {
  const bool for_encoder = column < columns.encoder,
             for_decoder = !for_encoder && column < columns.encoder + columns.decoder;
  if ((for_encoder && role == RowRole::kDecoder) || (for_decoder && role == RowRole::kEncoder)) return 0;
  return static_cast<double>(scale[static_cast<size_t>(column)]);
}

}  // namespace dgemma::test
