#include "tools/oci/hooks.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "platform/base/unique_fd.h"

namespace sandboxd::oci {
namespace {

using nlohmann::json;

constexpr size_t kMaxStderr = 1000;  // what an error quotes

struct Hook {
  std::string path;
  std::vector<std::string> args, env;
  std::optional<std::chrono::seconds> timeout;
};

std::vector<Hook> Parse(const std::string& hooks, const std::string& kind) {
  std::vector<Hook> out;
  const json document = json::parse(hooks, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object() || !document.contains(kind) || !document.at(kind).is_array())
    return out;
  for (const json& element : document.at(kind)) {
    Hook hook;
    hook.path = element.value("path", "");
    hook.args = element.value("args", std::vector<std::string>());
    hook.env = element.value("env", std::vector<std::string>());
    if (element.contains("timeout"))
      hook.timeout = std::chrono::seconds(element.value("timeout", 0));
    if (hook.args.empty()) hook.args.push_back(hook.path);
    out.push_back(std::move(hook));
  }
  return out;
}

Error HookError(const std::string& kind, const Hook& hook, const std::string& how) {
  return Error::Internal(kind + " hook " + hook.path + " " + how);
}

// A file whose reader sees `text` and then its end, however slowly it reads.
UniqueFd MakeInput(const std::string& text) {
  UniqueFd fd(::memfd_create("hook-state", MFD_CLOEXEC));
  if (!fd.valid() ||
      ::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      ::lseek(fd.get(), 0, SEEK_SET) != 0) {
    return UniqueFd();
  }
  return fd;
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (const std::string& s : strings) out.push_back(const_cast<char*>(s.c_str()));
  out.push_back(nullptr);
  return out;
}

// True: it has ended.
bool WaitFor(pid_t pid, const Hook& hook) {
  if (!hook.timeout) return true;
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  const auto until = std::chrono::steady_clock::now() + *hook.timeout;
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        until - std::chrono::steady_clock::now());
    pollfd p{pidfd.get(), POLLIN, 0};
    const int n = ::poll(&p, 1, static_cast<int>(std::max<int64_t>(0, left.count())));
    if (n > 0) return true;
    if (n == 0) return false;
  }
}

Outcome<void> RunOne(const Hook& hook, const std::string& kind, const std::string& state) {
  UniqueFd input = MakeInput(state);
  UniqueFd errors(::memfd_create("hook-errors", MFD_CLOEXEC));
  UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!input.valid() || !errors.valid() || !null.valid()) {
    return HookError(kind, hook, daemon::ErrnoText("could not be prepared", errno));
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input.get(), 0);
  posix_spawn_file_actions_adddup2(&actions, null.get(), 1);
  posix_spawn_file_actions_adddup2(&actions, errors.get(), 2);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  sigset_t defaults;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  // A group of its own, so that a hook that hangs can be killed with what it has started.
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  pid_t pid = 0;
  const int spawned = ::posix_spawn(&pid, hook.path.c_str(), &actions, &attributes,
                                    Pointers(hook.args).data(), Pointers(hook.env).data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (spawned != 0) return HookError(kind, hook, daemon::ErrnoText("can't be run", spawned));

  const bool in_time = WaitFor(pid, hook);
  if (!in_time) ::kill(-pid, SIGKILL);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!in_time) {
    return HookError(
        kind, hook,
        "was killed after its timeout of " + std::to_string(hook.timeout->count()) + " s");
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  char text[kMaxStderr];
  const ssize_t n = ::pread(errors.get(), text, sizeof text, 0);
  std::string how = WIFSIGNALED(status)
                        ? "was killed by signal " + std::to_string(WTERMSIG(status))
                        : "ended with status " + std::to_string(WEXITSTATUS(status));
  if (n > 0) how += ": " + std::string(text, static_cast<size_t>(n));
  while (!how.empty() && how.back() == '\n') how.pop_back();
  return HookError(kind, hook, how);
}

}  // namespace

Outcome<void> RunHooks(const std::string& hooks, const std::string& kind,
                       const std::string& state) {
  for (const Hook& hook : Parse(hooks, kind)) TRY(RunOne(hook, kind, state));
  return {};
}

bool HasHooks(const std::string& hooks, const std::string& kind) {
  return !Parse(hooks, kind).empty();
}

}  // namespace sandboxd::oci
