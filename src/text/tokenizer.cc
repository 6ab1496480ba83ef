// Encoding and decoding: added tokens first, then the normaliser's space, start symbols, and merging.
#include "text/tokenizer.h"

#include "text/stream_decoder.h"
#include "text/utf8.h"

namespace dgemma {
namespace {

constexpr char32_t kLowerBlock = 0x2581;  // how the vocabulary spells a space

}  // namespace

std::vector<int32_t> Tokenizer::Encode(std::string_view text, SpecialTokens special) const {
  const TextPart part{text, special};
  return EncodeParts({&part, 1});
}

std::vector<int32_t> Tokenizer::EncodeParts(std::span<const TextPart> parts) const {
  std::string text;
  std::vector<ByteSpan> literal;
  for (const TextPart& part : parts) {
    const size_t begin = text.size();
    if (IsValidUtf8(part.text)) {
      text += part.text;
    } else {
      text += ReplaceInvalidUtf8(part.text);
    }
    if (part.special == SpecialTokens::kAsText && text.size() > begin) literal.push_back({begin, text.size()});
  }
  std::vector<int32_t> ids;
  EncodeText(text, literal, ids);
  return ids;
}

void Tokenizer::EncodeText(std::string_view text, std::span<const ByteSpan> literal, std::vector<int32_t>& out) const {
  AddedTokenScanner scanner(added_, text, literal);
  size_t done = 0;
  while (const auto match = scanner.Next()) {
    EncodeSegment(text.substr(done, match->begin - done), out);
    out.push_back(match->id);
    done = match->end;
  }
  EncodeSegment(text.substr(done), out);
}

void Tokenizer::EncodeSegment(std::string_view segment, std::vector<int32_t>& out) const {
  // With the normaliser on there is no space left to split at.
  if (!split_at_space_ || replace_space_) return EncodePiece(segment, out);
  bool after_space = false;  // a space is attached to what precedes it, unless that ends in a space
  size_t begin = 0;
  for (size_t i = 0; i < segment.size(); ++i) {
    const bool is_space = segment[i] == ' ';
    if (after_space) {
      EncodePiece(segment.substr(begin, i - begin), out);
      begin = i;
    }
    after_space = is_space;
  }
  EncodePiece(segment.substr(begin), out);
}

int32_t Tokenizer::StartSymbol(char32_t character) const { return pages_[page_of_[character >> 8]][character & 0xFF]; }

void Tokenizer::EncodePiece(std::string_view piece, std::vector<int32_t>& out) const {
  if (piece.empty()) return;
  if (ignore_merges_) {
    std::string normalised;
    for (char byte : piece) {
      if (replace_space_ && byte == ' ') {
        AppendUtf8(kLowerBlock, normalised);
      } else {
        normalised.push_back(byte);
      }
    }
    const std::optional<int32_t> whole = tokens_.Find(normalised);
    if (whole && !IsControl(*whole)) {
      out.push_back(*whole);
      return;
    }
  }
  BpeRun run(merges_, junctions_, out);
  bool unknown_pending = false;
  const auto end_unknown = [&] {
    if (unknown_pending) run.Add(unknown_id_, kNoCharacter);
    unknown_pending = false;
  };
  for (size_t position = 0; position < piece.size();) {
    char32_t character = NextCodePoint(piece, position);
    if (replace_space_ && character == ' ') character = kLowerBlock;
    if (const int32_t id = StartSymbol(character); id >= 0) {
      end_unknown();
      run.Add(id, character);
      continue;
    }
    std::string spelled;
    AppendUtf8(character, spelled);
    bool all_bytes = byte_fallback_;
    for (char byte : spelled) all_bytes = all_bytes && byte_ids_[static_cast<unsigned char>(byte)] >= 0;
    if (all_bytes) {
      // Hugging Face leaves a pending unknown token pending here, so that it comes out after these bytes.
      for (char byte : spelled) run.Add(byte_ids_[static_cast<unsigned char>(byte)], kNoCharacter);
      continue;
    }
    if (unknown_id_ < 0) continue;
    if (!fuse_unknown_) end_unknown();
    unknown_pending = true;
  }
  end_unknown();
  run.Flush();
}

std::string Tokenizer::Decode(std::span<const int32_t> ids, SpecialText special) const {
  StreamDecoder decoder(*this, special);
  std::string text;
  for (int32_t id : ids) decoder.Push(id, text);
  decoder.Finish(text);
  return text;
}

std::string_view Tokenizer::OutputTable::Content(int32_t id) const {
  if (id < 0 || static_cast<size_t>(id) >= ends_.size()) return {};
  const auto index = static_cast<size_t>(id);
  const uint32_t begin = index == 0 ? 0 : ends_[index - 1];
  return std::string_view(bytes_).substr(begin, ends_[index] - begin);
}

}  // namespace dgemma
