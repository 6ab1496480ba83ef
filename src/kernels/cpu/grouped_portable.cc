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
  static constexpr size_t kVectors = 1, kRows = 4, kRowScaledRows = 4, kPanels = 1;
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
  static void StoreInt(int32_t* to, const I& value) { std::memcpy(to, value.lane, sizeof(value.lane)); }
  static I LoadInt(const int32_t* from) {
    I out;
    std::memcpy(out.lane, from, sizeof(out.lane));
    return out;
  }
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

  struct Steps {
    std::array<uint32_t, 16> step, base;
  };
  static void LoadSteps(const std::byte* from, size_t, Steps& steps) {
    for (size_t i = 0; i < 16; ++i) {
      steps.step[i] = std::to_integer<uint32_t>(from[i] & std::byte{15}) + 1;
      steps.base[i] = std::to_integer<uint32_t>(from[16 + i]);
    }
  }
  static I Step(const I& codes, const Steps& steps) {
    return Each<I>([&](size_t i) {
      uint32_t bytes = 0;
      for (uint32_t k = 0; k < 32; k += 8) {
        const uint32_t code = static_cast<uint32_t>(codes.lane[i]) >> k & 0xFF;
        bytes |= ((code * steps.step[i] + steps.base[i]) & 0xFF) << k;
      }
      return static_cast<int32_t>(bytes);
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
      auto total = static_cast<uint32_t>(sum.lane[i]);  // sums of whole rows may wrap on the way, as vectors do
      for (int32_t k = 0; k < 4; ++k) {
        total += static_cast<uint32_t>(static_cast<int32_t>((bytes >> (8 * k)) & 0xFF) *
                                       static_cast<int8_t>(four >> (8 * k)));
      }
      return static_cast<int32_t>(total);
    });
  }
};

}  // namespace
}  // namespace dgemma
#include "kernels/cpu/grouped_rows-inl.h"
#include "kernels/cpu/grouped_tile-inl.h"

namespace dgemma {
const GroupedOps* PortableGroupedOps() {
  static constexpr GroupedOps kOps{"portable", &MultiplyGrouped, &PeakGrouped};
  return &kOps;
}
}  // namespace dgemma
