// Members of the Isa structs for ARM, all but the dot product: four vectors of 128 bits are a panel of 16 lanes.
using F = float32x4_t;
using I = int32x4_t;
static constexpr size_t kVectors = 4, kRows = 3, kRowScaledRows = 6, kPanels = 1;
static F Zero() { return vdupq_n_f32(0); }
static F Set(float value) { return vdupq_n_f32(value); }
static I SetInt(int32_t value) { return vdupq_n_s32(value); }
static void Store(float* to, F value) { vst1q_f32(to, value); }
static void StoreInt(int32_t* to, I value) { vst1q_s32(to, value); }
static I LoadInt(const int32_t* from) { return vld1q_s32(from); }
static F Mul(F a, F b) { return vmulq_f32(a, b); }
static F Fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }
static F NegFma(F a, F b, F c) { return vfmsq_f32(c, a, b); }
static F ToFloat(I value) { return vcvtq_f32_s32(value); }
static F LoadHalf(const std::byte* from) {
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(reinterpret_cast<const uint16_t*>(from))));
}
static I LoadCodes(const std::byte* from) {
  return vreinterpretq_s32_u8(vld1q_u8(reinterpret_cast<const uint8_t*>(from)));
}
static I LowHalf(I codes) { return vreinterpretq_s32_u8(vandq_u8(vreinterpretq_u8_s32(codes), vdupq_n_u8(15))); }
struct Steps {
  uint8x16_t step, base;
};
/// Each lane's step and base, four times.
static void LoadSteps(const std::byte* from, size_t vector, Steps& steps) {
  static constexpr uint8_t kFour[16] = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3};
  const uint8x16_t lanes = vaddq_u8(vld1q_u8(kFour), vdupq_n_u8(static_cast<uint8_t>(4 * vector)));
  const auto* bytes = reinterpret_cast<const uint8_t*>(from);
  const uint8x16_t step = vandq_u8(vqtbl1q_u8(vld1q_u8(bytes), lanes), vdupq_n_u8(15));
  steps.step = vaddq_u8(step, vdupq_n_u8(1));
  steps.base = vqtbl1q_u8(vld1q_u8(bytes + kPanelLanes), lanes);
}
static I Step(I codes, const Steps& steps) {
  return vreinterpretq_s32_u8(vmlaq_u8(steps.base, vreinterpretq_u8_s32(codes), steps.step));
}
static I HighHalf(I codes) { return vreinterpretq_s32_u8(vshrq_n_u8(vreinterpretq_u8_s32(codes), 4)); }
