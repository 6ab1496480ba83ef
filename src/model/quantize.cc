// See quantize.h. Panels are made a few dozen at a time on all threads, so that no tensor is ever in memory as a whole.
#include "model/quantize.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <mutex>

#include "base/thread_pool.h"
#include "base/try.h"
#include "files/messages.h"
#include "model/model_folder.h"
#include "tensor/panels.h"

namespace dgemma {
namespace {

/// Sums of one panel's errors; added up in the order of panels, whatever the threads.
struct PanelError {
  double squares = 0;
  double error_squares = 0;
  double largest = 0;
};

/// One tensor on its way into the file.
struct Job {
  TensorSpec spec;
  StoredTensor stored;
  std::optional<WeightFormat> format;
  std::span<const float> importance;
};

class Quantizer {
 public:
  Quantizer(const QuantizeOptions& options, int64_t total_bytes)
      : options_(options), pool_(options.threads), total_bytes_(total_bytes) {}

  Result<void> WritePanels(const Job& job, const ByteSink& sink, QuantizedTensor& report) {
    const auto panel_bytes = static_cast<size_t>(PanelBytes(*job.format, job.stored.cols));
    const int64_t panels = job.stored.count * ((job.stored.rows + kPanelLanes - 1) / kPanelLanes);
    const int64_t at_once = int64_t{16} * pool_.threads();
    std::vector<std::byte> bytes(static_cast<size_t>(at_once) * panel_bytes);
    std::vector<PanelError> errors(static_cast<size_t>(at_once));
    PanelError total;
    for (int64_t first = 0; first < panels; first += at_once) {
      const int64_t count = std::min(at_once, panels - first);
      std::mutex mutex;
      std::optional<Status> failure;
      pool_.ParallelFor(count, [&](int64_t task, int) {
        const auto place = static_cast<size_t>(task);
        const std::span<std::byte> panel(bytes.data() + place * panel_bytes, panel_bytes);
        const Result<void> done = FillPanel(job, first + task, panel, errors[place]);
        const std::scoped_lock lock(mutex);
        if (!done) failure = done.error();
      });
      if (failure) return std::unexpected(failure->At(job.spec.name));
      for (int64_t i = 0; i < count; ++i) {
        const PanelError& error = errors[static_cast<size_t>(i)];
        total.squares += error.squares;
        total.error_squares += error.error_squares;
        total.largest = std::max(total.largest, error.largest);
      }
      DG_CHECK_OK(Write(sink, {bytes.data(), static_cast<size_t>(count) * panel_bytes}));
    }
    report.bytes = panels * static_cast<int64_t>(panel_bytes);
    report.relative_rms_error = total.squares > 0 ? std::sqrt(total.error_squares / total.squares) : 0;
    report.largest_error = total.largest;
    return {};
  }

  /// As stored where that is one plain run, as float32 otherwise.
  Result<void> WriteAsItIs(const Job& job, const ByteSink& sink) {
    if (IsOnePlainRun(job.stored)) return Write(sink, job.stored.runs.front().bytes);
    std::vector<float> row(static_cast<size_t>(job.stored.cols));
    for (int64_t index = 0; index < job.stored.count * job.stored.rows; ++index) {
      ReadRow(job.stored, index / job.stored.rows, index % job.stored.rows, row.data());
      DG_CHECK_OK(Write(sink, std::as_bytes(std::span(row))));
    }
    return {};
  }

  static bool IsOnePlainRun(const StoredTensor& stored) {
    return stored.runs.size() == 1 && ValuesPerBlock(stored.runs.front().dtype) == 1 && !stored.runs.front().scaled();
  }

 private:
  static Result<void> FillPanel(const Job& job, int64_t panel_index, std::span<std::byte> panel, PanelError& error) {
    const StoredTensor& stored = job.stored;
    const int64_t panels = (stored.rows + kPanelLanes - 1) / kPanelLanes;
    const int64_t index = panel_index / panels, begin = panel_index % panels * kPanelLanes;
    const auto cols = static_cast<size_t>(stored.cols);
    const bool per_expert = job.importance.size() > cols;
    auto importance = per_expert ? job.importance.subspan(static_cast<size_t>(index) * cols, cols) : job.importance;
    // Zeros throughout: nothing reached this expert, so nothing is known of its inputs.
    if (std::ranges::none_of(importance, [](float value) { return value > 0; })) importance = {};
    std::vector<float> row(cols), back(cols);
    GroupedRow grouped;
    error = {};
    ClearPanel(*job.format, stored.cols, panel);
    for (int64_t lane = 0; lane < std::min(kPanelLanes, stored.rows - begin); ++lane) {
      DG_CHECK_OK(ReadGroupedRow(stored, index, begin + lane, *job.format, importance, grouped));
      StoreRow(grouped, *job.format, stored.cols, lane, panel);
      LoadRow(panel, *job.format, stored.cols, lane, grouped);
      DequantizeRow(grouped, *job.format, back);
      ReadRow(stored, index, begin + lane, row.data());
      for (size_t i = 0; i < cols; ++i) {
        const double difference = static_cast<double>(row[i]) - static_cast<double>(back[i]);
        error.squares += static_cast<double>(row[i]) * static_cast<double>(row[i]);
        error.error_squares += difference * difference;
        error.largest = std::max(error.largest, std::abs(difference));
      }
    }
    return {};
  }

  Result<void> Write(const ByteSink& sink, std::span<const std::byte> bytes) {
    DG_CHECK_OK(sink(bytes));
    written_ += static_cast<int64_t>(bytes.size());
    if (options_.progress && !options_.progress(written_, total_bytes_)) {
      return Fail(StatusCode::kCancelled, "cancelled");
    }
    return {};
  }

  const QuantizeOptions& options_;
  ThreadPool pool_;
  int64_t total_bytes_;
  int64_t written_ = 0;
};

int64_t BytesOf(const Job& job) {
  const StoredTensor& s = job.stored;
  if (job.format) return GroupedBytes(*job.format, s.count, s.rows, s.cols);
  if (Quantizer::IsOnePlainRun(s)) return static_cast<int64_t>(s.runs.front().bytes.size());
  return s.count * s.rows * s.cols * static_cast<int64_t>(sizeof(float));
}

}  // namespace

Result<Recipe> ParseRecipe(std::string_view name) {
  if (name == "int8") return Recipe{kInt8RowWeights, kInt8RowWeights, kInt8RowWeights};
  if (name == "int4") return Recipe{kInt4RowWeights, kInt8RowWeights, kInt8RowWeights};
  const Result<WeightFormat> format = ParseWeightFormat(name);
  if (!format || !format->grouped()) {
    return Fail(
        StatusCode::kInvalidArgument,
        fmt::format("type {}: not one of int8, int4, int8-row, int4-32-row, int8-G, int8-G-min, int4-G, int4-G-min "
                    "with G one of 16, 32 and, in int8, 64 (block types such as Q4_K are for GGUF files)",
                    Quoted(name)));
  }
  if (format->kind == WeightKind::kInt4 && format->group == 64) {
    return Fail(StatusCode::kInvalidArgument,
                fmt::format("type {}: loses too much (docs/SPEED.md); int4-32-min does not", name));
  }
  return Recipe{*format, *format, *format};
}

std::optional<WeightFormat> FormatFor(const Recipe& recipe, const TensorSpec& spec) {
  switch (spec.role) {
    case TensorRole::kExperts:
      return recipe.experts;
    case TensorRole::kMatrix:
      return recipe.matrices;
    case TensorRole::kEmbedding:
      return recipe.embedding;
    default:
      return std::nullopt;
  }
}

Result<std::vector<QuantizedTensor>> WriteQuantized(const CheckpointFiles& files, const Config& config,
                                                    const std::filesystem::path& folder,
                                                    const QuantizeOptions& options) {
  std::vector<Job> jobs;
  int64_t total = 0;
  for (const TensorSpec& spec : ListTensors(config)) {
    DG_TRY(StoredTensor stored, FindStored(files, spec));
    Job job{spec, std::move(stored), FormatFor(options.recipe, spec), {}};
    if (job.format) DG_CHECK_OK(At(spec.name, CheckRowLength(*job.format, job.stored.cols)));
    if (const auto found = options.importance.find(spec.name); found != options.importance.end()) {
      const auto cols = static_cast<size_t>(job.stored.cols), size = found->second.size();
      if (size != cols && size != cols * static_cast<size_t>(job.stored.count)) {
        return Fail(StatusCode::kInvalidFile,
                    fmt::format("importance of {}: {} values where {} or {} are needed", spec.name, size, cols,
                                cols * static_cast<size_t>(job.stored.count)));
      }
      job.importance = found->second;
    }
    total += BytesOf(job);
    jobs.push_back(std::move(job));
  }
  Quantizer quantizer(options, total);
  std::vector<QuantizedTensor> reports;
  std::vector<TensorToWrite> tensors;
  std::map<std::string, std::string> metadata;
  reports.reserve(jobs.size());
  for (const Job& job : jobs) {
    if (job.format) {
      metadata[job.spec.name] = Name(*job.format);
      QuantizedTensor& report = reports.emplace_back(QuantizedTensor{job.spec.name, *job.format});
      tensors.push_back({job.spec.name, DType::kU8, {static_cast<uint64_t>(BytesOf(job))}, [&](const ByteSink& sink) {
                           return quantizer.WritePanels(job, sink, report);
                         }});
    } else {
      const bool plain = Quantizer::IsOnePlainRun(job.stored);
      tensors.push_back({job.spec.name, plain ? job.stored.runs.front().dtype : DType::kF32, job.spec.shape,
                         [&](const ByteSink& sink) { return quantizer.WriteAsItIs(job, sink); }});
    }
  }
  DG_TRY(const ModelTexts texts, ReadTexts(files));
  DG_CHECK_OK(SaveModelFolder(folder, std::move(tensors), texts, metadata));
  return reports;
}

}  // namespace dgemma
