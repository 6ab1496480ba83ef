// From the matrices of a file to the deltas of a model: sizes compared, values widened, one expert's matrices and
// halves of experts put together, equal roles made one.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <optional>
#include <unordered_map>

#include "base/finite.h"
#include "base/try.h"
#include "files/messages.h"
#include "model/adapter_files.h"
#include "model/tensor_list.h"
#include "tensor/stored.h"

namespace dgemma {
namespace {

std::unexpected<Status> Refuse(std::string_view key, std::string_view rule) {
  return Fail(StatusCode::kInvalidFile, fmt::format("{}: {}", Quoted(key), rule));
}

/// A tensor of the list as matrices.
struct Sizes {
  int64_t count = 1, out = 0, in = 0;
};

Sizes SizesOf(const TensorSpec& spec) {
  const auto size = [&](size_t i) { return static_cast<int64_t>(spec.shape[i]); };
  return spec.shape.size() == 3 ? Sizes{size(0), size(1), size(2)} : Sizes{1, size(0), size(1)};
}

/// How a module's matrices stand to its tensor.
struct Fit {
  const TensorSpec* spec = nullptr;
  Sizes sizes;  ///< of what the module changes: one expert, one half, or all of the tensor
  int64_t rank = 0;
  bool swapped = false;  ///< old parameters: A lies over the outputs, B over the inputs
};

/// Some of a delta's matrices; `delta` has sizes of this part.
struct Piece {
  const AdapterModule* module = nullptr;
  AdapterDelta delta;
};

class AdapterBuilder {
 public:
  AdapterBuilder(const OpenedAdapter& opened, const Config& config)
      : opened_(opened), config_(config), specs_(ListTensors(config)) {
    for (const TensorSpec& spec : specs_) by_name_.emplace(spec.name, &spec);
  }

  Result<Adapter> Build() {
    for (const AdapterModule& module : opened_.modules) {
      DG_TRY(const Fit fit, FindFit(module));
      DG_TRY(AdapterDelta delta, ReadDelta(module, fit));
      pieces_[{fit.spec->name, delta.role}].push_back({&module, std::move(delta)});
    }
    Adapter adapter{opened_.name, {}};
    for (const TensorSpec& spec : specs_) DG_CHECK_OK(AddTensor(spec, adapter));
    return adapter;
  }

 private:
  // ---- sizes --------------------------------------------------------------------------------------------------------

  /// The tensor's size in whole, less what the module leaves to others.
  static Sizes SizesFor(const AdapterPlace& place, const TensorSpec& spec) {
    Sizes sizes = SizesOf(spec);
    if (place.expert >= 0) sizes.count = 1;
    if (place.part != AdapterPart::kWhole) sizes.out /= 2;
    return sizes;
  }

  Result<const TensorSpec*> FindTensor(const AdapterModule& module, const std::string& name) const {
    const auto found = by_name_.find(name);
    if (found != by_name_.end()) return found->second;
    const auto layers = std::ssize(config_.layers);
    const int64_t layer = module.place.layer;
    if (layer >= layers) return Refuse(module.down.key, fmt::format("the model has {} layers", layers));
    if (layer >= 0 && module.place.module == "self_attn.v_proj" && !config_.layers[static_cast<size_t>(layer)].sliding)
      return Refuse(module.down.key, "a full-attention layer has no v_proj (its values are those of k_proj)");
    return Refuse(module.down.key, "the model has no such layer");
  }

  std::unexpected<Status> WrongShape(const AdapterModule& module, const Fit& fit) const {
    return Refuse(module.down.key, fmt::format("[{}] and lora_B [{}] do not make {} of [{}, {}] ({})",
                                               fmt::join(module.down.shape, ", "), fmt::join(module.up.shape, ", "),
                                               fit.sizes.count, fit.sizes.out, fit.sizes.in, fit.spec->name));
  }

  /// Whether A [.., down_cols] and B [up_rows, ..] of PEFT's flat parameters are those of a tensor.
  static bool FitsParameter(const AdapterModule& module, const Sizes& sizes) {
    const auto size = [](uint64_t value) { return static_cast<int64_t>(std::min<uint64_t>(value, INT64_MAX)); };
    const int64_t stacked = size(module.down.shape[0]);
    return size(module.down.shape[1]) == sizes.in && size(module.up.shape[0]) == sizes.out &&
           module.down.shape[0] == module.up.shape[1] && stacked % sizes.count == 0;
  }

  /// Which of the two parameters of "experts" it is. 2 X = D = X cannot be, so at most one fits in each of the two
  /// ways.
  Result<Fit> FindParameter(const AdapterModule& module) const {
    if (module.down.shape.size() != 2 || module.up.shape.size() != 2)
      return Refuse(module.down.key, "must be a matrix, and its counterpart too");
    std::optional<Fit> fits[2];
    for (const char* parameter : {".gate_up_proj", ".down_proj"}) {
      DG_TRY(const TensorSpec* spec, FindTensor(module, module.place.Tensor() + parameter));
      for (const bool swapped : {false, true}) {
        Sizes sizes = SizesOf(*spec);
        if (swapped) std::swap(sizes.in, sizes.out);
        if (!FitsParameter(module, sizes)) continue;
        if (swapped) std::swap(sizes.in, sizes.out);
        const int64_t rank = static_cast<int64_t>(module.down.shape[0]) / sizes.count;
        fits[swapped ? 1 : 0] = Fit{spec, sizes, rank, swapped};
      }
    }
    const auto& found = fits[1] && (opened_.settings.old_parameters || !fits[0]) ? fits[1] : fits[0];
    if (found) return *found;
    return Refuse(module.down.key,
                  fmt::format("[{}] and lora_B [{}] fit neither gate_up_proj nor down_proj of {} experts",
                              fmt::join(module.down.shape, ", "), fmt::join(module.up.shape, ", "), config_.experts));
  }

  Result<Fit> FindFit(const AdapterModule& module) const {
    Fit fit;
    if (module.place.form == AdapterForm::kParameters) {
      DG_TRY(fit, FindParameter(module));
    } else {
      DG_TRY(fit.spec, FindTensor(module, module.place.Tensor()));
      if (module.place.expert >= config_.experts)
        return Refuse(module.down.key, fmt::format("the model has {} experts", config_.experts));
      fit.sizes = SizesFor(module.place, *fit.spec);
      std::span<const uint64_t> down = module.down.shape, up = module.up.shape;
      const bool stacked = module.place.form == AdapterForm::kStacked;
      const size_t dimensions = stacked ? 3 : 2;
      if (down.size() != dimensions || up.size() != dimensions) return WrongShape(module, fit);
      if (stacked) {
        const auto count = static_cast<uint64_t>(fit.sizes.count);
        if (down[0] != count || up[0] != count) return WrongShape(module, fit);
        down = down.subspan(1);
        up = up.subspan(1);
      }
      if (down[1] != static_cast<uint64_t>(fit.sizes.in) || up[0] != static_cast<uint64_t>(fit.sizes.out) ||
          down[0] != up[1])
        return WrongShape(module, fit);
      fit.rank = static_cast<int64_t>(std::min<uint64_t>(down[0], INT64_MAX));
    }
    if (fit.rank < 1 || fit.rank > kMostAdapterRank)
      return Refuse(module.down.key, fmt::format("its rank is not in 1..{}", kMostAdapterRank));
    const int64_t said = opened_.settings.rank == 0 ? fit.rank : opened_.settings.RankOf(NameFor(module, fit));
    if (said != fit.rank)
      return Refuse(module.down.key,
                    fmt::format("has rank {}, but adapter_config.json says {} (r, rank_pattern)", fit.rank, said));
    return fit;
  }

  /// What patterns are compared with.
  static std::string NameFor(const AdapterModule& module, const Fit& fit) {
    const std::string name(PatternName(module.module));
    return module.place.form == AdapterForm::kParameters ? name + fit.spec->name.substr(fit.spec->name.rfind('.'))
                                                         : name;
  }

  // ---- values -------------------------------------------------------------------------------------------------------

  static Result<std::vector<float>> ReadValues(const AdapterMatrix& matrix) {
    uint64_t rows = 1;
    for (const uint64_t size : std::span(matrix.shape).first(matrix.shape.size() - 1)) rows *= size;
    const auto cols = static_cast<size_t>(matrix.shape.back());
    const StoredTensor stored =
        OneRun(matrix.dtype, 1, static_cast<int64_t>(rows), static_cast<int64_t>(cols), matrix.bytes);
    std::vector<float> values(rows * cols);
    for (size_t row = 0; row < rows; ++row) ReadRow(stored, 0, static_cast<int64_t>(row), values.data() + row * cols);
    if (AllFinite(values)) return values;
    return Refuse(matrix.key, "holds NaN or infinity");
  }

  /// B of PEFT's parameters, [out, r E], to [E, out, r].
  static std::vector<float> Unstack(const std::vector<float>& flat, const Sizes& sizes, int64_t rank) {
    std::vector<float> values(flat.size());
    for (int64_t row = 0; row < sizes.out; ++row) {
      for (int64_t column = 0; column < rank * sizes.count; ++column) {
        const int64_t index = column % sizes.count, r = column / sizes.count;
        values[static_cast<size_t>((index * sizes.out + row) * rank + r)] =
            flat[static_cast<size_t>(row * rank * sizes.count + column)];
      }
    }
    return values;
  }

  /// [count, rows, cols] with rows and columns exchanged.
  static std::vector<float> Transposed(const std::vector<float>& values, int64_t count, int64_t rows, int64_t cols) {
    std::vector<float> out(values.size());
    for (int64_t i = 0; i < count * rows * cols; ++i) {
      const int64_t index = i / (rows * cols), row = i / cols % rows, col = i % cols;
      out[static_cast<size_t>((index * cols + col) * rows + row)] = values[static_cast<size_t>(i)];
    }
    return out;
  }

  Result<AdapterDelta> ReadDelta(const AdapterModule& module, const Fit& fit) const {
    AdapterDelta delta;
    delta.tensor = fit.spec->name;
    delta.role = module.place.role;
    delta.count = fit.sizes.count;
    delta.out = fit.sizes.out;
    delta.in = fit.sizes.in;
    delta.rank = fit.rank;
    // As llama.cpp: a GGUF adapter without alpha is not scaled.
    const bool unscaled = opened_.settings.rank == 0 && opened_.settings.alpha == 0;
    delta.scale = unscaled ? 1.0f : static_cast<float>(opened_.settings.ScaleOf(NameFor(module, fit), fit.rank));
    DG_TRY(delta.down, ReadValues(module.down));
    DG_TRY(delta.up, ReadValues(module.up));
    if (module.place.form != AdapterForm::kParameters) return delta;
    Sizes sizes = fit.sizes;
    if (fit.swapped) std::swap(sizes.in, sizes.out);
    delta.up = Unstack(delta.up, sizes, fit.rank);
    if (fit.swapped) {
      // A [E, r, out] and B [E, in, r]: the transposes of what the delta wants.
      std::vector<float> up = Transposed(delta.down, sizes.count, fit.rank, sizes.in);
      delta.down = Transposed(delta.up, sizes.count, sizes.out, fit.rank);
      delta.up = std::move(up);
    }
    return delta;
  }

  // ---- putting together ---------------------------------------------------------------------------------------------

  static std::unexpected<Status> Twice(const Piece& piece, const Piece& other) {
    return Refuse(piece.module->down.key, fmt::format("changes what {} changes too", Quoted(other.module->down.key)));
  }

  /// All experts' own matrices as one piece; a piece of all experts as it is.
  Result<Piece> JoinExperts(std::vector<Piece> pieces) const {
    std::ranges::sort(pieces, {}, [](const Piece& piece) { return piece.module->place.expert; });
    for (size_t i = 1; i < pieces.size(); ++i) {
      const int64_t before = pieces[i - 1].module->place.expert, expert = pieces[i].module->place.expert;
      if (before < 0 || before == expert) return Twice(pieces[i], pieces[i - 1]);
    }
    Piece joined = std::move(pieces.front());
    if (joined.module->place.expert < 0) return joined;
    if (std::ssize(pieces) != config_.experts) {
      return Refuse(joined.module->down.key,
                    fmt::format("only {} of {} experts of this layer have matrices", pieces.size(), config_.experts));
    }
    AdapterDelta& delta = joined.delta;
    for (size_t i = 1; i < pieces.size(); ++i) {
      const AdapterDelta& next = pieces[i].delta;
      if (next.rank != delta.rank || next.scale != delta.scale)
        return Refuse(pieces[i].module->down.key, "rank or alpha differs from that of the layer's other experts");
      delta.down.insert(delta.down.end(), next.down.begin(), next.down.end());
      delta.up.insert(delta.up.end(), next.up.begin(), next.up.end());
    }
    delta.count = config_.experts;
    return joined;
  }

  /// gate_up_proj of its halves, either of which may be missing: ranks side by side, each reaching its half of the
  /// rows.
  static AdapterDelta JoinHalves(const Piece* gate, const Piece* up) {
    const AdapterDelta& first = gate != nullptr ? gate->delta : up->delta;
    AdapterDelta joined;
    joined.tensor = first.tensor;
    joined.role = first.role;
    joined.count = first.count;
    joined.out = 2 * first.out;
    joined.in = first.in;
    joined.scale = first.scale;
    const bool alike = gate == nullptr || up == nullptr || gate->delta.scale == up->delta.scale;
    if (!alike) joined.scale = 1;
    for (const Piece* half : {gate, up}) joined.rank += half == nullptr ? 0 : half->delta.rank;
    joined.down.reserve(static_cast<size_t>(joined.count * joined.rank * joined.in));
    joined.up.resize(static_cast<size_t>(joined.count * joined.out * joined.rank));
    for (int64_t index = 0; index < joined.count; ++index) {
      int64_t column = 0;
      for (const Piece* half : {gate, up}) {
        if (half == nullptr) continue;
        const AdapterDelta& delta = half->delta;
        const auto begin = delta.down.begin() + index * delta.rank * delta.in;
        joined.down.insert(joined.down.end(), begin, begin + delta.rank * delta.in);
        for (int64_t row = 0; row < delta.out; ++row) {
          const int64_t to = index * joined.out + row + (half == up ? delta.out : 0);
          for (int64_t r = 0; r < delta.rank; ++r) {
            const float value = delta.up[static_cast<size_t>((index * delta.out + row) * delta.rank + r)];
            joined.up[static_cast<size_t>(to * joined.rank + column + r)] = alike ? value : value * delta.scale;
          }
        }
        column += delta.rank;
      }
    }
    return joined;
  }

  /// The delta of a tensor in one role, if there is one.
  Result<std::optional<AdapterDelta>> JoinPieces(const std::string& tensor, DeltaRole role) {
    const auto found = pieces_.find({tensor, role});
    if (found == pieces_.end()) return std::nullopt;
    std::map<AdapterPart, std::vector<Piece>> by_part;
    for (Piece& piece : found->second) by_part[piece.module->place.part].push_back(std::move(piece));
    std::map<AdapterPart, Piece> parts;
    for (auto& [part, pieces] : by_part) {
      DG_TRY(Piece joined, JoinExperts(std::move(pieces)));
      parts.emplace(part, std::move(joined));
    }
    const auto whole = parts.find(AdapterPart::kWhole);
    if (whole != parts.end()) {
      if (parts.size() > 1) return Twice(parts.rbegin()->second, whole->second);
      return std::move(whole->second.delta);
    }
    const auto half = [&](AdapterPart part) {
      const auto at = parts.find(part);
      return at == parts.end() ? nullptr : &at->second;
    };
    return JoinHalves(half(AdapterPart::kGate), half(AdapterPart::kUp));
  }

  Result<void> AddTensor(const TensorSpec& spec, Adapter& adapter) {
    DG_TRY(std::optional<AdapterDelta> encoder, JoinPieces(spec.name, DeltaRole::kEncoder));
    DG_TRY(std::optional<AdapterDelta> decoder, JoinPieces(spec.name, DeltaRole::kDecoder));
    DG_TRY(std::optional<AdapterDelta> both, JoinPieces(spec.name, DeltaRole::kBoth));
    if (both && (encoder || decoder)) {
      return Refuse(spec.name, fmt::format("is changed for both roles by one key and for the {} by another",
                                           encoder ? "encoder" : "decoder"));
    }
    if (encoder && decoder && encoder->rank == decoder->rank && encoder->scale == decoder->scale &&
        encoder->down == decoder->down && encoder->up == decoder->up) {
      both = std::move(encoder);
      both->role = DeltaRole::kBoth;
      encoder.reset();
      decoder.reset();
    }
    for (std::optional<AdapterDelta>* delta : {&encoder, &decoder, &both}) {
      if (*delta) adapter.deltas.push_back(*std::move(*delta));
    }
    return {};
  }

  const OpenedAdapter& opened_;
  const Config& config_;
  const std::vector<TensorSpec> specs_;
  std::unordered_map<std::string_view, const TensorSpec*> by_name_;
  std::map<std::pair<std::string, DeltaRole>, std::vector<Piece>> pieces_;
};

}  // namespace

Result<Adapter> MakeAdapter(const OpenedAdapter& opened, const Config& config) {
  return AdapterBuilder(opened, config).Build();
}

}  // namespace dgemma
