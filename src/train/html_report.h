// report.html: a training run on one page that needs nothing else, no network, no script, no fonts. Written at every
// evaluation. All text that comes from data, models or answers is escaped, and a content policy in the page forbids
// scripts and loading.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "dgemma/status.h"
#include "train/dataset.h"
#include "train/run_log.h"

namespace dgemma {

/// What is trained. Texts are any bytes.
struct ReportSubject {
  std::string model{};                                       ///< the page's title
  int64_t parameters = 0;                                    ///< of the model
  int64_t trained_parameters = 0;                            ///< of them, or of the adapter
  int64_t planned_steps = 0;                                 ///< 0: unknown
  std::vector<std::pair<std::string, std::string>> facts{};  ///< more lines of the summary: data, recipe, machine
  const DatasetStatistics* dataset = nullptr;                ///< nullptr for generated data
};

/// The page. Sections that have nothing to show are left out.
std::string HtmlReport(const ReportSubject& subject, const RunHistory& history);

/// Writes the page atomically (atomic_file.h): a browser never reads half of it.
Result<void> SaveHtmlReport(const std::filesystem::path& path, const ReportSubject& subject, const RunHistory& history);

}  // namespace dgemma
