// See adapters.h.
#include "engine/adapters.h"

#include <fmt/format.h>

#include <cmath>

#include "base/try.h"
#include "files/messages.h"
#include "model/adapter_files.h"

namespace dgemma {
namespace {

constexpr size_t kMostAdapters = 64;

}  // namespace

std::vector<AppliedAdapter> LoadedAdapters::Applied() const {
  std::vector<AppliedAdapter> applied;
  for (size_t i = 0; i < adapters.size(); ++i) applied.push_back({&adapters[i], facts[i].scale});
  return applied;
}

Result<LoadedAdapters> LoadAdapters(const EngineOptions& options, const Config& config) {
  if (options.adapters.size() > kMostAdapters)
    return Fail(StatusCode::kInvalidArgument, fmt::format("adapters: more than {}", kMostAdapters));
  LoadedAdapters loaded;
  for (const AdapterFile& file : options.adapters) {
    if (!std::isfinite(file.scale))
      return Fail(StatusCode::kInvalidArgument, file.path + ": its scale is not a finite number");
    DG_TRY(const OpenedAdapter opened, OpenAdapter(file.path));
    DG_TRY(Adapter adapter, At(file.path, MakeAdapter(opened, config)));
    AdapterFacts facts{opened.name, file.scale, 0, std::ssize(opened.unused)};
    for (const AdapterDelta& delta : adapter.deltas) facts.parameters += delta.Values();
    loaded.adapters.push_back(std::move(adapter));
    loaded.facts.push_back(std::move(facts));
  }
  return loaded;
}

}  // namespace dgemma
