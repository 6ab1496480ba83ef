// The embedded page as text and as a route.
#include "page.h"

#include <string>
#include <utility>

#include "embedded/page.h"
#include "files/bytes.h"

namespace dgemma {

std::string_view PageHtml() { return AsText(PageFiles().front().bytes); }

Route PageRoute() {
  Route route{.method = HttpMethod::kGet, .pattern = "/", .access = Access::kPublic};
  route.handler = [](const HttpRequest& /*request*/, const Reply& reply) {
    HttpResponse response;
    response.content_type = "text/html; charset=utf-8";
    response.body = std::string(PageHtml());
    response.fields = {{"Cache-Control", "no-cache"},
                       {"Content-Security-Policy", "frame-ancestors 'none'"},
                       {"Referrer-Policy", "no-referrer"}};
    reply.Send(std::move(response));
  };
  return route;
}

}  // namespace dgemma
