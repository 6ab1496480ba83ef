// Grouped products in plain C++, for machines without byte dot products; compilers vectorise what they can.
#include <cmath>

#include "kernels/cpu/grouped_isa.h"
#include "tensor/rounding.h"

namespace dgemma {
namespace {

struct Isa {
  struct F {
    float lane[16];
  };
  struct I {
    int32_t lane[16];
  };
  static constexpr size_t kVectors = 1, kRows = 4, kPanels = 1;
  template <WeightKind>
  static constexpr bool kSignedCodes = false;

  template <typename Vector, typename Value>
  static Vector Each(Value value) {
    Vector out;
    for (size_t i = 0; i < 16; ++i) out.lane[i] = value(i);
    return out;
  }
  static F Zero() { return Set(0); }
  static F Set(float value) {
    return Each<F>([&](size_t) { return value; });
  }
  static I SetInt(int32_t value) {
    return Each<I>([&](size_t) { return value; });
  }
  static void Store(float* to, const F& value) { std::memcpy(to, value.lane, sizeof(value.lane)); }
  static F Mul(const F& a, const F& b) {
    return Each<F>([&](size_t i) { return a.lane[i] * b.lane[i]; });
  }
  static F Fma(const F& a, const F& b, const F& c) {
    return Each<F>([&](size_t i) { return std::fma(a.lane[i], b.lane[i], c.lane[i]); });
  }
  static F NegFma(const F& a, const F& b, const F& c) {
    return Each<F>([&](size_t i) { return std::fma(-a.lane[i], b.lane[i], c.lane[i]); });
  }
  static F ToFloat(const I& value) {
    return Each<F>([&](size_t i) { return static_cast<float>(value.lane[i]); });
  }
  static F LoadHalf(const std::byte* from) {
    return Each<F>([&](size_t i) {
      uint16_t bits = 0;
      std::memcpy(&bits, from + 2 * i, sizeof(bits));
      return FromF16(bits);
    });
  }

#undef DGEMMA_PIN
#define DGEMMA_PIN(vector) static_cast<void>(vector)  // not a register
#include "kernels/cpu/grouped_vnni-inl.h"
  static I LoadCodes(const std::byte* from) {
    I out;
    std::memcpy(out.lane, from, sizeof(out.lane));
    return out;
  }
  static I LowHalf(const I& codes) {
    return Each<I>([&](size_t i) { return codes.lane[i] & 0x0F0F0F0F; });
  }
  static I HighHalf(const I& codes) {
    return Each<I>([&](size_t i) { return (codes.lane[i] >> 4) & 0x0F0F0F0F; });
  }
  template <WeightKind>
  static I Dot(const I& sum, const I& codes, int32_t four) {
    return Each<I>([&](size_t i) {
      const auto bytes = static_cast<uint32_t>(codes.lane[i]);
      int32_t total = sum.lane[i];
      for (int32_t k = 0; k < 4; ++k) {
        total += static_cast<int32_t>((bytes >> (8 * k)) & 0xFF) * static_cast<int8_t>(four >> (8 * k));
      }
      return total;
    });
  }
};

}  // namespace
}  // namespace dgemma
#include "kernels/cpu/grouped_tile-inl.h"

namespace dgemma {
const GroupedOps* PortableGroupedOps() {
  static constexpr GroupedOps kOps{"portable", Isa::kRows, &MultiplyGrouped, &PeakGrouped};
  return &kOps;
}
}  // namespace dgemma
