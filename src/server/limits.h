// Every bound that the server enforces on its clients, in one table. Times are milliseconds, so that a test can make them
// short. Each bound is tested at limit - 1, limit and limit + 1 (tests/server). Bounds on model files: files/limits.h.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dgemma {

/// What a client may cost. The comment of each field says what happens beyond it.
struct ServerLimits {
  // ---- the head of a request
  size_t head_bytes = 16 << 10;   ///< request line and fields with all line ends; 431, close
  size_t head_fields = 64;        ///< fields; 431, close
  size_t head_line_bytes = 8192;  ///< request line or one field, without its line end; 431, close
  int64_t head_ms =
      10'000;  ///< from accepting (with TLS handshake) or the first byte to the end of the head; 408, close

  // ---- the body of a request
  size_t text_body_bytes = 2 << 20;     ///< routes that take text; 413 before reading
  size_t image_body_bytes = 20 << 20;   ///< routes that take images; 413 before reading
  size_t all_bodies_bytes = 256 << 20;  ///< bodies held at once, all connections together; 503
  int64_t body_window_ms = 10'000;      ///< the time over which progress of a body is averaged
  size_t body_window_bytes = 10'240;    ///< bytes that arrive in each window at least (1 KiB/s); 408, close

  // ---- answers
  int64_t write_stall_ms = 30'000;   ///< no byte taken by the client; the request is cancelled, close
  size_t stream_bytes = 1 << 20;     ///< written to a stream and not yet taken by the client; cancelled, close
  int64_t request_ms = 10 * 60'000;  ///< from the end of the body to the end of the answer; ends with reason "timeout"
  int64_t stop_grace_ms = 5'000;     ///< time for the last words of an answer that was told to stop; close
  int64_t linger_ms = 2'000;         ///< reading on after a last answer, so that the client gets it; close
  size_t linger_bytes = 4 << 20;     ///< bytes read and dropped meanwhile from a client that showed a key; close
  size_t linger_unkeyed_bytes = 64 << 10;  ///< the same for one that did not; close

  // ---- connections
  /// open at once; the longest idle one is closed, or the one with the slowest head, else the new one is refused
  size_t connections = 1024;
  size_t connections_per_address = 64;   ///< of one IPv4 address or IPv6 /64; refused
  size_t connections_without_key = 128;  ///< that showed no valid key yet, when keys are set; as `connections`
  int64_t head_yield_ms = 1'000;         ///< a head under way for so long has to yield to a new connection; close
  int64_t keep_alive_ms = 30'000;        ///< idle between two requests; close
  int64_t keep_alive_requests = 1000;    ///< requests on one connection; close after the last

  // ---- contents of a request, checked by those who read the JSON
  uint32_t json_depth = 64;            ///< 400
  uint64_t json_nodes = 100'000;       ///< values and keys; 400
  size_t messages = 1024;              ///< of a conversation; 400
  size_t content_parts = 64;           ///< of one message; 400
  size_t tools = 128;                  ///< 400
  size_t stop_strings = 16;            ///< 400
  size_t stop_string_bytes = 256;      ///< 400
  int32_t choices = 8;                 ///< `n`; 400
  size_t images = 8;                   ///< 400
  uint64_t image_pixels = 40'000'000;  ///< of each, from its header before decoding; 400

  // ---- the queue of the engine
  size_t queue_requests = 64;      ///< waiting; 429 with Retry-After
  int64_t queue_wait_ms = 60'000;  ///< 503
  int64_t drain_ms = 30'000;       ///< from SIGTERM until running answers are told to stop

  // ---- the log
  size_t log_line_bytes = 4096;   ///< cut
  int64_t log_lines_per_s = 100;  ///< the rest is counted, and the count logged
};

}  // namespace dgemma
