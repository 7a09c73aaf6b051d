// containerd-shim-sandboxd-v1: containerd's shim (runtime v2) in front of sandboxd.
//
//   start   binds the socket of a container, starts `serve` behind it, prints its address
//   serve   (our own) answers the Task service on that socket until Shutdown
//   delete  cleans up after a shim that has died
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>

#include "daemon/log/log.h"
#include "platform/base/unique_fd.h"
#include "tools/oci/container_store.h"
#include "tools/shim/task_service.h"

namespace sandboxd::shim {
namespace {

constexpr char kSocketFolder[] = "/run/containerd/s";
constexpr char kDaemonFolder[] = "/run/sandboxd-shim";
constexpr int kListener = 3;

struct Flags {
  std::string name_space, id, bundle, address, action;
  bool version = false, info = false;
};

// Go's flags: "-x v", "--x v", "-x=v"; the first word without a dash is the action.
bool ParseFlags(int argc, char** argv, Flags* flags) {
  const std::map<std::string, std::string*> values = {{"namespace", &flags->name_space},
                                                      {"id", &flags->id},
                                                      {"bundle", &flags->bundle},
                                                      {"address", &flags->address}};
  std::string ignored;
  for (int i = 1; i < argc; ++i) {
    std::string word = argv[i];
    if (word.empty() || word[0] != '-') {
      flags->action = word;
      continue;
    }
    word.erase(0, word.rfind("--", 0) == 0 ? 2 : 1);
    if (word == "v" || word == "version") flags->version = true;
    if (word == "info") flags->info = true;
    if (word == "v" || word == "version" || word == "info" || word == "debug") continue;
    const size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    if (name == "debug") continue;
    auto known = values.find(name);
    std::string* to = known != values.end() ? known->second : &ignored;
    if (known == values.end() && name != "publish-binary" && name != "socket") {
      fprintf(stderr, "containerd-shim-sandboxd-v1: unknown flag -%s\n", name.c_str());
      return false;
    }
    if (equals != std::string::npos) {
      *to = word.substr(equals + 1);
    } else if (++i < argc) {
      *to = argv[i];
    }
  }
  return true;
}

ShimOptions OptionsOf(const Flags& flags) {
  ShimOptions options;
  options.name_space = flags.name_space;
  options.id = flags.id;
  const auto env = [](const char* name) {
    const char* value = getenv(name);
    return std::string(value != nullptr ? value : "");
  };
  options.platform = env("SANDBOXD_PLATFORM");
  options.daemon.address = env("SANDBOXD_ADDRESS");
  options.daemon.folder = kDaemonFolder;
  return options;
}

// Short, and the same for the same container: FNV-1a over both names.
std::string SocketPath(const Flags& flags) {
  uint64_t hash[2] = {14695981039346656037ull, 1099511628211ull * 31};
  for (unsigned char c : flags.name_space + "/" + flags.id + "@" + flags.address) {
    for (uint64_t& h : hash) h = (h ^ c) * 1099511628211ull, c += 101;
  }
  char name[40];
  snprintf(name, sizeof name, "%016lx%016lx", hash[0], hash[1]);
  return std::string(kSocketFolder) + "/" + name;
}

int Fail(const std::string& what) {
  fprintf(stderr, "containerd-shim-sandboxd-v1: %s\n", what.c_str());
  return 1;
}

bool Connects(const sockaddr_un& address) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

// SAFETY: between fork and exec only async-signal-safe calls.
void Launch(int listener, char** argv) {
  const pid_t pid = ::fork();
  if (pid != 0) return;
  ::setsid();
  UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  // Made by containerd, which reads it: our standard error. Both ways, so that nobody waits.
  UniqueFd log(::open("log", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  UniqueFd socket(::fcntl(listener, F_DUPFD_CLOEXEC, 10));
  ::dup2(null.get(), 0);
  ::dup2(null.get(), 1);
  ::dup2(log.valid() ? log.get() : null.get(), 2);
  ::dup2(socket.get(), kListener);
  ::syscall(SYS_close_range, kListener + 1, ~0U, 0);
  ::execv("/proc/self/exe", argv);
  ::_exit(127);
}

int Start(const Flags& flags) {
  auto id = SandboxIdOf(flags.name_space, flags.id);
  if (!id.ok()) return Fail(id.error().message());
  const std::string path = SocketPath(flags);
  std::error_code ignored;
  std::filesystem::create_directories(kSocketFolder, ignored);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path, path.c_str(), path.size() + 1);
  if (Connects(address)) return Fail("a shim for " + flags.id + " is running at " + path);
  ::unlink(path.c_str());
  UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ::umask(0077);
  if (!listener.valid() ||
      ::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener.get(), 64) != 0) {
    return Fail(daemon::ErrnoText("cannot listen at " + path, errno));
  }
  const std::string url = "unix://" + path;
  auto written = oci::ReplaceFile("address", url);
  if (!written.ok()) {
    ::unlink(path.c_str());
    return Fail(written.error().message());
  }
  std::vector<std::string> words = {"containerd-shim-sandboxd-v1",
                                    "-namespace",
                                    flags.name_space,
                                    "-id",
                                    flags.id,
                                    "-address",
                                    flags.address,
                                    "serve"};
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  Launch(listener.get(), argv.data());
  printf("%s", url.c_str());
  return 0;
}

int Serve(const Flags& flags) {
  ::fcntl(kListener, F_SETFD, FD_CLOEXEC);
  ::signal(SIGPIPE, SIG_IGN);
  daemon::InitLogging({.program = "containerd-shim-sandboxd-v1", .directory = ""});
  UniqueFd listener(kListener);
  UniqueFd stop(::eventfd(0, EFD_CLOEXEC));
  const char* ttrpc_address = getenv("TTRPC_ADDRESS");
  {
    Publisher publisher(ttrpc_address != nullptr ? ttrpc_address : "", flags.name_space);
    auto* server = new TtrpcServer;  // requests may be under way when we end
    auto* service =
        new TaskService(OptionsOf(flags), publisher, [&stop] { eventfd_write(stop.get(), 1); });
    service->RegisterWith(*server);
    server->Serve(listener.get(), stop.get());
  }
  ::unlink(SocketPath(flags).c_str());
  // The answer to Shutdown is being written by a thread; containerd takes its absence as well.
  ::_exit(0);
}

int Delete(const Flags& flags) {
  const task::DeleteResponse response = DeleteLeftovers(OptionsOf(flags), flags.bundle);
  ::unlink(SocketPath(flags).c_str());
  const std::string bytes = response.SerializeAsString();
  fwrite(bytes.data(), 1, bytes.size(), stdout);
  return 0;
}

}  // namespace

int Main(int argc, char** argv) {
  Flags flags;
  if (!ParseFlags(argc, argv, &flags)) return 2;
  if (flags.version) {
    printf("containerd-shim-sandboxd-v1:\n  Version: 0.1.0\n");
    return 0;
  }
  if (flags.name_space.empty() || flags.id.empty()) return Fail("-namespace and -id are missing");
  if (flags.action == "start") return Start(flags);
  if (flags.action == "serve") return Serve(flags);
  if (flags.action == "delete") return Delete(flags);
  return Fail("the action must be start or delete, not \"" + flags.action + "\"");
}

}  // namespace sandboxd::shim

int main(int argc, char** argv) { return sandboxd::shim::Main(argc, argv); }
