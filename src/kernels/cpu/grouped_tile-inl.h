// The register tile of products with grouped weights and the loops around it, for one instruction set. Included by every
// grouped_*.cc inside its target attributes, after a struct Isa that says how vectors of 4-byte lanes are loaded, multiplied
// and added:
//   kVectors, kRows, kPanels        vectors of a panel of 16 lanes; rows and panels of the largest tile
//   kRowScaledRows                  its rows where one scale belongs to a row of weights (grouped_rows-inl.h)
//   F, I                            vectors of float32 and int32
//   Store, Set, StoreInt, LoadInt, SetInt, Zero, Mul, Fma, NegFma, ToFloat, LoadHalf
//   LoadCodes, LowHalf, HighHalf, LoadSteps, Step   codes of a stepped format as those of int8
//   DotGroup<kind, group, rows, panels>  adds the exact dot products of one group to int32 sums
// It includes nothing: a header first seen inside target attributes would take them on. grouped_isa.h has what it needs.

namespace dgemma {
namespace {

struct GroupedTileCall {
  QuantizedRows a;
  const std::byte* b;
  int64_t panel_bytes;
  int64_t scale_bytes;  // of one panel
  const int32_t* sum;   // of every group of the first row
  int64_t groups;
  float* c;
  int64_t c_stride;
  const std::byte* ahead;  // memory to ask for while this tile runs: `ahead_step` bytes at each group
  int64_t ahead_step;
};

/// kRows rows times kPanels panels. Integer and float sums both live in registers.
template <WeightKind kKind, int64_t kGroup, bool kMin, size_t kRows, size_t kPanels>
void GroupedTile(const GroupedTileCall& call) {
  constexpr size_t kVectors = kPanels * Isa::kVectors;
  constexpr int64_t kLanes = kPanelLanes / static_cast<int64_t>(Isa::kVectors);
  constexpr int32_t kOffset = Isa::template kSignedCodes<kKind> ? 0 : StoredOffset({kKind, kGroup, kMin});
  constexpr int64_t kCodeBytes = kGroup * kPanelLanes / (kKind == WeightKind::kInt4 ? 2 : 1);
  const int64_t groups = call.groups, panel_bytes = call.panel_bytes, a_stride = call.a.stride,
                ahead_step = call.ahead_step;
  const int64_t sum_stride = call.a.sum_stride;
  const int32_t* sum = call.sum;
  const int8_t* a = call.a.code;
  const std::byte* scales = call.b;
  const std::byte* first_codes = call.b + call.scale_bytes;
  const int64_t min_bytes = groups * kPanelLanes * 2;
  typename Isa::F total[kRows][kVectors];
  DGEMMA_UNROLL
  for (size_t r = 0; r < kRows; ++r) {
    DGEMMA_UNROLL
    for (size_t v = 0; v < kVectors; ++v) total[r][v] = Isa::Zero();
  }
  const std::byte* ahead = call.ahead;
  for (int64_t g = 0; g < groups; ++g) {
    typename Isa::I dot[kRows][kVectors];
    DGEMMA_UNROLL
    for (size_t r = 0; r < kRows; ++r) {
      const typename Isa::I start =
          Isa::SetInt(kOffset == 0 ? 0 : -kOffset * sum[static_cast<int64_t>(r) * sum_stride]);
      DGEMMA_UNROLL
      for (size_t v = 0; v < kVectors; ++v) dot[r][v] = start;
    }
    const std::byte* codes[kPanels];
    DGEMMA_UNROLL
    for (size_t p = 0; p < kPanels; ++p) {
      codes[p] = first_codes + static_cast<int64_t>(p) * panel_bytes;
    }
    Isa::template DotGroup<kKind, kGroup, kRows, kPanels>(a, a_stride, codes, dot);
    for (int64_t line = 0; line < ahead_step; line += 64) __builtin_prefetch(ahead + line);
    ahead += ahead_step;
    DGEMMA_UNROLL
    for (size_t v = 0; v < kVectors; ++v) {
      const std::byte* scale_at = scales + static_cast<int64_t>(v / Isa::kVectors) * panel_bytes +
                                  static_cast<int64_t>(v % Isa::kVectors) * kLanes * 2;
      const typename Isa::F scale = Isa::LoadHalf(scale_at);
      DGEMMA_UNROLL
      for (size_t r = 0; r < kRows; ++r) total[r][v] = Isa::Fma(Isa::ToFloat(dot[r][v]), scale, total[r][v]);
      if constexpr (kMin) {
        const typename Isa::F min = Isa::LoadHalf(scale_at + min_bytes);
        DGEMMA_UNROLL
        for (size_t r = 0; r < kRows; ++r) {
          const auto group_sum = static_cast<float>(sum[static_cast<int64_t>(r) * sum_stride]);
          total[r][v] = Isa::NegFma(Isa::Set(group_sum), min, total[r][v]);
        }
      }
    }
    a += kGroup;
    ++sum;
    scales += kPanelLanes * 2;
    first_codes += kCodeBytes;
  }
  DGEMMA_UNROLL
  for (size_t r = 0; r < kRows; ++r) {
    DGEMMA_UNROLL
    for (size_t v = 0; v < kVectors; ++v) {
      Isa::Store(call.c + static_cast<int64_t>(r) * call.c_stride + static_cast<int64_t>(v) * kLanes,
                 Isa::Mul(total[r][v], Isa::Set(call.a.scale[r])));
    }
  }
}

using GroupedTileFunction = void (*)(const GroupedTileCall&);

template <WeightKind kKind, int64_t kGroup, bool kMin, size_t kPanels, size_t... kRow>
constexpr std::array<GroupedTileFunction, sizeof...(kRow)> GroupedTileTable(std::index_sequence<kRow...>) {
  return {&GroupedTile<kKind, kGroup, kMin, kRow + 1, kPanels>...};
}

template <WeightKind kKind, int64_t kGroup, bool kMin>
GroupedTileFunction FindTileOfFormat(size_t rows, size_t panels) {
  using EveryRow = std::make_index_sequence<Isa::kRows>;
  static constexpr auto kOne = GroupedTileTable<kKind, kGroup, kMin, 1>(EveryRow());
  static constexpr auto kMost = GroupedTileTable<kKind, kGroup, kMin, Isa::kPanels>(EveryRow());
  return panels == 1 ? kOne[rows - 1] : kMost[rows - 1];
}

template <WeightKind kKind, bool kMin>
GroupedTileFunction FindTileOfKind(int32_t group, size_t rows, size_t panels) {
  if (group == 16) return FindTileOfFormat<kKind, 16, kMin>(rows, panels);
  if (group == 32) return FindTileOfFormat<kKind, 32, kMin>(rows, panels);
  return FindTileOfFormat<kKind, 64, kMin>(rows, panels);
}

GroupedTileFunction FindGroupedTile(const WeightFormat& format, size_t rows, size_t panels) {
  if (format.kind == WeightKind::kInt8) {
    return format.has_min ? FindTileOfKind<WeightKind::kInt8, true>(format.group, rows, panels)
                          : FindTileOfKind<WeightKind::kInt8, false>(format.group, rows, panels);
  }
  return format.has_min ? FindTileOfKind<WeightKind::kInt4, true>(format.group, rows, panels)
                        : FindTileOfKind<WeightKind::kInt4, false>(format.group, rows, panels);
}

void MultiplyGrouped(const GroupedProduct& p) {
  constexpr auto kTileRows = static_cast<int64_t>(Isa::kRows), kTilePanels = static_cast<int64_t>(Isa::kPanels);
  if (p.a.rows <= 0) return;
  if (p.format.row_scale) {
    MultiplyRowScaled(p);
    return;
  }
  GroupedTileCall call{};
  call.panel_bytes = PanelBytes(p.format, p.in);
  call.scale_bytes = PanelScaleBytes(p.format, p.in);
  call.groups = GroupCount(p.format, p.in);
  call.c_stride = p.c_stride;
  const int64_t tiles = (p.a.rows + kTileRows - 1) / kTileRows;
  for (int64_t col = 0; col < p.cols; col += kTilePanels * kPanelLanes) {
    const int64_t cols = std::min(kTilePanels * kPanelLanes, p.cols - col);
    const int64_t panels = cols <= kPanelLanes ? 1 : kTilePanels;
    call.b = p.b + col / kPanelLanes * call.panel_bytes;
    // The panels that follow are asked for while this one is used: each tile a part of them, a few lines at every group.
    const int64_t next_bytes = panels * call.panel_bytes;
    const std::byte* next = col + cols < p.cols ? call.b + next_bytes : p.next;
    call.ahead_step = next == nullptr ? 0 : (next_bytes / (tiles * call.groups) + 63) / 64 * 64;
    for (int64_t tile = 0, row = 0; tile < tiles; ++tile) {  // sizes differ by one at most
      const int64_t rows = p.a.rows / tiles + (tile < p.a.rows % tiles ? 1 : 0);
      const GroupedTileFunction run = FindGroupedTile(p.format, static_cast<size_t>(rows), static_cast<size_t>(panels));
      call.a = p.a.Rows(row, rows);
      call.sum = call.a.GroupSums(p.format.group);
      call.c = p.c + row * p.c_stride + col;
      call.ahead = next == nullptr ? call.b : next + std::min(tile * call.groups * call.ahead_step, next_bytes);
      RunTile(run, call, rows, panels, cols);
      row += rows;
    }
  }
}

/// Twelve chains of integer dot products from registers: the machine's peak.
double PeakGrouped(int64_t rounds, int32_t* sink) {
  constexpr size_t kRows = 12 / Isa::kVectors > 0 ? 12 / Isa::kVectors : 1;
  alignas(64) std::byte codes[16 * 64];
  alignas(64) int8_t a[kRows * 64];
  for (size_t i = 0; i < sizeof(codes); ++i) codes[i] = static_cast<std::byte>(*sink + static_cast<int32_t>(i));
  for (size_t i = 0; i < sizeof(a); ++i)
    a[i] = static_cast<int8_t>(*sink + static_cast<int32_t>(i));  // no two rows alike
  typename Isa::I dot[kRows][Isa::kVectors];
  for (auto& row : dot) {
    for (auto& vector : row) vector = Isa::SetInt(0);
  }
  const std::byte* panels[1] = {codes};
  for (int64_t i = 0; i < rounds; ++i) {
    Isa::template DotGroup<WeightKind::kInt8, 16, kRows, 1>(a, 64, panels, dot);
  }
  for (const auto& row : dot) {
    for (const auto& vector : row) {
      int32_t lane = 0;
      std::memcpy(&lane, &vector, sizeof(lane));
      *sink += lane & 1;
    }
  }
  return static_cast<double>(rounds) * static_cast<double>(kRows) * 16 * 16 * 2;
}

}  // namespace
}  // namespace dgemma
