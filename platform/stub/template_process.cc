#include "platform/stub/template_process.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "platform/base/log.h"
#include "platform/host/fd_socket.h"
#include "platform/stub/become_template.h"

namespace sandboxd::platform::stub {
namespace {

struct HostMapping {
  uint64_t start;
  uint64_t end;
  std::string name;
};

Result<std::vector<HostMapping>> ReadOwnMappings() {
  UniqueFd fd = TRY(WrapFd(open("/proc/self/maps", O_RDONLY | O_CLOEXEC)));
  std::string text;
  char buffer[4096];
  for (;;) {
    ssize_t n = read(fd.get(), buffer, sizeof(buffer));
    if (n < 0) return FromHostErrno(errno);
    if (n == 0) break;
    text.append(buffer, static_cast<size_t>(n));
  }
  std::vector<HostMapping> mappings;
  for (size_t at = 0; at < text.size();) {
    size_t eol = std::min(text.find('\n', at), text.size());
    std::string line = text.substr(at, eol - at);
    at = eol + 1;
    unsigned long start, end;
    char name[256] = "";
    if (std::sscanf(line.c_str(), "%lx-%lx %*s %*s %*s %*s %255s", &start, &end, name) < 2) {
      return Errno::kEIO;
    }
    mappings.push_back({start, end, name});
  }
  return mappings;
}

// Finds where the host has put its vdso and the data pages below it ([vvar], [vvar_vclock]), which
// the code reaches by distance. Empty ranges if the host has none.
void FindVdso(const std::vector<HostMapping>& mappings, BecomeTemplateArgs& args) {
  VdsoLayout& found = args.from;
  for (const HostMapping& m : mappings) {
    if (m.name != "[vdso]") continue;
    found.vdso = {UserAddr(m.start), UserAddr(m.end)};
    found.vvar = {UserAddr(m.start), UserAddr(m.start)};
  }
  for (AddrRange& part : args.vvar_parts) {
    for (const HostMapping& m : mappings) {
      if (m.name.rfind("[vvar", 0) != 0 || m.end != found.vvar.start.value) continue;
      part = {UserAddr(m.start), UserAddr(m.end)};
      found.vvar.start = part.start;
      break;
    }
  }
}

// A place for our region that nothing of the present process occupies, so that the template can set
// it up before it lets go of the rest.
Result<uint64_t> FindFreeBase(const std::vector<HostMapping>& mappings, uint64_t size) {
  uint64_t base = kApplicationEnd.value;
  for (const HostMapping& m : mappings) {  // in ascending order
    if (m.end <= base) continue;
    if (m.start >= base + size) break;
    base = m.end;
  }
  if (base + size > kUserEnd) return Errno::kENOMEM;
  return base;
}

// Reads exactly one answer: four bytes.
Result<int32_t> ReadAnswer(int socket) {
  int32_t answer = 0;
  auto message = TRY(host::RecvFds(socket, AsWritableBytes(answer), 0));
  if (message.size != sizeof(answer)) return Errno::kEIO;
  return answer;
}

}  // namespace

Result<std::unique_ptr<TemplateProcess>> TemplateProcess::Start(Kind kind, int kvm_fd,
                                                                const MachineState* machine) {
  std::vector<HostMapping> mappings = TRY(ReadOwnMappings());
  BecomeTemplateArgs args;
  args.kvm_fd = kvm_fd;
  args.machine = machine;
  FindVdso(mappings, args);
  if (args.from.vdso.end - args.from.vvar.start > SANDBOXD_STUB_SMALL_SIZE - SANDBOXD_STUB_VDSO) {
    LOG_ERROR("stub: the host's vdso is larger than the space kept for it");
    return Errno::kENOMEM;
  }
  args.layout.kind = kind;
  args.layout.base = TRY(FindFreeBase(mappings, args.layout.size()));
  if (!args.from.vdso.empty()) {
    const UserAddr to(args.layout.base + SANDBOXD_STUB_VDSO);
    const uint64_t vvar_size = args.from.vvar.length();
    args.layout.vdso.vvar = {to, to + vvar_size};
    args.layout.vdso.vdso = {to + vvar_size, to + vvar_size + args.from.vdso.length()};
  }

  host::SocketPair sockets = TRY(host::MakeSocketPair(SOCK_SEQPACKET));
  args.socket = sockets.second.get();
  // A raw clone: the C library's fork would have the host clear a word of ours when the template
  // ends. No exit signal.
  long pid = syscall(SYS_clone, 0, nullptr, nullptr, nullptr, nullptr);
  if (pid < 0) return FromHostErrno(errno);
  if (pid == 0) BecomeTemplate(args);
  sockets.second.Reset();
  std::unique_ptr<TemplateProcess> process(
      new TemplateProcess(static_cast<pid_t>(pid), std::move(sockets.first), args.layout));
  auto ready = ReadAnswer(process->socket_.get());
  if (!ready.ok() || *ready != 0) {
    LOG_ERROR("stub: the template process failed to start (step %d)", ready.ok() ? *ready : 0);
    return Errno::kEIO;
  }
  return process;
}

TemplateProcess::~TemplateProcess() {
  kill(pid_, SIGKILL);
  while (waitpid(pid_, nullptr, __WALL) < 0 && errno == EINTR) {
  }
}

Result<pid_t> TemplateProcess::Spawn(int shared_memory) {
  // In one go: answers come in the order of the orders, whoever asked.
  MutexLock lock(mutex_);
  TRY(OrderLocked(shared_memory));
  return ReceiveLocked();
}

Result<void> TemplateProcess::Order(int shared_memory) {
  MutexLock lock(mutex_);
  return OrderLocked(shared_memory);
}

Result<pid_t> TemplateProcess::Receive() {
  MutexLock lock(mutex_);
  return ReceiveLocked();
}

Result<void> TemplateProcess::OrderLocked(int shared_memory) {
  const std::byte request[1] = {};
  const std::span<const int> fds(&shared_memory, shared_memory >= 0 ? 1 : 0);
  if (!host::SendFds(socket_.get(), request, fds).ok()) return Errno::kEIO;
  return Ok();
}

Result<pid_t> TemplateProcess::ReceiveLocked() {
  auto answer = ReadAnswer(socket_.get());
  if (!answer.ok()) return Errno::kEIO;
  if (*answer < 0) return FromHostErrno(-*answer);
  return *answer;
}

}  // namespace sandboxd::platform::stub
