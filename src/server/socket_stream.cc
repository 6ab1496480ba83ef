// Thin wrappers, so that the templates of Asio are expanded here only.
#include "server/socket_stream.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <utility>

namespace dgemma {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using Socket = asio::ip::tcp::socket;

void CloseSocket(Socket& socket) {
  error_code ignored;
  socket.close(ignored);
}

class Plain final : public SocketStream {
 public:
  explicit Plain(Socket socket) : socket_(std::move(socket)) {}

  void Handshake(Completion done) override {
    asio::post(socket_.get_executor(), [done = std::move(done)] { done({}, 0); });
  }
  void ReadSome(std::span<char> buffer, Completion done) override {
    socket_.async_read_some(asio::buffer(buffer.data(), buffer.size()), std::move(done));
  }
  void WriteSome(std::string_view bytes, Completion done) override {
    socket_.async_write_some(asio::buffer(bytes), std::move(done));
  }
  void EndWriting(Completion done) override {
    error_code error;
    socket_.shutdown(Socket::shutdown_send, error);
    asio::post(socket_.get_executor(), [done = std::move(done), error] { done(error, 0); });
  }
  bool takes_bytes_after_end() const override { return true; }
  void Close() override { CloseSocket(socket_); }

 private:
  Socket socket_;
};

class Tls final : public SocketStream {
 public:
  Tls(Socket socket, asio::ssl::context& context) : stream_(std::move(socket), context) {}

  void Handshake(Completion done) override {
    stream_.async_handshake(asio::ssl::stream_base::server,
                            [done = std::move(done)](error_code error) { done(error, 0); });
  }
  void ReadSome(std::span<char> buffer, Completion done) override {
    stream_.async_read_some(asio::buffer(buffer.data(), buffer.size()), std::move(done));
  }
  void WriteSome(std::string_view bytes, Completion done) override {
    stream_.async_write_some(asio::buffer(bytes), std::move(done));
  }
  void EndWriting(Completion done) override {
    stream_.async_shutdown([done = std::move(done)](error_code error) { done(error, 0); });
  }
  bool takes_bytes_after_end() const override { return false; }
  void Close() override { CloseSocket(stream_.next_layer()); }

 private:
  asio::ssl::stream<Socket> stream_;
};

}  // namespace

std::unique_ptr<SocketStream> PlainStream(Socket socket) { return std::make_unique<Plain>(std::move(socket)); }

std::unique_ptr<SocketStream> TlsStream(Socket socket, asio::ssl::context& context) {
  return std::make_unique<Tls>(std::move(socket), context);
}

}  // namespace dgemma
