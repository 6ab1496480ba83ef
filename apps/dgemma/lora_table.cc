// Grouping and printing.
#include "lora_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/value_from.hpp>
#include <charconv>

#include "text/utf8.h"
#include "text_table.h"

namespace dgemma {
namespace {

constexpr size_t kShownKeys = 8;

/// Adds a module to the row that it belongs to.
void Add(std::vector<LoraRow>& rows, LoraRow row) {
  const auto same = std::ranges::find_if(rows, [&](const LoraRow& other) {
    return other.module == row.module && other.kind == row.kind && other.role == row.role && other.shape == row.shape &&
           other.rank == row.rank && other.scale == row.scale;
  });
  if (same == rows.end()) {
    rows.push_back(std::move(row));
    return;
  }
  same->layers.insert(same->layers.end(), row.layers.begin(), row.layers.end());
  same->pairs += row.pairs;
  same->values += row.values;
}

std::vector<LoraRow> Sorted(std::vector<LoraRow> rows) {
  for (LoraRow& row : rows) {
    std::ranges::sort(row.layers);
    row.layers.erase(std::ranges::unique(row.layers).begin(), row.layers.end());
  }
  return rows;
}

/// "0-4,6-10,12"
std::string Ranges(const std::vector<int64_t>& layers) {
  std::string text;
  for (size_t begin = 0, end = 0; begin < layers.size(); begin = end) {
    for (end = begin + 1; end < layers.size() && layers[end] == layers[end - 1] + 1;) ++end;
    text += (text.empty() ? "" : ",") + std::to_string(layers[begin]);
    if (end - begin > 1) text += "-" + std::to_string(layers[end - 1]);
  }
  return text;
}

/// "model.decoder.layers.3.self_attn.q_proj.weight" as layer 3 and "self_attn.q_proj".
std::pair<int64_t, std::string> SplitTensor(std::string_view tensor) {
  constexpr std::string_view kFront = "model.decoder.", kLayers = "layers.", kBack = ".weight";
  if (tensor.starts_with(kFront)) tensor.remove_prefix(kFront.size());
  if (tensor.ends_with(kBack)) tensor.remove_suffix(kBack.size());
  if (!tensor.starts_with(kLayers)) return {-1, std::string(tensor)};
  tensor.remove_prefix(kLayers.size());
  int64_t layer = -1;
  const auto [end, error] = std::from_chars(tensor.data(), tensor.data() + tensor.size(), layer);
  return {layer, std::string(end + 1, tensor.data() + tensor.size())};
}

uint64_t Total(const std::vector<LoraRow>& rows, DeltaRole role) {
  uint64_t pairs = 0;
  for (const LoraRow& row : rows) pairs += row.role == role ? static_cast<uint64_t>(row.pairs) : 0;
  return pairs;
}

uint64_t Values(const std::vector<LoraRow>& rows) {
  uint64_t values = 0;
  for (const LoraRow& row : rows) values += row.values;
  return values;
}

}  // namespace

std::vector<LoraRow> RowsOf(const OpenedAdapter& opened) {
  std::vector<LoraRow> rows;
  for (const AdapterModule& module : opened.modules) {
    LoraRow row;
    row.module = module.place.module;
    if (module.place.part != AdapterPart::kWhole)
      row.module += module.place.part == AdapterPart::kGate ? " (gate)" : " (up)";
    row.role = module.place.role;
    row.shape = fmt::format("[{}] [{}]", fmt::join(module.down.shape, ", "), fmt::join(module.up.shape, ", "));
    if (module.place.layer >= 0) row.layers.push_back(module.place.layer);
    row.pairs = 1;
    row.values = module.Values();
    Add(rows, std::move(row));
  }
  return Sorted(std::move(rows));
}

std::vector<LoraRow> RowsOf(const Adapter& adapter, const Config& config) {
  std::vector<LoraRow> rows;
  for (const AdapterDelta& delta : adapter.deltas) {
    LoraRow row;
    const auto [layer, module] = SplitTensor(delta.tensor);
    row.module = module;
    row.role = delta.role;
    row.shape = delta.count > 1 ? fmt::format("[{}, {}, {}]", delta.count, delta.out, delta.in)
                                : fmt::format("[{}, {}]", delta.out, delta.in);
    row.rank = delta.rank;
    row.scale = static_cast<double>(delta.scale);
    if (layer >= 0) {
      row.layers.push_back(layer);
      row.kind = config.layers[static_cast<size_t>(layer)].sliding ? "sliding" : "full";
    }
    row.pairs = delta.count;
    row.values = static_cast<uint64_t>(delta.Values());
    Add(rows, std::move(row));
  }
  return Sorted(std::move(rows));
}

std::string LoraText(const OpenedAdapter& opened, const std::vector<LoraRow>& rows) {
  const AdapterSettings& settings = opened.settings;
  std::string text = fmt::format("{} ({}{})\n", PrintableText(opened.name), opened.form,
                                 settings.base_model.empty() ? "" : ", made for " + PrintableText(settings.base_model));
  const auto line = [&](const char* what, const std::string& value) {
    text += fmt::format("  {:<12} {}\n", what, value);
  };
  line("rank", settings.rank == 0 ? std::string("as the matrices have it")
                                  : fmt::format("{}{}", settings.rank,
                                                settings.rank_pattern.empty() ? "" : ", others by rank_pattern"));
  line("alpha", fmt::format("{}{}{}", settings.alpha, settings.rank_stabilized ? ", rank-stabilised" : "",
                            settings.alpha_pattern.empty() ? "" : ", others by alpha_pattern"));
  line("parameters", fmt::format("{}", Values(rows)));
  std::vector<std::string> roles;
  for (const DeltaRole role : {DeltaRole::kEncoder, DeltaRole::kDecoder, DeltaRole::kBoth}) {
    if (const uint64_t pairs = Total(rows, role)) roles.push_back(fmt::format("{} {}", Name(role), pairs));
  }
  line("matrices", fmt::format("{}", fmt::join(roles, ", ")));
  line("unused keys", fmt::format("{}", opened.unused.size()));
  for (size_t i = 0; i < std::min(kShownKeys, opened.unused.size()); ++i)
    text += "    " + PrintableText(opened.unused[i]) + "\n";
  if (opened.unused.size() > kShownKeys) text += "    ...\n";
  const bool checked = rows.front().rank.has_value();
  TextTable table =
      checked ? TextTable({"module", "layers", "kind", "role", "shape", "rank", "scale", "parameters"}, {0, 1, 2, 3, 4})
              : TextTable({"module", "layers", "role", "A and B", "parameters"}, {0, 1, 2, 3});
  for (const LoraRow& row : rows) {
    std::vector<std::string> cells = {row.module, row.layers.empty() ? "-" : Ranges(row.layers)};
    if (checked) cells.push_back(row.kind.empty() ? "-" : row.kind);
    cells.emplace_back(Name(row.role));
    cells.push_back(row.shape);
    if (checked) cells.push_back(fmt::format("{}", *row.rank));
    if (checked) cells.push_back(fmt::format("{:.4g}", row.scale.value_or(0)));
    cells.push_back(fmt::format("{}", row.values));
    table.Add(std::move(cells));
  }
  return text + "\n" + table.Aligned();
}

boost::json::object LoraJson(const OpenedAdapter& opened, const std::vector<LoraRow>& rows) {
  boost::json::array targets;
  for (const LoraRow& row : rows) {
    boost::json::object target{{"module", row.module}, {"role", Name(row.role)},
                               {"shape", row.shape},   {"pairs", row.pairs},
                               {"values", row.values}, {"layers", boost::json::value_from(row.layers)}};
    if (!row.kind.empty()) target["kind"] = row.kind;
    if (row.rank) target["rank"] = *row.rank;
    if (row.scale) target["scale"] = *row.scale;
    targets.push_back(std::move(target));
  }
  return {{"name", opened.name},
          {"form", opened.form},
          {"base_model", opened.settings.base_model},
          {"rank", opened.settings.rank},
          {"alpha", opened.settings.alpha},
          {"rank_stabilized", opened.settings.rank_stabilized},
          {"parameters", Values(rows)},
          {"unused", boost::json::value_from(opened.unused)},
          {"targets", std::move(targets)}};
}

}  // namespace dgemma
