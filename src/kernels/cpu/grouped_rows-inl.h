// Products with weights that have one scale a row: integer sums to the end of a row, for one instruction set. Included by every
// grouped_*.cc before grouped_tile-inl.h, which says what the struct Isa has; it includes nothing either.

namespace dgemma {
namespace {

/// Rows and panels from one group to another: `groups` groups of 64 inputs in codes of int8. The sums begin and end in registers
/// where the call is the first or the last one of a row; otherwise they come from and go to `sums`.
struct RowSumsCall {
  const int8_t* a;
  int64_t a_stride;
  const std::byte* codes;
  int64_t panel_stride;  // bytes
  int64_t groups;
  const int32_t* row_sum;  // of the activations of each row, `row_sum_stride` apart; null: sums go on
  int64_t row_sum_stride;
  int32_t* sums;         // [rows, kPanels, 16]
  const float* a_scale;  // of each row
  const std::byte* scales;
  int64_t scale_stride;  // bytes from panel to panel
  float* c;              // c = a_scale * (scale * sum); null: more groups follow
  int64_t c_stride;
  const std::byte* ahead;  // memory to ask for while this runs: `ahead_step` bytes at each group
  int64_t ahead_step;
};

/// The register tile: sums of kRows rows and kPanels panels live in registers from one end of the groups to the other.
template <size_t kRows, size_t kPanels>
void AddRowSums(const RowSumsCall& call) {
  constexpr int64_t kLanes = kPanelLanes / static_cast<int64_t>(Isa::kVectors);
  constexpr int64_t kGroup = kInt8RowWeights.group;
  constexpr size_t kVectors = kPanels * Isa::kVectors;
  const auto place = [sums = call.sums](size_t r, size_t v) {
    return sums + static_cast<int64_t>(r * Isa::kPanels) * kPanelLanes + static_cast<int64_t>(v) * kLanes;
  };
  // Codes of weights are stored with an offset, which the sum of a row's activations takes away again; int32 may wrap.
  const auto start = [&call](size_t r) {
    constexpr uint32_t kOffset = Isa::template kSignedCodes<WeightKind::kInt8> ? 0 : 128;
    return static_cast<int32_t>(
        0 - kOffset * static_cast<uint32_t>(call.row_sum[static_cast<int64_t>(r) * call.row_sum_stride]));
  };
  typename Isa::I dot[kRows][kVectors];
  DGEMMA_UNROLL
  for (size_t r = 0; r < kRows; ++r) {
    DGEMMA_UNROLL
    for (size_t v = 0; v < kVectors; ++v) {
      dot[r][v] = call.row_sum != nullptr ? Isa::SetInt(start(r)) : Isa::LoadInt(place(r, v));
    }
  }
  const int64_t a_stride = call.a_stride, panel_stride = call.panel_stride, ahead_step = call.ahead_step;
  const int8_t* a = call.a;
  const std::byte* first = call.codes;
  const std::byte* ahead = call.ahead;
  for (int64_t g = 0; g < call.groups; ++g) {
    const std::byte* codes[kPanels];
    DGEMMA_UNROLL
    for (size_t p = 0; p < kPanels; ++p) codes[p] = first + static_cast<int64_t>(p) * panel_stride;
    Isa::template DotGroup<WeightKind::kInt8, kGroup, kRows, kPanels>(a, a_stride, codes, dot);
    for (int64_t line = 0; line < ahead_step; line += 64) __builtin_prefetch(ahead + line);
    ahead += ahead_step;
    a += kGroup;
    first += kGroup * kPanelLanes;
  }
  if (call.c == nullptr) {
    DGEMMA_UNROLL
    for (size_t r = 0; r < kRows; ++r) {
      DGEMMA_UNROLL
      for (size_t v = 0; v < kVectors; ++v) Isa::StoreInt(place(r, v), dot[r][v]);
    }
    return;
  }
  DGEMMA_UNROLL
  for (size_t v = 0; v < kVectors; ++v) {
    const typename Isa::F scale =
        Isa::LoadHalf(call.scales + static_cast<int64_t>(v / Isa::kVectors) * call.scale_stride +
                      static_cast<int64_t>(v % Isa::kVectors) * kLanes * 2);
    DGEMMA_UNROLL
    for (size_t r = 0; r < kRows; ++r) {
      const typename Isa::F scaled = Isa::Mul(Isa::ToFloat(dot[r][v]), scale);
      Isa::Store(call.c + static_cast<int64_t>(r) * call.c_stride + static_cast<int64_t>(v) * kLanes,
                 Isa::Mul(scaled, Isa::Set(call.a_scale[r])));
    }
  }
}

using RowSumsFunction = void (*)(const RowSumsCall&);

template <size_t kPanels, size_t... kRow>
constexpr std::array<RowSumsFunction, sizeof...(kRow)> RowSumsTable(std::index_sequence<kRow...>) {
  return {&AddRowSums<kRow + 1, kPanels>...};
}

RowSumsFunction FindRowSums(size_t rows, size_t panels) {
  using EveryRow = std::make_index_sequence<Isa::kRowScaledRows>;
  static constexpr auto kOne = RowSumsTable<1>(EveryRow());
  static constexpr auto kMost = RowSumsTable<Isa::kPanels>(EveryRow());
  return panels == 1 ? kOne[rows - 1] : kMost[rows - 1];
}

/// Codes of `groups` groups of a stepped panel as those of int8, in the order of int8 panels.
void WidenSteps(const std::byte* steps, const std::byte* codes, int64_t groups, std::byte* to) {
  constexpr int64_t kGroup = kInt4RowWeights.group, kQuads = kGroup / 8;
  constexpr int64_t kVectorBytes = 64 / static_cast<int64_t>(Isa::kVectors);
  for (int64_t g = 0; g < groups; ++g, steps += kStepBytes, codes += kQuads * 64, to += kGroup * kPanelLanes) {
    for (size_t v = 0; v < Isa::kVectors; ++v) {
      typename Isa::Steps step;
      Isa::LoadSteps(steps, v, step);
      for (int64_t quad = 0; quad < kQuads; ++quad) {
        const int64_t at = quad * 64 + static_cast<int64_t>(v) * kVectorBytes;
        const typename Isa::I both = Isa::LoadCodes(codes + at);
        Isa::StoreInt(reinterpret_cast<int32_t*>(to + at), Isa::Step(Isa::LowHalf(both), step));
        Isa::StoreInt(reinterpret_cast<int32_t*>(to + kQuads * 64 + at), Isa::Step(Isa::HighHalf(both), step));
      }
    }
  }
}

/// Runs a tile of `rows` rows and `panels` panels into `cols` columns of C, which may end inside its last panel: through a buffer
/// then. A tile without C writes none.
template <typename Call>
void RunTile(void (*tile)(const Call&), const Call& call, int64_t rows, int64_t panels, int64_t cols) {
  if (call.c == nullptr || cols == panels * kPanelLanes) return tile(call);
  constexpr int64_t kStride = static_cast<int64_t>(Isa::kPanels) * kPanelLanes;
  alignas(64) float buffer[static_cast<int64_t>(std::max(Isa::kRows, Isa::kRowScaledRows)) * kStride];
  Call buffered = call;
  buffered.c = buffer;
  buffered.c_stride = kStride;
  tile(buffered);
  for (int64_t r = 0; r < rows; ++r) {
    std::memcpy(call.c + r * call.c_stride, buffer + r * kStride, static_cast<size_t>(cols) * sizeof(float));
  }
}

/// Stepped codes are widened a piece of depth at a time, once for all rows of a block; the sums of the block stay beside the piece
/// in a first-level cache. Codes of int8 are one piece as they lie.
void MultiplyRowScaled(const GroupedProduct& p) {
  constexpr auto kTileRows = static_cast<int64_t>(Isa::kRowScaledRows),
                 kTilePanels = static_cast<int64_t>(Isa::kPanels);
  constexpr int64_t kBlockRows = 8 * kTileRows, kGroup = kInt8RowWeights.group, kPieceGroups = 4;
  constexpr int64_t kPieceBytes = kPieceGroups * kGroup * kPanelLanes, kSums = kTilePanels * kPanelLanes;
  alignas(64) std::byte widened[kTilePanels * kPieceBytes];
  alignas(64) int32_t sums[kBlockRows * kSums];
  const bool stepped = p.format.stepped();
  if (stepped) std::memset(widened, 0, sizeof(widened));  // beyond the last group activations are zero
  const int64_t panel_bytes = PanelBytes(p.format, p.in), scale_bytes = PanelScaleBytes(p.format, p.in);
  const int64_t groups = (p.in + kGroup - 1) / kGroup, stored_groups = GroupCount(p.format, p.in);
  const int64_t piece_groups = stepped ? kPieceGroups : groups;
  const int64_t all_tiles = (p.a.rows + kTileRows - 1) / kTileRows;
  for (int64_t col = 0; col < p.cols; col += kSums) {
    const int64_t cols = std::min(kSums, p.cols - col), panels = cols <= kPanelLanes ? 1 : kTilePanels;
    const std::byte* b = p.b + col / kPanelLanes * panel_bytes;
    // The panels that follow are asked for while these are used: each tile a part of them, a few lines at every group.
    const int64_t next_bytes = panels * panel_bytes;
    const std::byte* next = col + cols < p.cols ? b + next_bytes : p.next;
    int64_t asked = 0;
    RowSumsCall call{};
    call.a_stride = p.a.stride;
    call.codes = stepped ? widened : b + scale_bytes;
    call.panel_stride = stepped ? kPieceBytes : panel_bytes;
    call.scales = b;
    call.scale_stride = panel_bytes;
    call.row_sum_stride = p.a.sum_stride;
    call.c_stride = p.c_stride;
    call.ahead_step = next == nullptr ? 0 : (next_bytes / (all_tiles * groups) + 63) / 64 * 64;
    for (int64_t block = 0; block < p.a.rows; block += kBlockRows) {
      const QuantizedRows a = p.a.Rows(block, std::min(kBlockRows, p.a.rows - block));
      const int64_t tiles = (a.rows + kTileRows - 1) / kTileRows;
      for (int64_t group = 0; group < groups; group += piece_groups) {
        call.groups = std::min(piece_groups, groups - group);
        for (int64_t panel = 0; stepped && panel < panels; ++panel) {  // two of its groups in one of int8
          const std::byte* from = b + panel * panel_bytes;
          WidenSteps(from + kStepsBegin + 2 * group * kStepBytes, from + scale_bytes + group * kGroup * kPanelLanes / 2,
                     std::min(2 * call.groups, stored_groups - 2 * group), widened + panel * kPieceBytes);
        }
        for (int64_t tile = 0, row = 0; tile < tiles; ++tile) {  // sizes differ by one at most
          const int64_t rows = a.rows / tiles + (tile < a.rows % tiles ? 1 : 0);
          call.a = a.code + row * a.stride + group * kGroup;
          call.row_sum = group == 0 ? a.RowSum() + row * a.sum_stride : nullptr;
          call.sums = sums + row * kSums;
          call.a_scale = a.scale + row;
          call.c = group + call.groups == groups ? p.c + (block + row) * p.c_stride + col : nullptr;
          call.ahead = next == nullptr ? b : next + std::min(asked, next_bytes);
          const RowSumsFunction run = FindRowSums(static_cast<size_t>(rows), static_cast<size_t>(panels));
          RunTile(run, call, rows, panels, cols);
          asked += call.groups * call.ahead_step;
          row += rows;
        }
      }
    }
  }
}

}  // namespace
}  // namespace dgemma
