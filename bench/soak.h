// Hours of everything at once on one server: requests of all families whole and streamed, with tools, by two keys, cut
// off, malformed, refused, and the pages about the server. Memory and descriptors are sampled meanwhile.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace dgemma::attack {

struct SoakOptions {
  std::string program, model;
  double seconds = 0;
  std::string samples_file;  ///< a CSV file with a line every ten seconds; "": none
};

struct SoakFigures {
  std::array<int64_t, 6> answers = {};  ///< by hundreds of their status; 0: cut off by us
  int64_t unexpected = 0;               ///< answers of another status than the request deserves, and missing ones
  /// Of resident memory that no file backs, after warming up. Pages of files go and come as the machine wants.
  double mean_bytes = 0;
  double slope_bytes_per_day = 0;          ///< of it, by least squares
  double slope_error = 0;                  ///< its standard error, widened for samples that follow each other
  double first_bytes = 0, last_bytes = 0;  ///< the same memory: means of the first and last tenth of the samples
  int64_t samples = 0;
  int64_t descriptors_before = 0, descriptors_after = 0;  ///< without clients
  double server_cpu = 0;                                  ///< seconds of processor a second
};

/// Runs for `seconds`, of which the first quarter, at most twenty minutes, are warming up.
SoakFigures Soak(const SoakOptions& options);

}  // namespace dgemma::attack
