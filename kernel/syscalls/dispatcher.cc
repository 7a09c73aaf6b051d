// The dispatcher: from number to handler, with counters and --strace.
#include <atomic>
#include <memory>

#include "kernel/syscalls/table.h"
#include "platform/base/format.h"
#include "platform/base/log.h"

namespace sandboxd::syscalls {
namespace {

std::string FormatCall(Task& task, uint64_t number, const Row* row,
                       const std::array<uint64_t, 6>& args) {
  if (row == nullptr || row->handler == nullptr) {
    const char* name = row == nullptr ? "?" : row->name;
    return StrFormat("%s#%lu(%#lx, %#lx, %#lx, %#lx, %#lx, %#lx)", name, number, args[0], args[1],
                     args[2], args[3], args[4], args[5]);
  }
  std::string text = std::string(row->name) + "(";
  for (int i = 0; i < row->arg_count; i++) {
    if (i > 0) text += ", ";
    text += row->format[i](task, args[i]);
  }
  return text + ")";
}

std::string FormatResult(const Result<uint64_t>& result) {
  if (!result.ok()) return StrFormat("-1 %s", ErrnoName(result.error()));
  uint64_t v = *result;
  return v < 0x10000 ? std::to_string(v) : StrFormat("%#lx", v);
}

class Dispatcher final : public task::SyscallDispatcher {
 public:
  explicit Dispatcher(const StraceOptions& strace) : strace_(strace.enabled) {}

  Result<uint64_t> Dispatch(Task& task, uint64_t number,
                            const std::array<uint64_t, 6>& args) override {
    const Row* row = FindRow(number);
    // Strings are read before the call, which may replace the memory they are in (execve).
    if (__builtin_expect(strace_, 0)) return Traced(task, number, row, args);
    return Run(task, number, row, args);
  }

 private:
  Result<uint64_t> Run(Task& task, uint64_t number, const Row* row,
                       const std::array<uint64_t, 6>& args) {
    if (row != nullptr && row->handler != nullptr) return row->handler(task, args);
    if (row != nullptr) return row->refusal;
    NoteUnimplemented(task, number);
    return Errno::kENOSYS;
  }

  Result<uint64_t> Traced(Task& task, uint64_t number, const Row* row,
                          const std::array<uint64_t, 6>& args) {
    std::string call = FormatCall(task, number, row, args);
    int tid = task.tid().value;
    std::string comm = task.comm();
    // exit and exit_group do not come back here with a result that means anything.
    Result<uint64_t> result = Run(task, number, row, args);
    LogLine(LogLevel::kInfo, "strace", tid, "%s: %s = %s", comm.c_str(), call.c_str(),
            FormatResult(result).c_str());
    return result;
  }

  // One line the first time a number is asked for.
  void NoteUnimplemented(Task& task, uint64_t number) {
    if (number >= kTableSize) return;
    if (unimplemented_[number].fetch_add(1, std::memory_order_relaxed) == 0) {
      LOG_INFO("%s: system call %lu is not implemented", task.comm().c_str(), number);
    }
  }

  const bool strace_;
  std::array<std::atomic<uint64_t>, kTableSize> unimplemented_ = {};
};

}  // namespace

std::unique_ptr<task::SyscallDispatcher> MakeDispatcher(const StraceOptions& strace) {
  return std::make_unique<Dispatcher>(strace);
}

}  // namespace sandboxd::syscalls
