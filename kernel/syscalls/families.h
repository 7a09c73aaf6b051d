// The families of system calls. A family is one file, sys_<family>.cc, that defines its rows
// function; families.cc lists them for the table.
#pragma once

#include <span>

#include "kernel/syscalls/table.h"

namespace sandboxd::syscalls {

// Files (vfs)
std::span<const Row> OpenRows();
std::span<const Row> ReadWriteRows();
std::span<const Row> StatRows();
std::span<const Row> DirRows();
std::span<const Row> AttrRows();
std::span<const Row> SyncRows();
std::span<const Row> FcntlRows();
std::span<const Row> IoctlRows();
std::span<const Row> MountRows();
std::span<const Row> XattrRows();
std::span<const Row> SpliceRows();
std::span<const Row> PipeRows();
// Memory (mm)
std::span<const Row> MmRows();
// Tasks
std::span<const Row> ProcessRows();
std::span<const Row> ExecRows();
std::span<const Row> WaitRows();
std::span<const Row> PrctlRows();
std::span<const Row> CredsRows();
std::span<const Row> PtraceRows();
std::span<const Row> SeccompRows();
std::span<const Row> SignalRows();
std::span<const Row> TimeRows();
std::span<const Row> TimerRows();
std::span<const Row> SchedRows();
std::span<const Row> SystemRows();
// Waiting and talking (ipc, net)
std::span<const Row> FutexRows();
std::span<const Row> PollRows();
std::span<const Row> EpollRows();
std::span<const Row> EventRows();
std::span<const Row> SocketRows();
std::span<const Row> InotifyRows();
std::span<const Row> IpcRows();
std::span<const Row> MqRows();
// What a kernel without the feature refuses
std::span<const Row> RefusedRows();

// All of the above that are built.
using RowsFunction = std::span<const Row> (*)();
std::span<const RowsFunction> Families();

}  // namespace sandboxd::syscalls
