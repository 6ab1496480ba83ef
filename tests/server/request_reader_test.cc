// The reader of requests without a socket: every bound at -1, 0 and +1, every cut of every request, and the tricks by which
// a front server and a back server come to see different requests.
#include "server/request_reader.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace dgemma {
namespace {

using State = RequestReader::State;

struct Outcome {
  State state = State::kHead;
  int status = 0;
  RequestHead head;
  std::string body;
  std::string rest;  // bytes that were not used

  bool operator==(const Outcome&) const = default;
};

/// Feeds pieces until the request is whole or refused.
Outcome ReadFrom(const std::vector<std::string_view>& pieces, const ServerLimits& limits = {},
                 size_t body_limit = 1000) {
  RequestReader reader(limits);
  Outcome out;
  for (const std::string_view piece : pieces) {
    size_t used = reader.Feed(piece);
    if (reader.state() == State::kHeadDone) {
      reader.StartBody(body_limit);
      used += reader.Feed(piece.substr(used));
    }
    out.rest += piece.substr(used);
  }
  out.state = reader.state();
  out.status = reader.error().status;
  out.head = reader.head();
  out.body = reader.body();
  if (out.state != State::kDone) out = {.state = out.state, .status = out.status, .head = {}, .body = "", .rest = ""};
  return out;
}

int StatusOf(std::string_view request, const ServerLimits& limits = {}) {
  const Outcome out = ReadFrom({request}, limits);
  if (out.state == State::kFailed) return out.status;
  return out.state == State::kDone ? 200 : 0;
}

/// Requests that are whole; the rest after them belongs to the next one.
const std::vector<std::string>& Good() {
  static const std::vector<std::string> requests = {
      "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
      "GET / HTTP/1.0\r\n\r\n",
      "GET /x?a=1&b=%20 HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nX-Tab:\tv \r\n\r\nGET /",
      "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloPOST",
      "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
      "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0A\r\n0123456789\r\n0\r\n\r\nGET",
      "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
      "PATCH /x HTTP/1.1\r\nHost: a\r\n\r\n",
      "POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
      "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: "
      "AAMA\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nX-Name: \xC3\xA9\r\n\r\n",
  };
  return requests;
}

/// Requests that are refused, with the status.
const std::vector<std::pair<int, std::string>>& Bad() {
  const auto post = [](std::string_view lines, std::string_view body) {
    return fmt::format("POST / HTTP/1.1\r\nHost: a\r\n{}\r\n{}", lines, body);
  };
  static const std::vector<std::pair<int, std::string>> requests = {
      // two ways to say where the body ends
      {400, post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")},
      {400, post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n")},
      {400, post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello")},
      {400, post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello")},
      {400, post("Content-Length: 5, 5\r\n", "hello")},
      {400, post("Content-Length: +5\r\n", "hello")},
      {400, post("Content-Length: -1\r\n", "hello")},
      {400, post("Content-Length: 0x5\r\n", "hello")},
      {400, post("Content-Length: 5 \t5\r\n", "hello")},
      {400, post("Content-Length: 18446744073709551616\r\n", "")},
      {400, post("Content-Length:\r\n", "")},
      {400, post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")},
      {400, post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n")},
      {400, post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n")},
      {400, post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n")},
      {400, post("Transfer-Encoding: identity\r\n", "")},
      {400, post("Transfer-Encoding:\x0b"
                 "chunked\r\n",
                 "0\r\n\r\n")},
      {400, post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n")},
      {400, post("Content-Length : 5\r\n", "hello")},
      {400, post("X: y\r\n Content-Length: 5\r\n", "hello")},
      {400, post("X: y\nContent-Length: 5\r\n", "hello")},
      {400, post("X: y\rContent-Length: 5\r\n", "hello")},
      {400, "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
      // chunks
      {400, post("Transfer-Encoding: chunked\r\n", "5;a=b\r\nhello\r\n0\r\n\r\n")},
      {400, post("Transfer-Encoding: chunked\r\n", "5 \r\nhello\r\n0\r\n\r\n")},
      {400, post("Transfer-Encoding: chunked\r\n", "\r\n5\r\nhello\r\n0\r\n\r\n")},
      {400, post("Transfer-Encoding: chunked\r\n", "5\nhello\r\n0\r\n\r\n")},
      {400, post("Transfer-Encoding: chunked\r\n", "5\r\nhello0\r\n\r\n")},
      {400, post("Transfer-Encoding: chunked\r\n", "5\r\nhello\n0\r\n\r\n")},
      {400, post("Transfer-Encoding: chunked\r\n", "0x5\r\nhello\r\n0\r\n\r\n")},
      {400, post("Transfer-Encoding: chunked\r\n", "-5\r\nhello\r\n0\r\n\r\n")},
      {400, post("Transfer-Encoding: chunked\r\n", "00000000000000005\r\nhello\r\n0\r\n\r\n")},
      {400, post("Transfer-Encoding: chunked\r\n", "0\r\nX: y\r\n\r\n")},
      {413, post("Transfer-Encoding: chunked\r\n", "FFFFFFFFFFFFFFFF\r\n")},
      // lines
      {400, "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"},
      {400, "GET / HTTP/1.1\nHost: a\n\n"},
      {400, "GET / HTTP/1.1\r\nHost: a\r\n\n"},
      {400, "GET / HTTP/1.1\r\nHost a\r\n\r\n"},
      {400, "GET / HTTP/1.1\r\n: a\r\n\r\n"},
      {400, "GET / HTTP/1.1\r\nHo st: a\r\n\r\n"},
      {400, std::string("GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", 29)},
      {400, "GET / HTTP/1.1\r\nHost: a\x7f\r\n\r\n"},
      {400, "GET / HTTP/1.1\r\nHost: a\x1b[31m\r\n\r\n"},
      {400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"},
      {400, "GET / \r\nHost: a\r\n\r\n"},
      {400, "GET /\r\n\r\n"},
      {400, "G(T / HTTP/1.1\r\nHost: a\r\n\r\n"},
      {400, "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"},
      {400, "GET /\xC3\xA9 HTTP/1.1\r\nHost: a\r\n\r\n"},
      {400, "GET /#x HTTP/1.1\r\nHost: a\r\n\r\n"},
      {400, "GET http://evil/ HTTP/1.1\r\nHost: a\r\n\r\n"},
      {400, "GET * HTTP/1.1\r\nHost: a\r\n\r\n"},
      {400, "CONNECT evil:443 HTTP/1.1\r\nHost: a\r\n\r\n"},
      {505, "GET / HTTP/2.0\r\nHost: a\r\n\r\n"},
      {505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
      {505, "GET / HTTP/1.2\r\nHost: a\r\n\r\n"},
      {400, "\x16\x03\x01\x02"},
      // fields
      {400, "GET / HTTP/1.1\r\n\r\n"},
      {400, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"},
      {400, "GET / HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\n\r\n"},
      {400, "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\r\nauthorization: Bearer b\r\n\r\n"},
      {400, "GET / HTTP/1.1\r\nHost: a\r\nX-Api-Key: a\r\nX-Api-Key: a\r\n\r\n"},
      {400, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"},
      {415, post("Content-Encoding: gzip\r\nContent-Length: 5\r\n", "hello")},
      {417, post("Expect: magic\r\nContent-Length: 5\r\n", "hello")},
  };
  return requests;
}

TEST(RequestReader, ReadsWhatIsWhole) {
  for (const std::string& request : Good()) EXPECT_EQ(StatusOf(request), 200) << request;
  const Outcome chunks = ReadFrom({Good()[5]});
  EXPECT_EQ(chunks.body, "hello0123456789");
  EXPECT_EQ(chunks.rest, "GET");
  const Outcome query = ReadFrom({Good()[2]});
  EXPECT_EQ(query.head.path, "/x");
  EXPECT_EQ(query.head.query, "a=1&b=%20");
  EXPECT_EQ(query.head.Field("x-empty"), "");
  EXPECT_EQ(query.head.Field("x-tab"), "v");
  EXPECT_EQ(query.rest, "GET /");
  EXPECT_FALSE(ReadFrom({Good()[1]}).head.keep_alive);
}

TEST(RequestReader, RefusesWhatTwoServersCouldReadDifferently) {
  for (const auto& [status, request] : Bad()) EXPECT_EQ(StatusOf(request), status) << request;
}

TEST(RequestReader, DoesNotCareHowBytesAreCut) {
  std::vector<std::string> all = Good();
  for (const auto& [status, request] : Bad()) all.push_back(request);
  for (const std::string& request : all) {
    const std::string_view text = request;
    const Outcome whole = ReadFrom({text});
    std::vector<std::string_view> bytes;
    for (size_t at = 0; at < text.size(); ++at) {
      bytes.push_back(text.substr(at, 1));
      EXPECT_EQ(ReadFrom({text.substr(0, at), text.substr(at)}), whole) << "cut at " << at << ": " << request;
    }
    EXPECT_EQ(ReadFrom(bytes), whole) << "byte by byte: " << request;
  }
}

TEST(RequestReader, WantsMoreOfEveryPrefix) {
  for (const std::string& request : Good()) {
    const size_t end = request.size() - ReadFrom({request}).rest.size();
    for (size_t at = 0; at < end; ++at) EXPECT_EQ(StatusOf(request.substr(0, at)), 0) << at << ": " << request;
  }
}

TEST(RequestReaderLimits, HeadBytes) {
  ServerLimits limits;
  limits.head_bytes = 100;
  for (const int beside : {-1, 0, 1}) {
    std::string request = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
    const size_t size = static_cast<size_t>(100 + beside);
    request += std::string(size - request.size() - 4, 'x') + "\r\n\r\n";
    ASSERT_EQ(request.size(), size);
    EXPECT_EQ(StatusOf(request, limits), beside <= 0 ? 200 : 431) << beside;
  }
}

TEST(RequestReaderLimits, LineBytes) {
  ServerLimits limits;
  limits.head_line_bytes = 40;
  for (const int beside : {-1, 0, 1}) {
    const size_t size = static_cast<size_t>(40 + beside);
    const std::string field = "X: " + std::string(size - 3, 'x');
    EXPECT_EQ(StatusOf("GET / HTTP/1.1\r\nHost: a\r\n" + field + "\r\n\r\n", limits), beside <= 0 ? 200 : 431)
        << beside;
    const std::string line = "GET /" + std::string(size - 14, 'x') + " HTTP/1.1";
    ASSERT_EQ(line.size(), size);
    EXPECT_EQ(StatusOf(line + "\r\nHost: a\r\n\r\n", limits), beside <= 0 ? 200 : 431) << beside;
  }
}

TEST(RequestReaderLimits, Fields) {
  const ServerLimits limits;
  for (const int beside : {-1, 0, 1}) {
    std::string request = "GET / HTTP/1.1\r\nHost: a\r\n";
    for (int field = 1; field < static_cast<int>(limits.head_fields) + beside; ++field) request += "X: y\r\n";
    EXPECT_EQ(StatusOf(request + "\r\n"), beside <= 0 ? 200 : 431) << beside;
  }
}

TEST(RequestReaderLimits, BodyBytes) {
  for (const int beside : {-1, 0, 1}) {
    const std::string body(static_cast<size_t>(1000 + beside), 'b');
    const std::string stated = fmt::format("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.size());
    EXPECT_EQ(StatusOf(stated + body), beside <= 0 ? 200 : 413) << beside;
    // Before a byte of the body came.
    EXPECT_EQ(StatusOf(stated), beside <= 0 ? 0 : 413) << beside;
    const std::string chunked = fmt::format(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n384\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        body.substr(0, 900), body.size() - 900, body.substr(900));
    EXPECT_EQ(StatusOf(chunked), beside <= 0 ? 200 : 413) << beside;
  }
}

TEST(RequestReader, IsReadyForTheNextRequestAfterReset) {
  RequestReader reader({});
  for (int round = 0; round < 3; ++round) {
    const std::string& request = Good()[3];
    const size_t used = reader.Feed(request);
    reader.StartBody(10);
    (void)reader.Feed(std::string_view(request).substr(used));
    EXPECT_EQ(reader.state(), State::kDone);
    EXPECT_EQ(reader.body(), "hello");
    reader.Reset();
    EXPECT_EQ(reader.state(), State::kHead);
    EXPECT_EQ(reader.head(), RequestHead());
  }
}

}  // namespace
}  // namespace dgemma
