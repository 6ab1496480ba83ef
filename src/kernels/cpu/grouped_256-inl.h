// Members of the Isa structs with vectors of 256 bits: two of them are a panel of 16 lanes.
using F = __m256;
using I = __m256i;
static constexpr size_t kVectors = 2, kRows = 3, kPanels = 1;

static F Zero() { return _mm256_setzero_ps(); }
static F Set(float value) { return _mm256_set1_ps(value); }
static I SetInt(int32_t value) { return _mm256_set1_epi32(value); }
static void Store(float* to, F value) { _mm256_storeu_ps(to, value); }
static void StoreInt(int32_t* to, I value) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), value); }
static I LoadInt(const int32_t* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }
static F Mul(F a, F b) { return _mm256_mul_ps(a, b); }
static F Fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
static F NegFma(F a, F b, F c) { return _mm256_fnmadd_ps(a, b, c); }
static F ToFloat(I value) { return _mm256_cvtepi32_ps(value); }
static F LoadHalf(const std::byte* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
static I LoadCodes(const std::byte* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }
static I LowHalf(I codes) { return _mm256_and_si256(codes, _mm256_set1_epi8(15)); }
static I HighHalf(I codes) { return _mm256_and_si256(_mm256_srli_epi16(codes, 4), _mm256_set1_epi8(15)); }
struct Steps {
  I step, base;
};
/// Sixteen bytes in every 128 bits.
static I Repeated(const std::byte* from) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
/// Each lane's step as two 16-bit numbers, its base as four bytes.
static void LoadSteps(const std::byte* from, size_t vector, Steps& steps) {
  const I lanes =
      _mm256_add_epi32(_mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0), _mm256_set1_epi32(static_cast<int32_t>(8 * vector)));
  const I four = _mm256_mullo_epi32(lanes, _mm256_set1_epi32(0x01010101));
  const I words = _mm256_or_si256(four, _mm256_set1_epi32(static_cast<int32_t>(0x80008000)));
  const I step = _mm256_and_si256(_mm256_shuffle_epi8(Repeated(from), words), _mm256_set1_epi16(15));
  steps.step = _mm256_add_epi16(step, _mm256_set1_epi16(1));
  steps.base = _mm256_shuffle_epi8(Repeated(from + kPanelLanes), four);
}
/// Codes are at most 15 and steps at most 16: no product of two bytes at once carries into the upper one.
static I Step(I codes, const Steps& steps) {
  return _mm256_add_epi8(_mm256_mullo_epi16(codes, steps.step), steps.base);
}
