#include "kernel/syscalls/families.h"

namespace sandboxd::syscalls {
namespace {

// One line a family; a family that is not in this list is not in the kernel.
constexpr RowsFunction kFamilies[] = {
    OpenRows,  ReadWriteRows, StatRows,  DirRows,   AttrRows,   MmRows,    ProcessRows,
    ExecRows,  WaitRows,      PrctlRows, CredsRows, SignalRows, TimeRows,  TimerRows,
    SchedRows, SystemRows,    FutexRows, PollRows,  EpollRows,  EventRows, RefusedRows,
};

}  // namespace

std::span<const RowsFunction> Families() { return kFamilies; }

}  // namespace sandboxd::syscalls
