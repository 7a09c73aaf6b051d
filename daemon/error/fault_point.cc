#include "daemon/error/fault_point.h"

#include <atomic>

namespace sandboxd::daemon {
namespace {
std::atomic<std::function<int(std::string_view)>*> hook{nullptr};
}

int FaultPoint(std::string_view point) {
  // Acquire pairs with the release in SetFaultHook.
  auto* f = hook.load(std::memory_order_acquire);
  return f == nullptr ? 0 : (*f)(point);
}

void SetFaultHook(std::function<int(std::string_view)> new_hook) {
  auto* f = new_hook ? new std::function<int(std::string_view)>(std::move(new_hook)) : nullptr;
  delete hook.exchange(f, std::memory_order_acq_rel);
}

}  // namespace sandboxd::daemon
