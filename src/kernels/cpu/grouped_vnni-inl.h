// Member of the Isa structs whose dot product takes unsigned codes as they are stored: vectors of 4 codes a lane times 4
// activations for all lanes. The caller starts the sums at -StoredOffset * (sum of the activations).

template <WeightKind kKind, int64_t kGroup, size_t kTileRows, size_t kTilePanels>
static inline __attribute__((always_inline)) void DotGroup(const int8_t* a, int64_t a_stride,
                                                           const std::byte* const (&codes)[kTilePanels],
                                                           I (&dot)[kTileRows][kTilePanels * kVectors]) {
  constexpr int64_t kVectorBytes = 64 / static_cast<int64_t>(kVectors);
  constexpr int64_t kQuads = kKind == WeightKind::kInt4 ? kGroup / 8 : kGroup / 4;
  // Three rows share one pointer (offsets 0, 1 and 2 strides are addressing modes).
  const int8_t* rows[(kTileRows + 2) / 3];
  DGEMMA_UNROLL
  for (size_t r = 0; r < (kTileRows + 2) / 3; ++r) rows[r] = a + static_cast<int64_t>(3 * r) * a_stride;
  DGEMMA_UNROLL
  for (int64_t quad = 0; quad < kQuads; ++quad) {
    I stored[kTilePanels * kVectors];
    DGEMMA_UNROLL
    for (size_t v = 0; v < kTilePanels * kVectors; ++v) {
      stored[v] = LoadCodes(codes[v / kVectors] + quad * 64 + static_cast<int64_t>(v % kVectors) * kVectorBytes);
    }
    DGEMMA_UNROLL
    for (int64_t half = 0; half < (kKind == WeightKind::kInt4 ? 2 : 1); ++half) {
      const int64_t four = (quad + half * kQuads) * 4;
      I vectors[kTilePanels * kVectors];
      DGEMMA_UNROLL
      for (size_t v = 0; v < kTilePanels * kVectors; ++v) {
        if constexpr (kKind == WeightKind::kInt4)
          vectors[v] = half == 0 ? LowHalf(stored[v]) : HighHalf(stored[v]);
        else
          vectors[v] = stored[v];
      }
      DGEMMA_UNROLL
      for (size_t r = 0; r < kTileRows; ++r) {
        int32_t value = 0;
        std::memcpy(&value, rows[r / 3] + static_cast<int64_t>(r % 3) * a_stride + four, sizeof(value));
        DGEMMA_UNROLL
        for (size_t v = 0; v < kTilePanels * kVectors; ++v) dot[r][v] = Dot<kKind>(dot[r][v], vectors[v], value);
      }
      DGEMMA_UNROLL
      for (size_t r = 0; r < kTileRows; ++r) {  // nothing of the next four activations is loaded before
        DGEMMA_UNROLL
        for (size_t v = 0; v < kTilePanels * kVectors; ++v) DGEMMA_PIN(dot[r][v]);
      }
    }
  }
}
