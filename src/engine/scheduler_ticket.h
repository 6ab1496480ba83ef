// A request inside the Scheduler, from Submit to OnEnd. For scheduler.cc and scheduler_requests.cc only.
#pragma once

#include <memory>
#include <vector>

#include "engine/scheduler.h"

namespace dgemma {

struct Scheduler::Ticket {
  RequestId id = 0;
  RequestSpec spec;
  std::vector<int32_t> prompt;  ///< until the answer begins
  int64_t cost = 0;             ///< CostInRows
  SteadyTime submitted, queue_deadline, deadline, started;

  // With a slot:
  Slot* slot = nullptr;
  std::unique_ptr<Answering> answering;
  Story* story = nullptr;  ///< of answering; nullptr when it could not begin
  Status failure;          ///< why it could not
  FinishReason interrupted = FinishReason::kCancelled;
};

}  // namespace dgemma
