// A server that listens before its model is loaded: what it answers until then, and that one routing table takes over
// from another while connections stay.
#include <gtest/gtest.h>

#include <string>

#include "raw_client.h"
#include "server/health.h"
#include "server/http_server.h"

namespace dgemma {
namespace {

constexpr const char* kKeyLine = "X-Api-Key: alice-key\r\n";

TEST(Loading, IsSaidToEveryoneUntilTheModelIsThere) {
  RouterOptions options;
  ASSERT_TRUE(options.keys.Add("alice", "alice-key"));
  const Router loading(LoadingRoutes(2 << 20), options);
  std::vector<Route> routes =
      HealthRoutes({.engine = [] { return EngineState{.loaded = true}; }, .draining = [] { return false; }});
  routes.push_back({.method = HttpMethod::kPost,
                    .pattern = "/v1/chat/completions",
                    .body_bytes = 2 << 20,
                    .handler = [](const HttpRequest& request, const Reply& reply) {
                      reply.Send({.status = 200, .body = request.caller.key_name});
                    }});
  const Router loaded(std::move(routes), options);
  HttpServerOptions http;
  http.port = 0;
  const std::unique_ptr<HttpServer> server = *HttpServer::Start(loading, http);

  RawClient client(server->port());
  EXPECT_EQ(client.Ask(Get("/livez")).status, 200);
  for (const char* path : {"/health", "/v1/health", "/readyz"}) {
    const RawResponse response = client.Ask(Get(path));
    EXPECT_EQ(response.status, 503) << path;
    EXPECT_NE(response.body.find("loading model"), std::string::npos) << path;
    EXPECT_TRUE(response.fields.contains("retry-after")) << path;
  }
  const std::string body = R"({"messages":[{"role":"user","content":"canary"}]})";
  for (const char* path : {"/v1/chat/completions", "/v1/messages", "/api/chat"}) {
    const RawResponse response = client.Ask(Post(path, body, kKeyLine), "POST");
    EXPECT_EQ(response.status, 503) << path;
    EXPECT_TRUE(response.fields.contains("retry-after")) << path;
    EXPECT_NE(response.body.find("The model is being loaded."), std::string::npos) << path;
    EXPECT_EQ(response.body.find("canary"), std::string::npos) << path;
  }
  EXPECT_EQ(client.Ask(Get("/v1/models", kKeyLine)).status, 503);
  // Who shows no key learns nothing but health.
  RawClient stranger(server->port());
  EXPECT_EQ(stranger.Ask(Post("/v1/chat/completions", body), "POST").status, 401);

  server->Use(loaded);
  EXPECT_EQ(client.Ask(Get("/health")).status, 200) << "the same connection";
  EXPECT_EQ(client.Ask(Post("/v1/chat/completions", body, kKeyLine), "POST").body, "alice");
}

}  // namespace
}  // namespace dgemma
