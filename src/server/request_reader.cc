// Lines are found and bounded here; the syntax of a line is Boost.Beast's parser; what a request may say is checked in
// CheckedHead. Chunks are decoded here, because their bounds must not depend on how bytes arrive.
#include "server/request_reader.h"

#include <algorithm>
#include <boost/beast/http/basic_parser.hpp>
#include <cctype>
#include <charconv>
#include <utility>

namespace dgemma {
namespace {

namespace http = boost::beast::http;
using Error = boost::beast::error_code;

std::string Lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](unsigned char byte) { return static_cast<char>(std::tolower(byte)); });
  return out;
}

HttpMethod MethodOf(http::verb verb) {
  switch (verb) {
    case http::verb::get:
      return HttpMethod::kGet;
    case http::verb::head:
      return HttpMethod::kHead;
    case http::verb::post:
      return HttpMethod::kPost;
    case http::verb::put:
      return HttpMethod::kPut;
    case http::verb::delete_:
      return HttpMethod::kDelete;
    case http::verb::options:
      return HttpMethod::kOptions;
    default:
      return HttpMethod::kOther;
  }
}

/// Beast's parser of a whole head, filling a RequestHead.
class HeadParser final : public http::basic_parser<true> {
 public:
  explicit HeadParser(RequestHead& head) : head_(head) {}

 private:
  using Text = boost::beast::string_view;

  void on_request_impl(http::verb verb, Text /*method*/, Text target, int version, Error& /*ec*/) override {
    head_.method = MethodOf(verb);
    const std::string_view whole(target.data(), target.size());
    const size_t mark = whole.find('?');
    head_.path = whole.substr(0, mark);
    head_.query = mark == std::string_view::npos ? std::string_view() : whole.substr(mark + 1);
    head_.minor_version = version - 10;
  }
  void on_field_impl(http::field /*name*/, Text name, Text value, Error& /*ec*/) override {
    head_.fields.push_back({Lower({name.data(), name.size()}), std::string(value.data(), value.size())});
  }
  void on_response_impl(int /*code*/, Text /*reason*/, int /*version*/, Error& /*ec*/) override {}
  void on_header_impl(Error& /*ec*/) override {}
  void on_body_init_impl(const boost::optional<std::uint64_t>& /*length*/, Error& /*ec*/) override {}
  size_t on_body_impl(Text /*bytes*/, Error& /*ec*/) override { return 0; }
  void on_chunk_header_impl(std::uint64_t /*size*/, Text /*extensions*/, Error& /*ec*/) override {}
  size_t on_chunk_body_impl(std::uint64_t /*remain*/, Text /*bytes*/, Error& /*ec*/) override { return 0; }
  void on_finish_impl(Error& /*ec*/) override {}

  RequestHead& head_;
};

size_t Count(const RequestHead& head, std::string_view name) {
  return static_cast<size_t>(std::ranges::count(head.fields, name, &HttpField::name));
}

/// True when the request line has three words, of which the last is a version of HTTP.
bool NamesVersion(std::string_view head) {
  const std::string_view line = head.substr(0, head.find('\r'));
  return std::ranges::count(line, ' ') == 2 && line.substr(line.rfind(' ') + 1).starts_with("HTTP/");
}

struct Complaint {
  int status;
  std::string_view message;
};

/// What the framing fields say; sets content_length and chunked.
std::optional<Complaint> CheckFraming(RequestHead& head) {
  const size_t lengths = Count(head, "content-length");
  const size_t encodings = Count(head, "transfer-encoding");
  if (lengths + encodings > 1) return Complaint{400, "more than one field says how long the body is"};
  if (encodings == 1) {
    if (head.minor_version == 0) return Complaint{400, "Transfer-Encoding in an HTTP/1.0 request"};
    if (Lower(head.Field("transfer-encoding")) != "chunked") {
      return Complaint{400, "the only accepted Transfer-Encoding is chunked"};
    }
    head.chunked = true;
  }
  if (lengths == 1) {
    const std::string_view text = head.Field("content-length");
    uint64_t length = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), length);
    if (error != std::errc() || end != text.data() + text.size()) return Complaint{400, "Content-Length is no number"};
    head.content_length = length;
  }
  return std::nullopt;
}

std::optional<Complaint> CheckFields(RequestHead& head) {
  if (Count(head, "host") != 1 && !(head.minor_version == 0 && Count(head, "host") == 0)) {
    return Complaint{400, "exactly one Host field is needed"};
  }
  if (const auto encoding = head.Field("content-encoding"); !encoding.empty() && Lower(encoding) != "identity") {
    return Complaint{415, "compressed request bodies are not accepted"};
  }
  if (Count(head, "authorization") > 1 || Count(head, "x-api-key") > 1) {
    return Complaint{400, "more than one field shows a key"};  // or a proxy and this server may each read another one
  }
  if (Count(head, "range") > 0) return Complaint{400, "ranges are not accepted"};
  // The HTTP client of Java offers h2c with every first request; RFC 9110 7.8 lets a server go on as if it had not.
  if (Count(head, "upgrade") > 0 && Lower(head.Field("upgrade")) != "h2c") {
    return Complaint{400, "upgrades are not accepted"};
  }
  if (const auto expect = head.Field("expect"); !expect.empty()) {
    if (Lower(expect) != "100-continue") return Complaint{417, "the only accepted Expect is 100-continue"};
    head.expects_continue = head.minor_version == 1;
  }
  return std::nullopt;
}

std::optional<Complaint> CheckTarget(const RequestHead& head) {
  const bool asterisk = head.path == "*" && head.method == HttpMethod::kOptions;
  if (!head.path.starts_with('/') && !asterisk) return Complaint{400, "the request target is no absolute path"};
  const auto plain = [](unsigned char byte) { return byte > 0x20 && byte < 0x7F && byte != '#'; };
  if (!std::ranges::all_of(head.path, plain) || !std::ranges::all_of(head.query, plain)) {
    return Complaint{400, "the request target has a byte that must be percent-encoded"};
  }
  return std::nullopt;
}

}  // namespace

size_t RequestReader::Feed(std::string_view bytes) {
  if (state_ == State::kHead) return FeedHead(bytes);
  if (state_ == State::kBody) return head_.chunked ? FeedChunks(bytes) : FeedBody(bytes);
  return 0;
}

void RequestReader::Reset() {
  state_ = State::kHead;
  text_.clear();
  line_begin_ = 0;
  lines_ = 0;
  head_ = {};
  body_ = {};
}

void RequestReader::Fail(int status, std::string_view message) {
  state_ = State::kFailed;
  error_ = {.status = status, .message = std::string(message)};
}

size_t RequestReader::FeedHead(std::string_view bytes) {
  size_t used = 0;
  while (used < bytes.size() && state_ == State::kHead) TakeHeadByte(bytes[used++]);
  return used;
}

void RequestReader::TakeHeadByte(char byte) {
  const auto code = static_cast<unsigned char>(byte);
  const bool after_return = text_.ends_with('\r');
  if (text_.size() == limits_.head_bytes) return Fail(431, "the head of the request is too long");
  if (after_return != (byte == '\n')) return Fail(400, "a line does not end with CR LF");
  if (code < 0x20 && byte != '\r' && byte != '\n' && byte != '\t') return Fail(400, "a control character in the head");
  if (code == 0x7F) return Fail(400, "a control character in the head");
  if (text_.size() == line_begin_ && (byte == ' ' || byte == '\t')) return Fail(400, "a field is folded");
  if (byte != '\r' && byte != '\n' && text_.size() - line_begin_ == limits_.head_line_bytes) {
    return Fail(431, "a line of the head is too long");
  }
  text_ += byte;
  if (byte == '\n') EndLine();
}

void RequestReader::EndLine() {
  const bool empty = text_.size() - line_begin_ == 2;
  if (empty && lines_ == 0) return Fail(400, "the request line is empty");
  if (empty) return ParseHead();
  if (lines_ == limits_.head_fields + 1) return Fail(431, "too many fields in the head");
  ++lines_;
  line_begin_ = text_.size();
}

void RequestReader::ParseHead() {
  HeadParser parser(head_);
  parser.header_limit(static_cast<std::uint32_t>(text_.size() + 1));
  parser.skip(true);  // the body is read here
  Error error;
  const size_t used = parser.put(boost::asio::buffer(text_), error);
  if (error == http::error::bad_version && NamesVersion(text_))
    return Fail(505, "only HTTP/1.0 and HTTP/1.1 are spoken");
  if (error || used != text_.size()) return Fail(400, "the head of the request is malformed");
  head_.keep_alive = parser.keep_alive();
  std::optional<Complaint> complaint = CheckTarget(head_);
  if (!complaint) complaint = CheckFraming(head_);
  if (!complaint) complaint = CheckFields(head_);
  if (complaint) return Fail(complaint->status, complaint->message);
  text_ = {};
  state_ = State::kHeadDone;
}

void RequestReader::StartBody(size_t limit_bytes) {
  body_limit_ = limit_bytes;
  chunk_ = Chunk::kSize;
  size_digits_ = 0;
  left_ = head_.content_length.value_or(0);
  if (left_ > limit_bytes) return Fail(413, "the body is longer than this route accepts");
  state_ = head_.HasBody() ? State::kBody : State::kDone;
}

size_t RequestReader::FeedBody(std::string_view bytes) {
  const size_t used = std::min<uint64_t>(left_, bytes.size());
  body_.append(bytes.substr(0, used));
  left_ -= used;
  if (left_ == 0) state_ = State::kDone;
  return used;
}

size_t RequestReader::FeedChunks(std::string_view bytes) {
  size_t used = 0;
  while (used < bytes.size() && state_ == State::kBody) {
    if (chunk_ == Chunk::kData) {
      const size_t piece = std::min<uint64_t>(left_, bytes.size() - used);
      body_.append(bytes.substr(used, piece));
      used += piece;
      left_ -= piece;
      if (left_ == 0) chunk_ = Chunk::kDataReturn;
      continue;
    }
    const char byte = bytes[used++];
    switch (chunk_) {
      case Chunk::kSize:
        TakeSizeDigit(byte);
        break;
      case Chunk::kSizeLineFeed:
        Require(byte == '\n', left_ == 0 ? Chunk::kLastReturn : Chunk::kData);
        break;
      case Chunk::kDataReturn:
        Require(byte == '\r', Chunk::kDataLineFeed);
        break;
      case Chunk::kDataLineFeed:
        size_digits_ = 0;
        Require(byte == '\n', Chunk::kSize);
        break;
      case Chunk::kLastReturn:
        Require(byte == '\r', Chunk::kLastLineFeed);
        break;
      case Chunk::kLastLineFeed:
        Require(byte == '\n', Chunk::kSize);
        if (state_ == State::kBody) state_ = State::kDone;
        break;
      case Chunk::kData:
        break;
    }
  }
  return used;
}

void RequestReader::TakeSizeDigit(char byte) {
  if (byte == '\r' && size_digits_ > 0) {
    if (left_ > body_limit_ - body_.size()) return Fail(413, "the body is longer than this route accepts");
    chunk_ = Chunk::kSizeLineFeed;
    return;
  }
  constexpr int kDigits = 16;  // of 64 bits
  const bool digit = std::isxdigit(static_cast<unsigned char>(byte)) != 0;
  if (!digit || size_digits_ == kDigits) return Fail(400, "a chunk of the body is malformed");
  if (size_digits_ == 0) left_ = 0;
  const int value = byte <= '9' ? byte - '0' : (byte | 0x20) - 'a' + 10;
  left_ = left_ * 16 + static_cast<uint64_t>(value);
  ++size_digits_;
}

void RequestReader::Require(bool holds, Chunk next) {
  if (!holds) return Fail(400, "a chunk of the body is malformed");
  chunk_ = next;
}

}  // namespace dgemma
