// A session: one timeline, one answer at a time, its passes run right here.
#include "base/try.h"
#include "engine/answering.h"
#include "engine/engine_impl.h"
#include "engine/guard.h"
#include "engine/timeline.h"

namespace dgemma {
namespace {

class SessionImpl final : public Session {
 public:
  SessionImpl(EngineImpl& engine, Timeline timeline) : engine_(engine), timeline_(std::move(timeline)) {}

  Result<Answer> Generate(const Request& request, Listener* listener) override {
    return Guarded([&] { return Write(request, listener); });
  }
  void Reset() override { timeline_.Reset(); }

 private:
  Result<Answer> Write(const Request& request, Listener* listener);

  EngineImpl& engine_;
  Timeline timeline_;
};

Result<Answer> SessionImpl::Write(const Request& request, Listener* listener) {
  DG_TRY(std::vector<int32_t> prompt, engine_.PromptTokens(request));
  DG_CHECK_OK(CheckRequest(request, prompt, engine_.model().config, timeline_.context()));
  const AnswerParts parts = engine_.answer_parts();
  DG_TRY(const auto answering, Answering::Begin(parts, timeline_, request, {std::move(prompt), parts.now()}, listener));
  Drive(engine_.runner(), std::span(&answering->story(), 1), request.stop);
  return answering->End(FinishReason::kCancelled);
}

}  // namespace

AnswerParts EngineImpl::answer_parts() const {
  AnswerParts parts;
  parts.model = loaded_.model.get();
  parts.tokenizer = &*tokenizer_;
  parts.commit = options_.commit;
  parts.chunk_rows = options_.prefill_chunk_tokens;
  return parts;
}

Result<std::unique_ptr<Session>> EngineImpl::NewSession() {
  return Guarded([&]() -> Result<std::unique_ptr<Session>> {
    DG_TRY(Timeline timeline,
           Timeline::Create(model().config, options_.context_tokens,
                            options_.prefill_chunk_tokens + options_.rewind_tokens, *loaded_.kernels));
    return std::make_unique<SessionImpl>(*this, std::move(timeline));
  });
}

}  // namespace dgemma
