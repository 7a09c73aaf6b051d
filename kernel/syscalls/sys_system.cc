// The system as a whole: uname(2), sysinfo(2), limits and resource use, getrandom(2), and what only
// an administrator of the machine may do.
#include <linux/capability.h>
#include <linux/reboot.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "kernel/syscalls/families.h"
#include "kernel/syscalls/usage.h"
#include "kernel/task/session.h"

#ifndef GRND_INSECURE
#define GRND_INSECURE 4
#endif

namespace sandboxd::syscalls {
namespace {

// --- names ---

constexpr size_t kNameSize = 65;  // of each field of struct new_utsname
constexpr int32_t kMaxName = 64;

Result<void> SysUname(Task& t, UserOut<utsname> out) {
  utsname name{};
  auto set = [](char(&field)[kNameSize], std::string_view text) {
    text.copy(field, kNameSize - 1);
  };
  Ref<task::UtsNamespace> uts = t.uts_ns();
  set(name.sysname, "Linux");
  set(name.nodename, uts->hostname());
  set(name.release, task::kRelease);
  set(name.version, task::kVersion);
  set(name.machine, "x86_64");
  set(name.domainname, uts->domainname());
  return out.Write(t, name);
}

Result<std::string> ReadName(Task& t, UserAddr addr, int32_t length) {
  if (!t.credentials()->Capable(CAP_SYS_ADMIN, *t.uts_ns()->user_ns())) return Errno::kEPERM;
  if (length < 0 || length > kMaxName) return Errno::kEINVAL;
  std::string name(static_cast<size_t>(length), '\0');
  TRY(t.memory().CopyIn(addr, std::as_writable_bytes(std::span(name))));
  // An embedded NUL ends it, as everywhere where it is read as a string.
  name.resize(strnlen(name.data(), name.size()));
  return name;
}

Result<void> SysSethostname(Task& t, UserAddr addr, int32_t length) {
  t.uts_ns()->set_hostname(TRY(ReadName(t, addr, length)));
  return Ok();
}

Result<void> SysSetdomainname(Task& t, UserAddr addr, int32_t length) {
  t.uts_ns()->set_domainname(TRY(ReadName(t, addr, length)));
  return Ok();
}

// --- figures ---

Result<void> SysSysinfo(Task& t, UserOut<struct sysinfo> out) {
  struct sysinfo host {};
  ::sysinfo(&host);
  struct sysinfo info {};
  info.uptime = time::BoottimeNow() / std::chrono::seconds(1);
  constexpr unsigned long kLoadScale = 65536;
  auto running = static_cast<unsigned long>(std::max(t.kernel().runnable_count.load(), 0));
  for (unsigned long& load : info.loads) load = running * kLoadScale;
  info.totalram = host.totalram;
  info.freeram = host.freeram;
  info.sharedram = host.sharedram;
  info.bufferram = host.bufferram;
  info.procs = static_cast<unsigned short>(std::min(t.kernel().task_count.load(), 65535));
  info.mem_unit = host.mem_unit == 0 ? 1 : host.mem_unit;
  return out.Write(t, info);
}

Result<void> SysGetrusage(Task& t, int32_t who, UserOut<rusage> out) {
  switch (who) {
    case RUSAGE_SELF:
      return out.Write(t, ToRusage(t.group().SelfUsage()));
    case RUSAGE_CHILDREN:
      return out.Write(t, ToRusage(t.group().ChildrenUsage()));
    case RUSAGE_THREAD: {
      task::ThreadGroup::Usage usage;
      Task::CpuTime time = t.cpu_time();
      usage.user = time.user;
      usage.system = time.system;
      usage.max_rss_kib = t.group().SelfUsage().max_rss_kib;
      return out.Write(t, ToRusage(usage));
    }
    default:
      return Errno::kEINVAL;
  }
}

// --- limits ---

constexpr uint64_t kMaxFiles = 1048576;  // /proc/sys/fs/nr_open

bool IsResource(int32_t resource) { return resource >= 0 && resource < RLIM_NLIMITS; }

// prlimit(2), "Permissions".
Result<void> MayLimit(Task& t, Task& target) {
  if (&t.group() == &target.group()) return Ok();
  creds::CredRef own = t.credentials();
  creds::CredRef other = target.credentials();
  const bool same = own->ruid == other->euid && own->ruid == other->suid &&
                    own->ruid == other->ruid && own->rgid == other->egid &&
                    own->rgid == other->sgid && own->rgid == other->rgid;
  if (same || own->Capable(CAP_SYS_RESOURCE, *other->user_ns)) return Ok();
  return Errno::kEPERM;
}

Result<void> SetLimit(Task& t, task::ThreadGroup& group, int32_t resource, const rlimit64& limit) {
  if (limit.rlim_cur > limit.rlim_max) return Errno::kEINVAL;
  if (resource == RLIMIT_NOFILE && limit.rlim_max > kMaxFiles) return Errno::kEPERM;
  rlimit64 old = group.GetRlimit(resource);
  if (limit.rlim_max > old.rlim_max && !t.credentials()->CapableInit(CAP_SYS_RESOURCE)) {
    return Errno::kEPERM;
  }
  group.SetRlimit(resource, limit);
  return Ok();
}

Result<void> SysPrlimit64(Task& t, Tid pid, int32_t resource, UserIn<rlimit64> in,
                          UserOut<rlimit64> out) {
  if (!IsResource(resource)) return Errno::kEINVAL;
  rlimit64 limit{};
  if (!in.null()) limit = TRY(in.Read(t));
  Ref<Task> target(&t);
  if (pid.value != 0) target = TRY(task::FindThread(t, pid));
  TRY(MayLimit(t, *target));
  rlimit64 old = target->group().GetRlimit(resource);
  if (!in.null()) TRY(SetLimit(t, target->group(), resource, limit));
  return out.null() ? Ok() : out.Write(t, old);
}

Result<void> SysGetrlimit(Task& t, int32_t resource, UserOut<rlimit64> out) {
  if (!IsResource(resource)) return Errno::kEINVAL;
  return out.Write(t, t.group().GetRlimit(resource));
}

Result<void> SysSetrlimit(Task& t, int32_t resource, UserIn<rlimit64> in) {
  rlimit64 limit = TRY(in.Read(t));
  if (!IsResource(resource)) return Errno::kEINVAL;
  return SetLimit(t, t.group(), resource, limit);
}

// --- randomness ---

Result<uint64_t> SysGetrandom(Task& t, UserAddr addr, uint64_t size, uint32_t flags) {
  constexpr uint32_t kInsecureOrRandom = GRND_INSECURE | GRND_RANDOM;
  if ((flags & ~(GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE)) != 0) return Errno::kEINVAL;
  if ((flags & kInsecureOrRandom) == kInsecureOrRandom) return Errno::kEINVAL;
  size = std::min<uint64_t>(size, INT32_MAX);
  std::byte chunk[256];  // what the host gives without being interrupted
  uint64_t done = 0;
  while (done < size) {
    size_t want = std::min<uint64_t>(sizeof(chunk), size - done);
    ssize_t got = ::getrandom(chunk, want, 0);
    if (got < 0) return FromHostErrno(errno);
    size_t copied =
        t.memory().CopyOutPartial(addr + done, ConstBytes(chunk).first(static_cast<size_t>(got)));
    done += copied;
    if (copied < static_cast<size_t>(got)) break;
    // Long requests end early when a signal comes (getrandom(2), "Interruption by a signal
    // handler").
    if (done % 65536 == 0 && t.SignalPending()) break;
  }
  if (done == 0 && size > 0) return Errno::kEFAULT;
  return done;
}

// --- for administrators of a machine ---

Result<uint64_t> SysSyslog(Task& t, int32_t type, UserAddr buffer, int32_t length) {
  constexpr int32_t kRead = 2, kReadAll = 3, kReadClear = 4, kSizeUnread = 9, kSizeBuffer = 10;
  if (type < 0 || type > kSizeBuffer) return Errno::kEINVAL;
  creds::CredRef creds = t.credentials();
  if (!creds->CapableInit(CAP_SYSLOG) && !creds->CapableInit(CAP_SYS_ADMIN)) return Errno::kEPERM;
  if ((type == kRead || type == kReadAll || type == kReadClear) && (buffer.null() || length < 0)) {
    return Errno::kEINVAL;
  }
  // The log of this kernel is empty.
  if (type == kSizeBuffer) return uint64_t{1 << 17};
  if (type == kSizeUnread) return uint64_t{0};
  return uint64_t{0};
}

Result<void> SysReboot(Task& t, uint32_t magic1, uint32_t magic2, uint32_t command, UserAddr) {
  if (!t.credentials()->CapableInit(CAP_SYS_BOOT)) return Errno::kEPERM;
  const bool known = magic2 == LINUX_REBOOT_MAGIC2 || magic2 == LINUX_REBOOT_MAGIC2A ||
                     magic2 == LINUX_REBOOT_MAGIC2B || magic2 == LINUX_REBOOT_MAGIC2C;
  if (magic1 != LINUX_REBOOT_MAGIC1 || !known) return Errno::kEINVAL;
  switch (command) {
    case LINUX_REBOOT_CMD_CAD_ON:
    case LINUX_REBOOT_CMD_CAD_OFF:
      return Errno::kEINVAL;  // reboot(2): not from inside a pid namespace
    default:
      return Errno::kEPERM;
  }
}

Result<void> SysAcct(Task& t, UserAddr) {
  return t.credentials()->CapableInit(CAP_SYS_PACCT) ? Errno::kENOSYS : Errno::kEPERM;
}

Result<void> SysVhangup(Task& t) {
  // There is no terminal of a machine to hang up.
  return t.credentials()->CapableInit(CAP_SYS_TTY_CONFIG) ? Ok() : Result<void>(Errno::kEPERM);
}

constexpr Row kRows[] = {
    Full<SysUname>(SYS_uname, "uname"),
    Full<SysSethostname>(SYS_sethostname, "sethostname"),
    Full<SysSetdomainname>(SYS_setdomainname, "setdomainname"),
    Partial<SysSysinfo>(SYS_sysinfo, "sysinfo", "load is that of now; no swap"),
    Partial<SysGetrusage>(SYS_getrusage, "getrusage", "no page faults, no block counts"),
    Full<SysPrlimit64>(SYS_prlimit64, "prlimit64"),
    Full<SysGetrlimit>(SYS_getrlimit, "getrlimit"),
    Full<SysSetrlimit>(SYS_setrlimit, "setrlimit"),
    Full<SysGetrandom>(SYS_getrandom, "getrandom"),
    Partial<SysSyslog>(SYS_syslog, "syslog", "the log is empty"),
    Partial<SysReboot>(SYS_reboot, "reboot", "a sandbox is stopped from outside: EPERM"),
    Partial<SysAcct>(SYS_acct, "acct", "as without CONFIG_BSD_PROCESS_ACCT"),
    Partial<SysVhangup>(SYS_vhangup, "vhangup", "does nothing"),
};

}  // namespace

std::span<const Row> SystemRows() { return kRows; }

}  // namespace sandboxd::syscalls
