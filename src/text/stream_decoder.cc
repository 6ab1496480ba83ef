// The decoder of Hugging Face's sequence Replace, ByteFallback, Fuse, made incremental.
#include "text/stream_decoder.h"

#include "text/utf8.h"

namespace dgemma {

void StreamDecoder::Push(int32_t id, std::string& out) {
  if (!tokenizer_->Has(id) || (special_ == SpecialText::kSkip && tokenizer_->IsSpecial(id))) return;
  if (tokenizer_->IsByte(id)) {
    run_ += tokenizer_->TokenBytes(id);
    return;
  }
  Finish(out);
  out += tokenizer_->TokenBytes(id);
}

void StreamDecoder::Finish(std::string& out) {
  if (IsValidUtf8(run_)) {
    out += run_;
  } else {
    for (size_t i = 0; i < run_.size(); ++i) out += kReplacementCharacter;
  }
  run_.clear();
}

}  // namespace dgemma
