// The table of routes: keys before paths, hosts and origins before keys, and the shape of what is refused.
#include "server/router.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "files/json.h"
#include "server/health.h"
#include "server/source_check.h"

namespace dgemma {
namespace {

constexpr std::string_view kKey = "correct-horse";

RequestHead Head(HttpMethod method, std::string path, std::vector<HttpField> fields = {}) {
  RequestHead head;
  head.method = method;
  head.path = std::move(path);
  head.fields = std::move(fields);
  if (head.Field("host").empty()) head.fields.push_back({"host", "127.0.0.1:8080"});
  return head;
}

std::vector<Route> Table() {
  std::vector<Route> routes = {
      {.method = HttpMethod::kPost, .pattern = "/v1/chat/completions"},
      {.method = HttpMethod::kGet, .pattern = "/v1/models"},
      {.method = HttpMethod::kGet, .pattern = "/v1/models/{id...}"},
      {.method = HttpMethod::kDelete, .pattern = "/api/delete", .family = ApiFamily::kOllama},
      {.method = HttpMethod::kPost, .pattern = "/v1/messages", .family = ApiFamily::kAnthropic},
      {.method = HttpMethod::kGet, .pattern = "/frames/{id}/all"},
      {.method = HttpMethod::kGet, .pattern = "/"},
      {.method = HttpMethod::kPost, .pattern = "/slots/{id}"},
      {.method = HttpMethod::kGet, .pattern = "/slots/{id}"}};
  for (Route& route : HealthRoutes({})) routes.push_back(std::move(route));
  static Metrics metrics;
  routes.push_back(MetricsRoute(metrics));
  return routes;
}

Router Open() { return {Table(), {}}; }

Router Keyed(std::vector<std::string> origins = {}) {
  RouterOptions options;
  EXPECT_TRUE(options.keys.Add("alice", kKey));
  options.cors_origins = std::move(origins);
  return {Table(), std::move(options)};
}

int StatusOf(const Admission& admission) { return admission.refusal ? admission.refusal->status : 200; }

std::string Answered(const Admission& admission, std::string_view name) {
  std::vector<HttpField> fields = admission.answer_fields;
  if (admission.refusal)
    fields.insert(fields.end(), admission.refusal->fields.begin(), admission.refusal->fields.end());
  for (const HttpField& field : fields) {
    if (field.name == name) return field.value;
  }
  return "";
}

/// A path that the pattern matches.
std::string PathOf(std::string pattern) {
  while (true) {
    const size_t open = pattern.find('{');
    if (open == std::string::npos) return pattern;
    pattern.replace(open, pattern.find('}') - open + 1, "x");
  }
}

TEST(RouterEnumeration, EveryRouteButHealthNeedsAKey) {
  const Router router = Keyed();
  size_t open = 0;
  for (const Route* route : router.routes()) {
    const std::string path = PathOf(route->pattern);
    const bool health = path == "/livez" || path == "/readyz" || path == "/health" || path == "/v1/health";
    EXPECT_EQ(StatusOf(router.Admit(Head(route->method, path), "r")), health ? 200 : 401) << path;
    EXPECT_EQ(StatusOf(router.Admit(Head(route->method, path, {{"authorization", "Bearer wrong-wrong"}}), "r")),
              health ? 200 : 401)
        << path;
    const auto admitted = router.Admit(Head(route->method, path, {{"authorization", "Bearer correct-horse"}}), "r");
    EXPECT_EQ(admitted.route, route) << path;
    EXPECT_EQ(admitted.caller.key_name, "alice");
    open += size_t{health};
  }
  EXPECT_EQ(open, 4U);
}

TEST(Router, SaysNothingAboutPathsWithoutAKey) {
  const Router router = Keyed();
  const auto known = router.Admit(Head(HttpMethod::kPost, "/v1/models"), "r");
  const auto unknown = router.Admit(Head(HttpMethod::kPost, "/v1/nothing"), "r");
  EXPECT_EQ(StatusOf(known), 401);
  EXPECT_EQ(StatusOf(unknown), 401);
  EXPECT_EQ(known.refusal->body, unknown.refusal->body);
  EXPECT_EQ(Answered(known, "WWW-Authenticate"), "Bearer");
  EXPECT_FALSE(known.showed_key);
}

TEST(Router, TellsUnknownPathsFromWrongMethods) {
  const Router router = Open();
  EXPECT_EQ(StatusOf(router.Admit(Head(HttpMethod::kGet, "/nothing"), "r")), 404);
  EXPECT_EQ(StatusOf(router.Admit(Head(HttpMethod::kGet, "/v1/models/"), "r")), 404);
  EXPECT_EQ(StatusOf(router.Admit(Head(HttpMethod::kGet, "//v1/models"), "r")), 404);
  EXPECT_EQ(StatusOf(router.Admit(Head(HttpMethod::kGet, "/V1/models"), "r")), 404);
  EXPECT_EQ(StatusOf(router.Admit(Head(HttpMethod::kOptions, "*"), "r")), 404);
  const auto wrong = router.Admit(Head(HttpMethod::kGet, "/v1/chat/completions"), "r");
  EXPECT_EQ(StatusOf(wrong), 405);
  EXPECT_EQ(Answered(wrong, "Allow"), "POST, OPTIONS");
  const auto both = router.Admit(Head(HttpMethod::kDelete, "/slots/1"), "r");
  EXPECT_EQ(Answered(both, "Allow"), "POST, GET, HEAD, OPTIONS");
  EXPECT_EQ(StatusOf(router.Admit(Head(HttpMethod::kOther, "/v1/models"), "r")), 405);
  EXPECT_EQ(StatusOf(router.Admit(Head(HttpMethod::kHead, "/v1/models"), "r")), 200);
  const auto options = router.Admit(Head(HttpMethod::kOptions, "/v1/models"), "r");
  EXPECT_EQ(StatusOf(options), 204);
  EXPECT_EQ(Answered(options, "Allow"), "GET, HEAD, OPTIONS");
}

TEST(Router, DecodesParametersAfterCutting) {
  const Router router = Open();
  const auto parameter = [&](std::string path) -> std::string {
    const auto admission = router.Admit(Head(HttpMethod::kGet, std::move(path)), "r");
    return admission.route != nullptr && !admission.parameters.empty() ? admission.parameters[0] : "-";
  };
  EXPECT_EQ(parameter("/v1/models/google/gemma%2Fx"), "google/gemma/x");
  EXPECT_EQ(parameter("/frames/a%2Fb/all"), "a/b");
  EXPECT_EQ(parameter("/frames/../all"), "..");
  EXPECT_EQ(parameter("/frames//all"), "-");
  EXPECT_EQ(parameter("/frames/%/all"), "-");
  EXPECT_EQ(parameter("/frames/%4/all"), "-");
  EXPECT_EQ(parameter("/frames/%zz/all"), "-");
  EXPECT_EQ(parameter("/frames/%00/all"), "-");
  EXPECT_EQ(parameter("/frames/a/b/all"), "-");
}

TEST(Router, MatchesWholePathsSegmentBySegment) {
  const Router router({{.pattern = "/"}, {.pattern = "/a/{id}/b"}, {.pattern = "/r/{rest...}"}}, {});
  const auto matches = [&](const std::string& path) -> std::string {
    const Admission admission = router.Admit(Head(HttpMethod::kGet, path), "req");
    if (admission.route == nullptr) return "-";
    return admission.route->pattern + (admission.parameters.empty() ? "" : " " + admission.parameters[0]);
  };
  EXPECT_EQ(matches("/"), "/");
  EXPECT_EQ(matches("//"), "-");
  EXPECT_EQ(matches("/a/x/b"), "/a/{id}/b x");
  for (const char* path : {"/a/x/b/", "/a//b", "/a/x", "/a/x/c", "/a/x/y/b", "/A/x/b", "a/x/b", ""}) {
    EXPECT_EQ(matches(path), "-") << path;
  }
  EXPECT_EQ(matches("/r/x/y//z/"), "/r/{rest...} x/y//z/");
  for (const char* path : {"/r", "/r/", "/r/%00"}) EXPECT_EQ(matches(path), "-") << path;
}

TEST(Router, RefusesInTheShapeOfTheFamily) {
  const Router router = Keyed();
  const auto body = [&](std::string path) {
    return *ParseJson(router.Admit(Head(HttpMethod::kPost, std::move(path)), "req_1").refusal->body);
  };
  const auto open_ai = body("/v1/chat/completions");
  EXPECT_EQ(open_ai.at("error").at("type"), "authentication_error");
  EXPECT_TRUE(open_ai.at("error").at("param").is_null());
  EXPECT_TRUE(open_ai.at("error").at("code").is_null());
  const auto anthropic = body("/v1/messages");
  EXPECT_EQ(anthropic.at("type"), "error");
  EXPECT_EQ(anthropic.at("error").at("type"), "authentication_error");
  EXPECT_EQ(anthropic.at("request_id"), "req_1");
  EXPECT_EQ(body("/api/chat").at("error"), "a valid API key is needed");
}

TEST(Router, ErrorsHoldNothingOfTheRequest) {
  const Router router = Open();
  const std::string canary = "c4n4ry";
  for (const HttpMethod method : {HttpMethod::kGet, HttpMethod::kOther, HttpMethod::kOptions}) {
    for (const std::string& host : {std::string("localhost"), canary + ".example"}) {
      for (const std::string& origin : {std::string(), "http://" + canary}) {
        RequestHead head = Head(method, "/" + canary, {{"host", host}, {"origin", origin}, {"x-api-key", canary}});
        head.query = canary;
        const auto admission = router.Admit(head, "r");
        ASSERT_TRUE(admission.refusal);
        EXPECT_EQ(admission.refusal->body.find(canary), std::string::npos);
        for (const HttpField& field : admission.refusal->fields) EXPECT_EQ(field.value.find(canary), std::string::npos);
      }
    }
  }
}

TEST(HostHeader, NamesOfOthersAreRebinding) {
  const Router router = Open();
  for (const char* host :
       {"localhost", "LOCALHOST:80", "127.0.0.1", "127.0.0.1:8080", "[::1]", "[::1]:8080", "192.168.1.7:8080"}) {
    EXPECT_EQ(StatusOf(router.Admit(Head(HttpMethod::kGet, "/v1/models", {{"host", host}}), "r")), 200) << host;
  }
  for (const char* host : {"evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example",
                           "127.1", "2130706433", "0x7f000001", "localhost:80:80", "localhost:x", "[::1", "::1",
                           "[localhost]", "localhost@evil", "evil@localhost", "localhost.", ":80", "-"}) {
    EXPECT_EQ(StatusOf(router.Admit(Head(HttpMethod::kGet, "/v1/models", {{"host", host}}), "r")), 403) << host;
    EXPECT_EQ(StatusOf(router.Admit(Head(HttpMethod::kGet, "/health", {{"host", host}}), "r")), 403) << host;
  }
  RequestHead none = Head(HttpMethod::kGet, "/v1/models");
  none.fields.clear();
  EXPECT_EQ(StatusOf(router.Admit(none, "r")), 403);
  none.minor_version = 0;  // as load balancers look after health
  EXPECT_EQ(StatusOf(router.Admit(none, "r")), 200);
  none.fields = {{"origin", "https://evil.example"}};
  EXPECT_EQ(StatusOf(router.Admit(none, "r")), 403);
  none.fields = {{"host", "evil.example"}};
  EXPECT_EQ(StatusOf(router.Admit(none, "r")), 403);
  const std::vector<std::string> allowed = {"box.example"};
  EXPECT_TRUE(HostIsAllowed("Box.Example:1234", allowed));
  EXPECT_FALSE(HostIsAllowed("a.box.example", allowed));
}

TEST(CorsDefault, PagesOfOthersAreRefused) {
  const Router router = Open();
  const auto status = [&](std::vector<HttpField> fields) {
    return StatusOf(router.Admit(Head(HttpMethod::kPost, "/v1/chat/completions", std::move(fields)), "r"));
  };
  EXPECT_EQ(status({{"origin", "https://evil.example"}}), 403);
  EXPECT_EQ(status({{"origin", "null"}}), 403);
  EXPECT_EQ(status({{"origin", "http://localhost:3000"}}), 403);
  EXPECT_EQ(status({{"host", "localhost:8080"}, {"origin", "http://localhost:8080"}}), 200);
  EXPECT_EQ(status({{"sec-fetch-site", "cross-site"}, {"sec-fetch-mode", "no-cors"}}), 403);
  EXPECT_EQ(status({{"sec-fetch-site", "same-site"}}), 403);
  EXPECT_EQ(status({{"sec-fetch-site", "same-origin"}}), 200);
  EXPECT_EQ(status({{"sec-fetch-site", "cross-site"}, {"sec-fetch-mode", "navigate"}}), 200);
  const auto preflight =
      router.Admit(Head(HttpMethod::kOptions, "/v1/chat/completions",
                        {{"origin", "https://evil.example"}, {"access-control-request-method", "POST"}}),
                   "r");
  EXPECT_EQ(StatusOf(preflight), 403);
  EXPECT_EQ(Answered(preflight, "Access-Control-Allow-Origin"), "");
}

TEST(Cors, ListedOriginsMayAsk) {
  const Router router = Keyed({"https://chat.example"});
  const auto preflight =
      router.Admit(Head(HttpMethod::kOptions, "/v1/chat/completions",
                        {{"origin", "https://chat.example"}, {"access-control-request-method", "POST"}}),
                   "r");
  EXPECT_EQ(StatusOf(preflight), 204);
  EXPECT_EQ(Answered(preflight, "Access-Control-Allow-Origin"), "https://chat.example");
  EXPECT_EQ(Answered(preflight, "Access-Control-Allow-Headers"), "Authorization, *");
  EXPECT_EQ(Answered(preflight, "Vary"), "Origin");
  // The preflight has no key; the request itself needs one.
  const auto asked =
      router.Admit(Head(HttpMethod::kPost, "/v1/chat/completions", {{"origin", "https://chat.example"}}), "r");
  EXPECT_EQ(StatusOf(asked), 401);
  EXPECT_EQ(Answered(asked, "Access-Control-Allow-Origin"), "https://chat.example");
  EXPECT_EQ(Answered(asked, "Access-Control-Expose-Headers"), "X-Request-Id, X-Diffusion-Id, Retry-After");
  EXPECT_EQ(StatusOf(router.Admit(Head(HttpMethod::kGet, "/health", {{"origin", "https://other.example"}}), "r")), 403);
}

TEST(Exposure, NeedsAKeyBeyondLoopback) {
  const RouterOptions open;
  RouterOptions keyed;
  ASSERT_TRUE(keyed.keys.Add("a", kKey));
  for (const char* address : {"127.0.0.1", "127.9.9.9", "::1", "localhost"})
    EXPECT_TRUE(CheckExposure(address, open)) << address;
  for (const char* address : {"0.0.0.0", "::", "192.168.1.7", "128.0.0.1", "::ffff:127.0.0.1", "127.evil.example"}) {
    EXPECT_FALSE(CheckExposure(address, open)) << address;
    EXPECT_TRUE(CheckExposure(address, keyed)) << address;
  }
  EXPECT_FALSE(CheckExposure("127.0.0.1", {.keys = {}, .allowed_hosts = {}, .cors_origins = {"*"}}));
}

}  // namespace
}  // namespace dgemma
