// Reading a draft token by token: byte tokens are joined to characters, control tokens vanish, the stop token ends it.
#include "draft_cells.h"

#include <algorithm>
#include <array>
#include <utility>

#include "text/utf8.h"

namespace dgemma {
namespace {

constexpr std::array<float, kHeatLevels - 1> kHeatBounds = {0.01F, 0.1F, 0.5F, 1.5F};  // nats

bool IsContinuation(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

}  // namespace

int HeatLevel(float entropy) {
  return static_cast<int>(std::ranges::upper_bound(kHeatBounds, entropy) - kHeatBounds.begin());
}

DraftReader::DraftReader(const Engine& engine, std::vector<int32_t> stop_tokens, DraftLook look, TerminalTraits traits)
    : engine_(engine), stop_tokens_(std::move(stop_tokens)), look_(look), traits_(traits) {}

std::vector<Cell> DraftReader::Read(const Draft& draft) {
  if (draft.canvas != canvas_) {
    begins_in_thought_ = canvas_ >= 0 && in_thought_;
    canvas_ = draft.canvas;
  }
  in_thought_ = begins_in_thought_;
  decided_ = 0;
  std::vector<Cell> cells;
  for (size_t position = 0; position < draft.tokens.size(); ++position) {
    const bool stops = std::ranges::find(stop_tokens_, draft.tokens[position]) != stop_tokens_.end();
    if (stops && draft.accepted[position] != 0) break;
    ReadToken(draft, position, cells);
  }
  Flush(cells);
  return cells;
}

void DraftReader::ReadToken(const Draft& draft, size_t position, std::vector<Cell>& cells) {
  const int32_t id = draft.tokens[position];
  const std::string text = engine_.TokenText(id);
  const int level = HeatLevel(draft.entropy[position]);
  if (draft.accepted[position] == 0) {
    Flush(cells);
    Undecided(engine_.IsSpecial(id) ? "" : text, level, cells);
    return;
  }
  if (engine_.IsSpecial(id)) {
    Flush(cells);
    if (text == "<|channel>") in_thought_ = true;
    if (text == "<channel|>") in_thought_ = false;
    return;
  }
  if (text.empty()) return;
  if (!bytes_.empty() && !IsContinuation(text.front())) Flush(cells);
  if (bytes_.empty()) {
    const bool heat = look_ == DraftLook::kHeat;
    bytes_look_ =
        heat ? static_cast<Look>(static_cast<int>(Look::kHeat0) + level) : (in_thought_ ? Look::kDim : Look::kPlain);
  }
  ++decided_;
  bytes_ += text;
  if (IsValidUtf8(bytes_)) Flush(cells);
}

void DraftReader::Undecided(std::string_view text, int level, std::vector<Cell>& cells) const {
  const bool heat = look_ == DraftLook::kHeat;
  if (heat && traits_.colors != Colors::kNone && WidthOf(text) > 0) {
    auto shown = CellsOf(text, static_cast<Look>(static_cast<int>(Look::kHeat0) + level));
    std::erase_if(shown, [](const Cell& cell) { return cell.ends_line; });
    cells.insert(cells.end(), shown.begin(), shown.end());
    return;
  }
  static constexpr std::array<const char*, kHeatLevels> kShades = {"░", "░", "▒", "▒", "▓"};
  static constexpr std::array<const char*, kHeatLevels> kPlainShades = {".", ".", ":", ":", "#"};
  const auto shade = static_cast<size_t>(level);
  std::string glyph = traits_.utf8 ? "·" : ".";
  if (heat) glyph = traits_.utf8 ? kShades[shade] : kPlainShades[shade];
  const int width = std::max(1, WidthOf(text));
  cells.insert(cells.end(), static_cast<size_t>(width), Cell{.text = glyph, .width = 1, .look = Look::kDim});
}

void DraftReader::Flush(std::vector<Cell>& cells) {
  if (bytes_.empty()) return;
  const std::vector<Cell> shown = CellsOf(bytes_, bytes_look_);
  cells.insert(cells.end(), shown.begin(), shown.end());
  bytes_.clear();
}

}  // namespace dgemma
