// Requests from their first byte to the router's decision. The first byte of the input chooses the cuts; the result must
// not depend on them, and what is accepted must be within the limits.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "expect.h"
#include "server/health.h"
#include "server/request_reader.h"
#include "server/router.h"

namespace {

using dgemma::RequestReader;
using State = RequestReader::State;

constexpr size_t kBodyBytes = 4096;

struct Outcome {
  State state = State::kHead;
  int status = 0;
  dgemma::RequestHead head;
  std::string body;

  bool operator==(const Outcome&) const = default;
};

/// Every request of the input, one after the other, fed in pieces of `piece` bytes.
std::vector<Outcome> ReadAll(std::string_view text, size_t piece, const dgemma::ServerLimits& limits) {
  std::vector<Outcome> out;
  RequestReader reader(limits);
  while (true) {
    size_t used = reader.Feed(text.substr(0, piece));
    if (reader.state() == State::kHeadDone) reader.StartBody(kBodyBytes);
    text.remove_prefix(used);
    const bool over = reader.state() == State::kDone || reader.state() == State::kFailed;
    if (!over && !text.empty()) continue;
    const bool failed = reader.state() == State::kFailed;
    out.push_back({reader.state(), failed ? reader.error().status : 0, failed ? dgemma::RequestHead() : reader.head(),
                   failed ? std::string() : reader.body()});
    if (failed || text.empty()) return out;
    reader.Reset();
  }
}

const dgemma::Router& Routes() {
  static const dgemma::Router router = [] {
    std::vector<dgemma::Route> routes = dgemma::HealthRoutes({});
    routes.push_back({.method = dgemma::HttpMethod::kPost, .pattern = "/v1/chat/completions"});
    routes.push_back({.method = dgemma::HttpMethod::kGet, .pattern = "/v1/models/{id...}"});
    dgemma::RouterOptions options;
    dgemma::Expect(options.keys.Add("key", "fuzz-key-1").has_value(), "the key is taken");
    options.cors_origins = {"https://a.example"};
    return dgemma::Router(std::move(routes), std::move(options));
  }();
  return router;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const size_t piece = 1 + data[0] % 64U;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  dgemma::ServerLimits limits;
  limits.head_bytes = 2048;
  limits.head_line_bytes = 512;
  limits.head_fields = 16;
  const std::vector<Outcome> whole = ReadAll(text, text.size() + 1, limits);
  dgemma::Expect(whole == ReadAll(text, piece, limits), "the cuts do not matter");
  for (const Outcome& one : whole) {
    if (one.state == State::kFailed) {
      dgemma::Expect(one.status >= 400 && one.status < 600, "a refusal has a status");
      continue;
    }
    dgemma::Expect(one.body.size() <= kBodyBytes, "the body is within its limit");
    dgemma::Expect(one.head.fields.size() <= limits.head_fields, "the fields are within their limit");
    if (one.state != State::kDone) continue;
    dgemma::Expect(!one.head.content_length || !one.head.chunked, "one framing");
    dgemma::Expect(one.head.path.starts_with('/') || one.head.path == "*", "a path");
    const dgemma::Admission admission = Routes().Admit(one.head, "req_1");
    dgemma::Expect((admission.route != nullptr) != admission.refusal.has_value(), "a route or a refusal");
    const bool open = admission.route != nullptr && admission.route->access == dgemma::Access::kPublic;
    dgemma::Expect(admission.route == nullptr || open || admission.caller.key_name == "key",
                   "no route without the key");
  }
  return 0;
}
