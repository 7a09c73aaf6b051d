#include "kernel/seccomp/filter.h"

namespace sandboxd::seccomp {
namespace {

constexpr size_t kMaxInstructionsOfChain = 32768;  // MAX_INSNS_PER_PATH
constexpr size_t kPenaltyOfFilter = 4;             // for each filter in the chain but the newest

size_t TotalOf(const Program& program, const Filter* previous, size_t total_of_previous) {
  return program.size() + (previous != nullptr ? total_of_previous + kPenaltyOfFilter : 0);
}

// Which of two answers counts: the smaller as a signed number.
int32_t Rank(uint32_t value) { return static_cast<int32_t>(value & SECCOMP_RET_ACTION_FULL); }

}  // namespace

Filter::Filter(Program program, bool log, Ref<Filter> previous)
    : program_(std::move(program)),
      log_(log),
      previous_(std::move(previous)),
      depth_(previous_ != nullptr ? previous_->depth_ + 1 : 1),
      total_instructions_(TotalOf(program_, previous_.get(),
                                  previous_ != nullptr ? previous_->total_instructions_ : 0)) {
  for (size_t number = 0; number < kCached; number++) {
    if (previous_ != nullptr && !previous_->always_allowed_[number]) continue;
    auto value = program_.RunConstant(static_cast<uint32_t>(number), kArchitecture);
    always_allowed_[number] = value && (*value & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ALLOW;
  }
}

// Chains can be thousands of filters long: not by recursion.
Filter::~Filter() {
  Ref<Filter> next = std::move(const_cast<Ref<Filter>&>(previous_));
  while (next != nullptr && next->ref_count_hint() == 1) {
    Ref<Filter> after = std::move(const_cast<Ref<Filter>&>(next->previous_));
    next = std::move(after);
  }
}

Result<Ref<Filter>> Filter::Create(Program program, bool log, Ref<Filter> previous) {
  size_t total =
      TotalOf(program, previous.get(), previous != nullptr ? previous->total_instructions_ : 0);
  if (total > kMaxInstructionsOfChain) return Errno::kENOMEM;
  return MakeRef<Filter>(std::move(program), log, std::move(previous));
}

Filter::Verdict Filter::Ask(const seccomp_data& data) const {
  Verdict verdict;
  for (const Filter* at = this; at != nullptr; at = at->previous_.get()) {
    uint32_t value = at->program_.Run(data);
    if (Rank(value) < Rank(verdict.value)) verdict = {value, at};
  }
  return verdict;
}

bool Filter::IsAncestorOfOrSame(const Filter* other) const {
  while (other != nullptr && other->depth_ > depth_) other = other->previous_.get();
  return other == this;
}

bool Filter::chain_has_listener() const {
  for (const Filter* at = this; at != nullptr; at = at->previous_.get()) {
    if (at->listener_ != nullptr) return true;
  }
  return false;
}

void Filter::RemoveUser() {
  for (Filter* at = this; at != nullptr; at = at->previous_.get()) {
    if (at->users_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    if (at->listener_ != nullptr) at->listener_->OnUnused();
  }
}

}  // namespace sandboxd::seccomp
