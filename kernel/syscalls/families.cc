#include "kernel/syscalls/families.h"

namespace sandboxd::syscalls {
namespace {

// One line a family; a family that is not in this list is not in the kernel.
// clang-format off
constexpr RowsFunction kFamilies[] = {
    XattrRows,
    WaitRows,
    SystemRows,
    PrctlRows,
    PtraceRows,
    SeccompRows,
    PipeRows,
    TimerRows,
    ReadWriteRows,
    PollRows,
    AttrRows,
    IoctlRows,
    SchedRows,
    SyncRows,
    EpollRows,
    CredsRows,
    SpliceRows,
    FutexRows,
    MountRows,
    TimeRows,
    SignalRows,
    StatRows,
    DirRows,
    MmRows,
    EventRows,
    SocketRows,
    InotifyRows,
    IpcRows,
    MqRows,
    FcntlRows,
    OpenRows,
    ExecRows,
    ProcessRows,
    RefusedRows,
};
// clang-format on

}  // namespace

std::span<const RowsFunction> Families() { return kFamilies; }

}  // namespace sandboxd::syscalls
