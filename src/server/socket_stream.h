// A connected socket, plain or with TLS, as Connection uses it: one read and one write at a time, completions on the
// network thread. Buffers must live until the completion.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/system/error_code.hpp>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string_view>

namespace dgemma {

class SocketStream {
 public:
  using Completion = std::function<void(boost::system::error_code error, size_t bytes)>;

  virtual ~SocketStream() = default;
  /// Before anything else; a plain socket completes at once.
  virtual void Handshake(Completion done) = 0;
  virtual void ReadSome(std::span<char> buffer, Completion done) = 0;
  virtual void WriteSome(std::string_view bytes, Completion done) = 0;
  /// Says that no more bytes will come from here.
  virtual void EndWriting(Completion done) = 0;
  /// Whether what the other side still sends after EndWriting can be read.
  virtual bool takes_bytes_after_end() const = 0;
  /// Ends everything; what is under way completes with an error.
  virtual void Close() = 0;
};

std::unique_ptr<SocketStream> PlainStream(boost::asio::ip::tcp::socket socket);
/// `context` must outlive the stream.
std::unique_ptr<SocketStream> TlsStream(boost::asio::ip::tcp::socket socket, boost::asio::ssl::context& context);

}  // namespace dgemma
