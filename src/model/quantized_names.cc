// See quantized_names.h. First the parts are collected by name, then a form is chosen by the codes' type, then shapes
// are checked.
#include "model/quantized_names.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <cstring>
#include <span>

#include "base/try.h"
#include "files/json.h"
#include "files/messages.h"

namespace dgemma {
namespace {

enum Part : size_t { kCodes, kPacked, kScale, kScaleInverse, kSecondScale, kGlobalScale, kShape, kZeroPoint, kParts };

constexpr std::array<const char*, kParts> kSuffix = {"",         "_packed",       "_scale", "_scale_inv",
                                                     "_scale_2", "_global_scale", "_shape", "_zero_point"};

/// A set of parts.
using Parts = uint32_t;
constexpr Parts Only(Part part) { return 1u << part; }

/// One way to store a matrix.
struct Form {
  CodeKind kind;
  Part codes;
  DType dtype;  // of the codes
  Parts needed;
  Parts optional;
  const char* rule;
};

constexpr Form kForms[] = {
    {CodeKind::kFp8, kCodes, DType::kF8E4M3, Only(kScale), 0, "FP8 has codes and a _scale or _scale_inv"},
    {CodeKind::kFp8, kCodes, DType::kF8E4M3, Only(kScaleInverse), 0, "FP8 has codes and a _scale or _scale_inv"},
    {CodeKind::kInt4, kPacked, DType::kI32, Only(kScale), Only(kShape) | Only(kZeroPoint),
     "INT4 has _packed, _scale, perhaps _shape and _zero_point"},
    {CodeKind::kNvfp4, kCodes, DType::kU8, Only(kScale) | Only(kSecondScale), 0,
     "NVFP4 has codes, _scale and _scale_2"},
    {CodeKind::kNvfp4, kPacked, DType::kU8, Only(kScale) | Only(kGlobalScale), 0,
     "NVFP4 has _packed, _scale and _global_scale"},
};

constexpr const char* kConfigSection = "quantization_config";
constexpr const char* kReadable = "F32, F16, BF16; FP8, INT4 packed in I32 and NVFP4 with their scales";

/// Matrices [count, rows, cols] of one set of parts; count is 0 where the parts have no such dimension.
struct Extents {
  uint64_t count = 0;
  uint64_t rows = 0;
  uint64_t cols = 0;

  uint64_t Matrices() const { return std::max<uint64_t>(1, count); }
};

std::unexpected<Status> RefusePart(const TensorBytes& tensor, const std::string& what) {
  return Fail(StatusCode::kInvalidFile, fmt::format("{}: {}: {}", tensor.file, tensor.name, what));
}

std::unexpected<Status> RefuseShape(const TensorBytes& tensor, const std::string& rule) {
  return RefusePart(tensor, fmt::format("shape [{}] is not {}", fmt::join(tensor.shape, ", "), rule));
}

std::unexpected<Status> RefuseType(const TensorBytes& tensor, const char* rule) {
  return RefusePart(tensor, fmt::format("type {} where {} is needed", Name(tensor.dtype), rule));
}

/// "[E, 8, 4]" or "[8, 4]".
std::string ShapeText(const Extents& extents, uint64_t rows, uint64_t cols) {
  return extents.count > 0 ? fmt::format("[{}, {}, {}]", extents.count, rows, cols)
                           : fmt::format("[{}, {}]", rows, cols);
}

Result<void> RequireShape(const TensorBytes& tensor, const Extents& extents, uint64_t rows, uint64_t cols) {
  const std::array<uint64_t, 3> shape = {extents.count, rows, cols};
  const auto wanted = std::span(shape).subspan(extents.count > 0 ? 0 : 1);
  if (std::ranges::equal(tensor.shape, wanted)) return {};
  return RefuseShape(tensor, fmt::format("{} (the configuration's matrices are {})", ShapeText(extents, rows, cols),
                                         ShapeText(extents, extents.rows, extents.cols)));
}

/// The bytes of matrix `index` of a part that holds all of them in turn.
std::span<const std::byte> OneOf(const TensorBytes& tensor, const Extents& extents, uint64_t index) {
  const auto bytes = static_cast<size_t>(tensor.bytes.size() / extents.Matrices());
  return tensor.bytes.subspan(static_cast<size_t>(index) * bytes, bytes);
}

bool IsScaleType(DType dtype) { return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16; }

uint64_t CeilDiv(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

/// The parts that belong to one set of matrices.
class PartFinder {
 public:
  /// `stems` are what W may be; the first is what messages say.
  PartFinder(const CheckpointFiles& files, std::vector<std::string> stems, const Extents& extents)
      : files_(files), stems_(std::move(stems)), extents_(extents) {}

  /// True when any part of it is in the file.
  Result<bool> Collect() {
    for (size_t part = 0; part < kParts; ++part) {
      for (const std::string& stem : stems_) {
        const std::string name = stem + kSuffix[part];
        if (!files_.HasTensor(name)) continue;
        DG_TRY(const TensorBytes tensor, files_.Tensor(name));
        if (present_ >> part & 1u)
          return RefusePart(tensor, fmt::format("is {} in another spelling", Quoted(parts_[part].name)));
        parts_[part] = tensor;
        present_ |= 1u << part;
      }
    }
    return present_ != 0;
  }

  /// True when it is one tensor of values, of this name.
  bool IsPlain(std::string_view name) const { return IsPlain() && parts_[kCodes].name == name; }

  /// What is wrong with the first part there is.
  std::unexpected<Status> Refuse(const std::string& what) const {
    return RefusePart(parts_[static_cast<size_t>(std::countr_zero(present_))], what);
  }

  /// Adds the runs and the parts' names to `found`; kNotFound where no part is there.
  Result<void> Append(FoundParts& found) const {
    if (present_ == 0) return std::unexpected(files_.Tensor(stems_.front()).error());
    for (size_t part = 0; part < kParts; ++part) {
      if (present_ >> part & 1u) found.names.push_back(parts_[part].name);
    }
    if (IsPlain()) {
      const TensorBytes& values = parts_[kCodes];
      DG_CHECK_OK(RequireShape(values, extents_, extents_.rows, extents_.cols));
      found.runs.push_back({values.dtype, static_cast<int64_t>(extents_.Matrices() * extents_.rows), values.bytes});
      return {};
    }
    DG_TRY(const Form form, ChooseForm());
    return AppendMatrices(form, found);
  }

 private:
  bool IsPlain() const { return present_ == Only(kCodes) && IsWeightType(parts_[kCodes].dtype); }

  Result<Form> ChooseForm() const {
    const Parts both = Only(kCodes) | Only(kPacked);
    if ((present_ & both) == both) {
      return RefusePart(parts_[kPacked],
                        fmt::format("stands beside {} (one spelling of the codes)", Quoted(parts_[kCodes].name)));
    }
    if ((present_ & both) == 0) {
      return Refuse(fmt::format("has no {} to scale", Quoted(stems_.front())));
    }
    const Part part = present_ & Only(kCodes) ? kCodes : kPacked;
    const TensorBytes& codes = parts_[part];
    const Form* nearest = nullptr;
    for (const Form& form : kForms) {
      if (form.codes != part || form.dtype != codes.dtype) continue;
      const Parts others = present_ & ~Only(part);
      if ((others & form.needed) == form.needed && (others & ~(form.needed | form.optional)) == 0) return form;
      nearest = &form;
    }
    if (nearest == nullptr) {
      return Fail(StatusCode::kUnsupported, fmt::format("{}: {}: type {} is not supported here ({})", codes.file,
                                                        codes.name, Name(codes.dtype), kReadable));
    }
    std::vector<std::string> others;
    for (size_t other = kScale; other < kParts; ++other) {
      if (present_ >> other & 1u) others.push_back(Quoted(parts_[other].name));
    }
    return RefusePart(
        codes,
        fmt::format("{} beside it ({})",
                    others.empty() ? "has no scale" : fmt::format("has {}", fmt::join(others, ", ")), nearest->rule));
  }

  Result<void> AppendMatrices(const Form& form, FoundParts& found) const {
    const TensorBytes& codes = parts_[form.codes];
    const auto rows = static_cast<int64_t>(extents_.rows), cols = static_cast<int64_t>(extents_.cols);
    if (form.kind == CodeKind::kNvfp4 && extents_.cols % 16 != 0) {
      return RefusePart(codes, fmt::format("NVFP4 rows of {} values (rows are a multiple of 16)", cols));
    }
    const auto row_bytes = static_cast<uint64_t>(CodeBytes(form.kind, cols));
    DG_CHECK_OK(RequireShape(codes, extents_, extents_.rows, form.dtype == DType::kI32 ? row_bytes / 4 : row_bytes));
    CodeScales scales;
    DG_TRY(scales, Grid(form));
    DG_CHECK_OK(CheckShapePart());
    const TensorBytes& scale = ScalePart();
    const bool shared = scale.shape.empty() || (scale.shape.size() == 1 && scale.shape[0] == 1);
    for (uint64_t index = 0; index < extents_.Matrices(); ++index) {
      scales.scales = shared ? scale.bytes : OneOf(scale, extents_, index);
      if (Has(kZeroPoint)) scales.zero_points = OneOf(parts_[kZeroPoint], extents_, index);
      if (Has(kSecondScale)) {
        DG_TRY(scales.factor, WholeScale(parts_[kSecondScale], index));
      }
      if (Has(kGlobalScale)) {
        DG_TRY(scales.divisor, WholeScale(parts_[kGlobalScale], index));
        if (!std::isfinite(1 / scales.divisor))
          return RefusePart(parts_[kGlobalScale], "is 0 or too small to divide by");
      }
      found.runs.push_back({form.dtype, rows, OneOf(codes, extents_, index), scales});
    }
    return {};
  }

  bool Has(Part part) const { return (present_ & Only(part)) != 0; }
  const TensorBytes& ScalePart() const { return parts_[Has(kScaleInverse) ? kScaleInverse : kScale]; }

  /// How the scales lie over a matrix.
  Result<CodeScales> Grid(const Form& form) const {
    const TensorBytes& scale = ScalePart();
    CodeScales scales;
    scales.kind = form.kind;
    scales.dtype = scale.dtype;
    if (form.kind == CodeKind::kNvfp4) {
      if (scale.dtype != DType::kF8E4M3) return RefuseType(scale, "F8_E4M3");
      DG_CHECK_OK(RequireShape(scale, extents_, extents_.rows, extents_.cols / 16));
      SetBlocks(scales, 1, 16);
      return scales;
    }
    const bool power = form.kind == CodeKind::kFp8 && scale.dtype == DType::kF8E8M0;
    if (!IsScaleType(scale.dtype) && !power) {
      return RefuseType(scale, form.kind == CodeKind::kFp8 ? "F32, F16, BF16 or F8_E8M0" : "F32, F16 or BF16");
    }
    const auto sizes = GridSizes(scale);
    const char* rule = "one scale, one a row, or a grid of equal blocks";
    if (!sizes || (*sizes)[0] == 0 || (*sizes)[1] == 0) return RefuseShape(scale, rule);
    const auto [down, across] = *sizes;
    if (form.kind == CodeKind::kInt4) {
      if (down != extents_.rows || extents_.cols % across != 0) {
        return RefuseShape(scale, fmt::format("{} with a whole number of values in a group",
                                              ShapeText(extents_, extents_.rows, across)));
      }
      SetBlocks(scales, 1, extents_.cols / across);
      DG_CHECK_OK(CheckZeroPoints(across));
      return scales;
    }
    constexpr uint64_t kBlock = 128;
    if (down == CeilDiv(extents_.rows, kBlock) && across == CeilDiv(extents_.cols, kBlock)) {
      SetBlocks(scales, kBlock, kBlock);
    } else if (extents_.rows % down == 0 && extents_.cols % across == 0) {
      SetBlocks(scales, extents_.rows / down, extents_.cols / across);
    } else {
      return RefuseShape(scale, rule);
    }
    return scales;
  }

  void SetBlocks(CodeScales& scales, uint64_t rows, uint64_t cols) const {
    scales.block_rows = static_cast<int64_t>(rows);
    scales.block_cols = static_cast<int64_t>(cols);
    scales.grid_cols = static_cast<int64_t>(CeilDiv(extents_.cols, cols));
  }

  /// Rows and columns of the grid of one matrix; nothing where the shape is none.
  std::optional<std::array<uint64_t, 2>> GridSizes(const TensorBytes& scale) const {
    std::span<const uint64_t> shape = scale.shape;
    if (shape.empty() || (shape.size() == 1 && shape[0] == 1)) return std::array<uint64_t, 2>{1, 1};
    if (extents_.count > 0) {
      if (shape[0] != extents_.count) return std::nullopt;
      shape = shape.subspan(1);
    }
    if (shape.empty() || (shape.size() == 1 && shape[0] == 1)) return std::array<uint64_t, 2>{1, 1};
    if (shape.size() == 1 && shape[0] == extents_.rows) return std::array<uint64_t, 2>{shape[0], 1};
    if (shape.size() == 2) return std::array<uint64_t, 2>{shape[0], shape[1]};
    return std::nullopt;
  }

  Result<void> CheckZeroPoints(uint64_t across) const {
    if (!Has(kZeroPoint)) return {};
    if (parts_[kZeroPoint].dtype != DType::kI32) return RefuseType(parts_[kZeroPoint], "I32");
    return RequireShape(parts_[kZeroPoint], extents_, CeilDiv(extents_.rows, 8), across);
  }

  /// W_shape repeats what the configuration says.
  Result<void> CheckShapePart() const {
    if (!Has(kShape)) return {};
    const TensorBytes& shape = parts_[kShape];
    if (shape.dtype != DType::kI64 && shape.dtype != DType::kI32) return RefuseType(shape, "I64 or I32");
    const size_t width = static_cast<size_t>(BytesPerValue(shape.dtype));
    const std::array<uint64_t, 3> sizes = {extents_.count, extents_.rows, extents_.cols};
    const auto wanted = std::span(sizes).subspan(extents_.count > 0 ? 0 : 1);
    if (shape.shape.size() != 1 || shape.shape[0] != wanted.size())
      return RefuseShape(shape, fmt::format("[{}]", wanted.size()));
    for (size_t i = 0; i < wanted.size(); ++i) {
      uint64_t stated = 0;  // a negative number becomes one that no size equals
      std::memcpy(&stated, shape.bytes.data() + i * width, width);
      if (stated != wanted[i]) {
        return RefusePart(shape, fmt::format("does not state {}", ShapeText(extents_, extents_.rows, extents_.cols)));
      }
    }
    return {};
  }

  /// The scale of a whole matrix: F32, one, or one for each matrix.
  Result<float> WholeScale(const TensorBytes& tensor, uint64_t index) const {
    if (tensor.dtype != DType::kF32) return RefuseType(tensor, "F32");
    const size_t values = tensor.bytes.size() / sizeof(float);
    const bool each =
        extents_.count > 0 && values == extents_.count && !tensor.shape.empty() && tensor.shape[0] == extents_.count;
    if (!each && (values != 1 || tensor.shape.size() > 1))
      return RefuseShape(tensor, extents_.count > 0 ? "[1] or one a matrix" : "[1]");
    float value = 0;
    std::memcpy(&value, tensor.bytes.data() + (each ? static_cast<size_t>(index) * sizeof(float) : 0), sizeof(float));
    if (!std::isfinite(value)) return RefusePart(tensor, "is NaN or infinite (scales are finite numbers)");
    return value;
  }

  const CheckpointFiles& files_;
  std::vector<std::string> stems_;
  Extents extents_;
  std::array<TensorBytes, kParts> parts_;
  Parts present_ = 0;
};

constexpr std::string_view kGateUp = "gate_up_proj";

/// The matrices of one expert by name, in the order of their rows; in any form.
std::vector<PartFinder> ExpertParts(const CheckpointFiles& files, const TensorSpec& spec) {
  const std::string at = spec.name.substr(0, spec.name.rfind('.') + 1);  // "...experts."
  const bool halves = spec.name.ends_with(kGateUp);
  const std::vector<std::string> names =
      halves ? std::vector<std::string>{"gate_proj", "up_proj"} : std::vector<std::string>{spec.name.substr(at.size())};
  const Extents extents{0, spec.shape[1] / names.size(), spec.shape[2]};
  std::vector<PartFinder> parts;
  for (uint64_t expert = 0; expert < spec.shape[0]; ++expert) {
    for (const std::string& name : names)
      parts.emplace_back(files, std::vector<std::string>{fmt::format("{}{}.{}.weight", at, expert, name)}, extents);
  }
  return parts;
}

}  // namespace

Result<std::optional<FoundParts>> FindQuantized(const CheckpointFiles& files, const TensorSpec& spec) {
  const bool experts = spec.role == TensorRole::kExperts;
  if (!experts && (spec.shape.size() != 2 || !spec.name.ends_with(".weight"))) return std::nullopt;
  std::vector<std::string> stems = {spec.name};
  if (experts) stems.insert(stems.end(), {spec.name + ".weight", spec.name + "_weight"});
  PartFinder whole(files, std::move(stems),
                   {experts ? spec.shape[0] : 0, spec.shape[spec.shape.size() - 2], spec.shape.back()});
  DG_TRY(const bool together, whole.Collect());
  std::vector<PartFinder> singles;
  if (experts) singles = ExpertParts(files, spec);
  bool one_by_one = false;
  for (PartFinder& single : singles) {
    DG_TRY(const bool present, single.Collect());
    if (present && together) {
      return single.Refuse(fmt::format("stands beside {} (experts together or one by one)", Quoted(spec.name)));
    }
    one_by_one = one_by_one || present;
  }
  FoundParts found;
  if (one_by_one) {
    for (const PartFinder& single : singles) DG_CHECK_OK(single.Append(found));
    return found;
  }
  if (!together || whole.IsPlain(spec.name)) return std::nullopt;
  DG_CHECK_OK(whole.Append(found));
  return found;
}

std::optional<std::string_view> LayerOfUnusedScale(std::string_view name) {
  constexpr const char* kUnused[] = {
      ".input_scale", ".input_global_scale", ".activation_scale",   ".output_scale",    ".q_scale", ".k_scale",
      ".v_scale",     "_input_scale",        "_input_global_scale", "_activation_scale"};
  for (const std::string_view suffix : kUnused) {
    if (name.ends_with(suffix)) return name.substr(0, name.size() - suffix.size());
  }
  return std::nullopt;
}

std::string QuantMethodNote(const CheckpointFiles& files) {
  const auto text = files.Text("config.json");
  if (!text) return {};
  const auto config = ParseJson(*text);
  if (!config || !config->is_object()) return {};
  const auto* section = config->get_object().if_contains(kConfigSection);
  if (section == nullptr || !section->is_object()) return {};
  const auto* method = section->get_object().if_contains("quant_method");
  if (method == nullptr || !method->is_string()) return {};
  return fmt::format(" (the checkpoint is quantised by {}; types that can be read: {})", Quoted(method->get_string()),
                     kReadable);
}

Result<std::string> WithoutQuantMethod(std::string config_text) {
  DG_TRY(boost::json::value config, ParseJson(config_text));
  if (!config.is_object() || config.get_object().erase(kConfigSection) == 0) return config_text;
  return boost::json::serialize(config);
}

}  // namespace dgemma
