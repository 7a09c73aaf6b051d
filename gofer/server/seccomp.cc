#include "gofer/server/seccomp.h"

#include <fcntl.h>
#include <seccomp.h>
#include <sys/mman.h>

#include <memory>

#include "platform/base/errno.h"

namespace sandboxd::gofer {
namespace {

#define RULE(name, reason)            \
  {                                   \
    SCMP_SYS(name), #name, reason, {} \
  }
#define RULE_IF(name, reason, index, mask, value, text)         \
  {                                                             \
    SCMP_SYS(name), #name, reason, { index, mask, value, text } \
  }

constexpr uint64_t kAllBits = 0xffffffff;

constexpr SeccompRule kRules[] = {
    // The connection.
    RULE(recvmsg, "receive a request"),
    RULE(sendmsg, "send a response, with a host descriptor or without"),
    RULE(close, "a fid was released"),
    // Reaching files.
    RULE(openat2, "walk one name beneath a directory; create a regular file"),
    RULE(openat, "open the file behind one of our own descriptors"),
    RULE(statx, "attributes"),
    RULE(readlinkat, "Treadlink"),
    RULE(fstatfs, "Tstatfs"),
    RULE_IF(fcntl, "attach: a descriptor of its own for the root", 1, kAllBits, F_DUPFD_CLOEXEC,
            "F_DUPFD_CLOEXEC"),
    RULE_IF(fcntl, "Tlock", 1, kAllBits, F_OFD_SETLK, "F_OFD_SETLK"),
    RULE_IF(fcntl, "Tgetlock", 1, kAllBits, F_OFD_GETLK, "F_OFD_GETLK"),
    // Open files, for clients without our extension.
    RULE(pread64, "Tread"),
    RULE(pwrite64, "Twrite"),
    RULE(getdents64, "Treaddir"),
    RULE(lseek, "Treaddir from where the client says"),
    RULE(fsync, "Tfsync"),
    RULE(fdatasync, "Tfsync"),
    // Attributes.
    RULE(ftruncate, "Tsetattr: size of an open file"),
    RULE(truncate, "Tsetattr: size"),
    RULE(fchownat, "Tsetattr: owner; owner of a new file"),
    RULE(fchmodat, "Tsetattr: mode; set-id bits of a new file"),
    RULE(utimensat, "Tsetattr: times"),
    RULE(getxattr, "Tgetxattr, Txattrwalk"),
    RULE(listxattr, "Tlistxattr, Txattrwalk"),
    RULE(setxattr, "Tsetxattr, Txattrcreate"),
    RULE(removexattr, "Tremovexattr, Txattrcreate of nothing"),
    // The tree.
    RULE(mkdirat, "make a directory"),
    RULE(symlinkat, "make a symlink"),
    RULE(mknodat, "make a fifo, a socket's or a device's node; nodes are never opened"),
    RULE(linkat, "Tlink"),
    RULE(renameat, "Trename"),
    RULE(renameat2, "Trenameat, Trename2"),
    RULE(unlinkat, "Tunlinkat, Tremove"),
    // The process itself.
    RULE(futex, "locks; waiting for the threads to end"),
    RULE_IF(mmap, "memory of the allocator, never executable", 2, PROT_EXEC, 0, "no PROT_EXEC"),
    RULE_IF(mprotect, "memory of the allocator, never executable", 2, PROT_EXEC, 0, "no PROT_EXEC"),
    RULE(munmap, "the allocator; stacks of threads that ended"),
    RULE(mremap, "the allocator"),
    RULE(brk, "the allocator"),
    RULE(madvise, "the allocator; stacks of threads that ended"),
    RULE(write, "a line of the log"),
    RULE(clock_gettime, "the time in a line of the log, where the vdso can't tell"),
    RULE(gettid, "the thread in a line of the log; abort"),
    RULE(getpid, "the process in a line of the log; abort"),
    RULE(rt_sigprocmask, "the end of a thread; abort"),
    RULE(rt_sigaction, "abort"),
    RULE(tgkill, "abort, after a failed CHECK"),
    RULE(restart_syscall, "a wait that a stop or a debugger interrupted"),
    RULE(exit, "the end of a thread"),
    RULE(exit_group, "the end"),
};

#undef RULE
#undef RULE_IF

struct ContextDeleter {
  void operator()(void* context) const { ::seccomp_release(context); }
};

Result<void> Check(int minus_errno) {
  if (minus_errno < 0) return FromHostErrno(-minus_errno);
  return Ok();
}

}  // namespace

std::span<const SeccompRule> SeccompRules() { return kRules; }

std::string SeccompTable() {
  std::string table = "| call | only if | why |\n|---|---|---|\n";
  for (const SeccompRule& rule : kRules) {
    table +=
        std::string("| `") + rule.name + "` | " + rule.check.text + " | " + rule.reason + " |\n";
  }
  return table;
}

Result<void> LoadSeccomp() {
  std::unique_ptr<void, ContextDeleter> context(::seccomp_init(SCMP_ACT_KILL_PROCESS));
  if (!context) return Errno::kENOMEM;
  scmp_filter_ctx c = context.get();
  TRY(Check(::seccomp_attr_set(c, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS)));
  TRY(Check(::seccomp_attr_set(c, SCMP_FLTATR_CTL_TSYNC, 1)));
  TRY(Check(::seccomp_attr_set(c, SCMP_FLTATR_CTL_NNP, 0)));
  // A binary tree over the numbers: the list is long and the frequent calls are spread over it.
  TRY(Check(::seccomp_attr_set(c, SCMP_FLTATR_CTL_OPTIMIZE, 2)));
  for (const SeccompRule& rule : kRules) {
    scmp_arg_cmp compare{rule.check.index, SCMP_CMP_MASKED_EQ, rule.check.mask, rule.check.value};
    TRY(Check(::seccomp_rule_add_array(c, SCMP_ACT_ALLOW, rule.syscall,
                                       rule.check.mask != 0 ? 1 : 0, &compare)));
  }
  return Check(::seccomp_load(c));
}

}  // namespace sandboxd::gofer
