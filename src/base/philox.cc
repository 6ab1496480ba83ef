// Philox4x32-10 and the two distributions the sampler needs.
#include "base/philox.h"

namespace dgemma {
namespace {

constexpr uint32_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;

uint64_t Bits64(const DrawKey& key) {
  const auto words = Philox4x32({key.row, key.step, key.canvas, static_cast<uint32_t>(key.purpose)},
                                {static_cast<uint32_t>(key.seed), static_cast<uint32_t>(key.seed >> 32)});
  return (static_cast<uint64_t>(words[0]) << 32) | words[1];
}

}  // namespace

std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = static_cast<uint64_t>(kMultiplier0) * counter[0];
    const uint64_t product1 = static_cast<uint64_t>(kMultiplier1) * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(product0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

double UniformDouble(const DrawKey& key) { return static_cast<double>(Bits64(key) >> 11) * 0x1.0p-53; }

uint32_t UniformInt(const DrawKey& key, uint32_t bound) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<uint32_t>((static_cast<Wide>(Bits64(key)) * bound) >> 64);
}

}  // namespace dgemma
