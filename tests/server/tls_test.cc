// TLS with a certificate made here: OpenSSL's own client as the other side, and files that must be refused.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <thread>

#include "files/temp_folder.h"
#include "test_server.h"

namespace dgemma {
namespace {

template <auto Free>
struct Freer {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using KeyPtr = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using CertificatePtr = std::unique_ptr<X509, Freer<X509_free>>;
using ContextPtr = std::unique_ptr<SSL_CTX, Freer<SSL_CTX_free>>;
using SslPtr = std::unique_ptr<SSL, Freer<SSL_free>>;

/// A key and a certificate that it signed itself, for "localhost".
struct Files {
  explicit Files(const TempFolder& folder, const std::string& name = "server")
      : key(folder.path() / (name + ".key")), certificate(folder.path() / (name + ".crt")) {
    const KeyPtr pair(EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256"));
    const CertificatePtr signed_by_itself(X509_new());
    X509* x509 = signed_by_itself.get();
    ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
    X509_gmtime_adj(X509_getm_notBefore(x509), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
    X509_set_pubkey(x509, pair.get());
    const unsigned char common_name[] = "localhost";
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x509), "CN", MBSTRING_ASC, common_name, -1, -1, 0);
    X509_set_issuer_name(x509, X509_get_subject_name(x509));
    X509_sign(x509, pair.get(), EVP_sha256());
    std::FILE* file = std::fopen(key.c_str(), "w");
    PEM_write_PrivateKey(file, pair.get(), nullptr, nullptr, 0, nullptr, nullptr);
    std::fclose(file);
    file = std::fopen(certificate.c_str(), "w");
    PEM_write_X509(file, x509);
    std::fclose(file);
  }
  std::string key;
  std::string certificate;
};

/// Whether the server has to say that its answer is whole.
enum class Ending { kOrderly, kAny };

/// One exchange over TLS; "" when the handshake fails.
std::string AskOverTls(const TestServer& server, const std::string& request, const std::string& trusted,
                       int max_version = TLS1_3_VERSION, Ending ending = Ending::kOrderly) {
  const ContextPtr context(SSL_CTX_new(TLS_client_method()));
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  SSL_CTX_load_verify_locations(context.get(), trusted.c_str(), nullptr);
  SSL_CTX_set_min_proto_version(context.get(), 0);
  SSL_CTX_set_max_proto_version(context.get(), max_version);
  const RawClient client = server.Client();
  const SslPtr ssl(SSL_new(context.get()));
  SSL_set1_host(ssl.get(), "localhost");
  SSL_set_fd(ssl.get(), client.descriptor());
  if (SSL_connect(ssl.get()) != 1) return "";
  EXPECT_EQ(SSL_write(ssl.get(), request.data(), static_cast<int>(request.size())), static_cast<int>(request.size()));
  std::string out;
  char piece[4096];
  int got = 0;
  while ((got = SSL_read(ssl.get(), piece, sizeof(piece))) > 0) out.append(piece, static_cast<size_t>(got));
  if (ending == Ending::kOrderly) {
    EXPECT_EQ(SSL_get_error(ssl.get(), got), SSL_ERROR_ZERO_RETURN);
  }
  return out;
}

TEST(Tls, CarriesRequestsAndAnswers) {
  const TempFolder folder;
  const Files files(folder);
  const TestServer server({.tls_key_file = files.key, .tls_cert_file = files.certificate});
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    const std::string response = AskOverTls(server, Get("/hello", "Connection: close\r\n"), files.certificate, version);
    EXPECT_TRUE(response.starts_with("HTTP/1.1 200 OK\r\n")) << version << response;
    EXPECT_TRUE(response.ends_with("\r\n\r\nhello"));
  }
  const std::string big = AskOverTls(server, Get("/big", "Connection: close\r\n"), files.certificate);
  EXPECT_GT(big.size(), 4U << 20);
  EXPECT_EQ(AskOverTls(server, Get("/hello"), files.certificate, TLS1_1_VERSION), "") << "too old";
  EXPECT_TRUE(server.HasConnections(0));
}

TEST(Tls, TheAnswerReachesAClientThatIsStillSending) {
  const TempFolder folder;
  const Files files(folder);
  const TestServer server({.limits = {.text_body_bytes = 1000, .linger_ms = 200},
                           .tls_key_file = files.key,
                           .tls_cert_file = files.certificate});
  const std::string response =
      AskOverTls(server, Post("/echo", std::string(1 << 20, 'b')), files.certificate, TLS1_3_VERSION, Ending::kAny);
  EXPECT_TRUE(response.starts_with("HTTP/1.1 413 ")) << response;
  EXPECT_TRUE(server.HasConnections(0));
}

TEST(Tls, PlainTextAndSilenceEnd) {
  const TempFolder folder;
  const Files files(folder);
  const TestServer server({.limits = {.head_ms = 50}, .tls_key_file = files.key, .tls_cert_file = files.certificate});
  RawClient plain = server.Client();
  plain.Send(Get("/hello"));
  EXPECT_TRUE(plain.EndsWithin(5000));
  RawClient silent = server.Client();
  EXPECT_TRUE(silent.EndsWithin(5000)) << "the handshake has the time of a head";
  EXPECT_TRUE(server.HasConnections(0));
}

TEST(Tls, FilesThatDoNotFitAreRefused) {
  const TempFolder folder;
  const Files files(folder);
  const Files others(folder, "other");
  const std::string rubbish = folder.path() / "rubbish";
  std::ofstream(rubbish) << "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
  const Router router({}, {});
  const auto code = [&](const std::string& key, const std::string& certificate) {
    HttpServerOptions options;
    options.port = 0;
    options.tls_key_file = key;
    options.tls_cert_file = certificate;
    const auto started = HttpServer::Start(router, options);
    return started ? "started" : Name(started.error().code);
  };
  EXPECT_STREQ(code(files.key, files.certificate), "started");
  EXPECT_STREQ(code(others.key, files.certificate), "invalid_file");
  EXPECT_STREQ(code(files.key, rubbish), "invalid_file");
  EXPECT_STREQ(code(rubbish, files.certificate), "invalid_file");
  EXPECT_STREQ(code(folder.path() / "none", files.certificate), "invalid_file");
  EXPECT_STREQ(code(files.key, ""), "invalid_argument");
}

TEST(Listening, RefusesWhatItMustNot) {
  const Router open({}, {});
  const auto code = [&](const std::string& host, int port) {
    HttpServerOptions options;
    options.host = host;
    options.port = port;
    const auto started = HttpServer::Start(open, options);
    return started ? "started" : Name(started.error().code);
  };
  EXPECT_STREQ(code("127.0.0.1", 0), "started");
  EXPECT_STREQ(code("localhost", 0), "started");
  EXPECT_STREQ(code("0.0.0.0", 0), "invalid_argument");
  EXPECT_STREQ(code("::", 0), "invalid_argument");
  for (const char* no_address : {"example.org", "[::1]", ""}) {
    HttpServerOptions options;
    options.host = no_address;
    const auto started = HttpServer::Start(open, options);
    ASSERT_FALSE(started) << no_address;
    EXPECT_EQ(started.error().message, "host: not an IP address or \"localhost\"");
  }
  EXPECT_STREQ(code("127.0.0.1", 65'536), "invalid_argument");
  EXPECT_STREQ(code("127.0.0.1", -1), "invalid_argument");
  const TestServer taken;
  EXPECT_STREQ(code("127.0.0.1", taken.port()), "io");
}

}  // namespace
}  // namespace dgemma
