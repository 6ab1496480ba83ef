// Members of the Isa structs with vectors of 256 bits: two of them are a panel of 16 lanes.
using F = __m256;
using I = __m256i;
static constexpr size_t kVectors = 2, kRows = 3, kPanels = 1;

static F Zero() { return _mm256_setzero_ps(); }
static F Set(float value) { return _mm256_set1_ps(value); }
static I SetInt(int32_t value) { return _mm256_set1_epi32(value); }
static void Store(float* to, F value) { _mm256_storeu_ps(to, value); }
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
