// The real sandbox-gofer: what it serves, and what stops it. Calls that its own code would never
// make are made by its main thread under ptrace.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <map>
#include <optional>

#include "gofer/client/client.h"
#include "gofer/protocol/messages.h"
#include "gofer/protocol/socket.h"
#include "gofer/server/in_process_server.h"

namespace sandboxd::gofer {
namespace {

// A sanitizer's runtime makes calls of its own when threads end, which are not on the list.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif
#else
constexpr bool kSanitized = false;
#endif

struct Tree {
  std::string path;
  Access access = Access::kReadWrite;
};

class GoferProcess {
 public:
  // The first tree is the root.
  explicit GoferProcess(const std::vector<Tree>& trees, bool root_by_fd = false) {
    std::vector<std::string> arguments{"sandbox-gofer"};
    UniqueFd root(::open(trees[0].path.c_str(), O_PATH));  // inherited by the child
    std::vector<UniqueFd> theirs;
    for (size_t i = 0; i < trees.size(); ++i) {
      int fds[2];
      CHECK(::socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
      ::fcntl(fds[0], F_SETFD, FD_CLOEXEC);
      sockets_.emplace_back(fds[0]);
      theirs.emplace_back(fds[1]);
      bool readonly = trees[i].access == Access::kReadOnly;
      std::string socket = std::to_string(fds[1]);
      if (i > 0) {
        arguments.push_back("--mount=" + trees[i].path + (readonly ? ",ro," : ",rw,") + socket);
        continue;
      }
      arguments.push_back(root_by_fd ? "--root-fd=" + std::to_string(root.get())
                                     : "--root=" + trees[i].path);
      arguments.push_back("--socket-fd=" + socket);
      if (readonly) arguments.push_back("--readonly");
    }
    pid_ = ::fork();
    if (pid_ == 0) {
      std::vector<char*> argv;
      for (std::string& argument : arguments) argv.push_back(argument.data());
      argv.push_back(nullptr);
      ::execv(::getenv("SANDBOX_GOFER"), argv.data());
      ::_exit(99);
    }
  }
  ~GoferProcess() {
    sockets_.clear();
    if (pid_ > 0) Wait();
  }

  std::unique_ptr<Client> Connect(size_t tree = 0) {
    return MUST(Client::Connect(std::move(sockets_[tree])));
  }
  UniqueFd TakeSocket(size_t tree = 0) { return std::move(sockets_[tree]); }
  pid_t pid() const { return pid_; }
  // wait(2)'s status.
  int Wait() {
    int status = 0;
    EXPECT_EQ(::waitpid(pid_, &status, 0), pid_);
    pid_ = -1;
    return status;
  }
  void Forget() { pid_ = -1; }

 private:
  pid_t pid_ = -1;
  std::vector<UniqueFd> sockets_;
};

// Makes a serving gofer's main thread execute system calls of our choice.
class Injector {
 public:
  explicit Injector(pid_t pid) : pid_(pid) {
    attached_ = ::ptrace(PTRACE_SEIZE, pid_, 0, PTRACE_O_TRACESYSGOOD) == 0;
    if (!attached_) return;
    EXPECT_EQ(::ptrace(PTRACE_INTERRUPT, pid_, 0, 0), 0);
    EXPECT_TRUE(WIFSTOPPED(WaitStatus()));
    EXPECT_EQ(::ptrace(PTRACE_GETREGS, pid_, 0, &registers_), 0);
  }
  bool attached() const { return attached_; }

  // The result of the call, or nothing if it ended the process.
  std::optional<long> Call(long number, long a = 0, long b = 0, long c = 0, long d = 0) {
    user_regs_struct r = registers_;
    r.rip -= 2;  // the stop was at a system call: back to its `syscall` instruction
    r.orig_rax = ~0ull;
    r.rax = static_cast<unsigned long long>(number);
    r.rdi = static_cast<unsigned long long>(a);
    r.rsi = static_cast<unsigned long long>(b);
    r.rdx = static_cast<unsigned long long>(c);
    r.r10 = static_cast<unsigned long long>(d);
    EXPECT_EQ(::ptrace(PTRACE_SETREGS, pid_, 0, &r), 0);
    for (int stop = 0; stop < 2; ++stop) {  // entry and exit
      EXPECT_EQ(::ptrace(PTRACE_SYSCALL, pid_, 0, 0), 0);
      if (!WIFSTOPPED(WaitStatus())) return std::nullopt;
    }
    EXPECT_EQ(::ptrace(PTRACE_GETREGS, pid_, 0, &r), 0);
    return static_cast<long>(r.rax);
  }
  // Makes the call and lets the thread go on from there. A call that is killed by seccomp still has
  // its exit stop; the signal comes after it.
  void CallAndGoOn(long number, long a, long b, long c) {
    if (!Call(number, a, b, c)) return;
    EXPECT_EQ(::ptrace(PTRACE_SYSCALL, pid_, 0, 0), 0);
    WaitStatus();
  }
  // Puts a string where the call can point to: below the red zone of the stopped thread's stack.
  long String(const std::string& text) {
    unsigned long long at = registers_.rsp - 4096;
    std::string padded = text + std::string(8 - text.size() % 8, '\0');
    for (size_t i = 0; i < padded.size(); i += 8) {
      long word;
      std::memcpy(&word, padded.data() + i, 8);
      EXPECT_EQ(::ptrace(PTRACE_POKEDATA, pid_, at + i, word), 0);
    }
    return static_cast<long>(at);
  }
  int status() const { return status_; }

 private:
  int WaitStatus() {
    EXPECT_EQ(::waitpid(pid_, &status_, 0), pid_);
    return status_;
  }

  pid_t pid_;
  bool attached_ = false;
  user_regs_struct registers_{};
  int status_ = 0;
};

std::map<std::string, std::string> ProcStatus(pid_t pid) {
  std::map<std::string, std::string> fields;
  std::ifstream in("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(in, line);) {
    size_t colon = line.find(":\t");
    if (colon != line.npos) fields[line.substr(0, colon)] = line.substr(colon + 2);
  }
  return fields;
}

class BinaryTest : public ::testing::Test {
 protected:
  BinaryTest() {
    outside_.Write("secret", "outside");
    tree_.Write("f", "inside");
  }
  TempTree tree_, outside_;
};

TEST_F(BinaryTest, ServesAndEndsWithItsClients) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer's runtime does not keep to the seccomp list";
  GoferProcess gofer({{tree_.path()}});
  {
    auto client = gofer.Connect();
    File root = MUST(client->Attach());
    auto f = MUST(client->WalkOpen(root.fid, {"f"}, O_RDWR));
    char text[6];
    ASSERT_EQ(::pread(f.host.get(), text, 6, 0), 6);
    EXPECT_EQ(std::string_view(text, 6), "inside");
    auto made = MUST(client->Make(root.fid, "new", {.mode = S_IFREG | 0666, .flags = O_RDWR}));
    EXPECT_EQ(made.stat.attr.mode, mode_t{S_IFREG | 0666});  // no umask of its own
    EXPECT_TRUE(client->Make(root.fid, "d", {.mode = S_IFDIR | 0755}).ok());
    EXPECT_TRUE(client->Make(root.fid, "p", {.mode = S_IFIFO | 0600}).ok());
    EXPECT_TRUE(client->Link(root.fid, "linked", f.fid).ok());
    EXPECT_TRUE(
        client->SetAttr(f.fid, {.valid = kSetMode | kSetSize, .mode = 0600, .size = 3}).ok());
    EXPECT_TRUE(client->Rename(root.fid, "linked", root.fid, "renamed", 0).ok());
    EXPECT_FALSE(MUST(client->ReadDir(root.fid, 0)).empty());
    EXPECT_TRUE(client->ListXattr(f.fid).ok());
    EXPECT_TRUE(client->GetXattr(f.fid, "user.none").Is(Errno::kENODATA));
    (void)client->SetXattr(f.fid, "user.a", std::as_bytes(std::span("v")), 0);
    (void)client->RemoveXattr(f.fid, "user.a");
    EXPECT_TRUE(client->Make(root.fid, "l", {.mode = S_IFLNK, .target = "f"}).ok());
    EXPECT_TRUE(client->SetAttr(f.fid, {.valid = kSetAtime | kSetMtime}).ok());
    EXPECT_TRUE(client->SetAttr(f.fid, {.valid = kSetUid, .uid = ::geteuid()}).ok());
    auto unnamed =
        client->Make(root.fid, "", {.mode = S_IFREG | 0600, .flags = O_RDWR | O_TMPFILE});
    if (unnamed.ok()) {
      EXPECT_TRUE(client->Link(root.fid, "named", unnamed->fid).ok());
    }
    EXPECT_TRUE(client->Unlink(root.fid, "d", AT_REMOVEDIR).ok());
    EXPECT_TRUE(client->StatFs(root.fid).ok());
    EXPECT_TRUE(client->Fsync(f.fid).ok());
    EXPECT_TRUE(client->Unlink(root.fid, "renamed", 0).ok());
  }
  EXPECT_EQ(tree_.Read("f"), "ins");
  int status = gofer.Wait();
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

// A client without our extension, so that what only it asks for is tried against the seccomp list
// too; then bytes that are no request, which end its session.
class RawClient {
 public:
  explicit RawClient(UniqueFd socket) : socket_(std::move(socket)) {}

  template <typename Request>
  testing::AssertionResult Ask(const Request& request) {
    std::vector<std::byte> bytes;
    if (!EncodeFrame(1, request, bytes).ok() || !SendFrame(socket_.get(), bytes).ok()) {
      return testing::AssertionFailure() << "the gofer is gone";
    }
    auto received = ReceiveFrame(socket_.get(), kMaxMessageSize, buffer_);
    if (!received.ok()) return testing::AssertionFailure() << "no answer";
    if (received->frame.type == ResponseTo(Request::kType)) return testing::AssertionSuccess();
    auto error = DecodeBody<Rlerror>(received->frame.body);
    if (!error.ok()) return testing::AssertionFailure() << "another request's answer";
    return testing::AssertionFailure() << ErrnoName(static_cast<Errno>(error->error));
  }
  int socket() const { return socket_.get(); }

 private:
  UniqueFd socket_;
  std::vector<std::byte> buffer_;
};

TEST_F(BinaryTest, ServesAStandardClientAndSurvivesGarbage) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer's runtime does not keep to the seccomp list";
  GoferProcess gofer({{tree_.path()}});
  RawClient raw(gofer.TakeSocket());
  std::string text = "text";
  Blob data{std::as_bytes(std::span(text))};
  ASSERT_TRUE(raw.Ask(Tversion{.msize = 8192, .version = kVersionL}));
  ASSERT_TRUE(raw.Ask(Tattach{.fid = 0}));
  EXPECT_TRUE(raw.Ask(Twalk{.fid = 0, .newfid = 1, .names = {"f"}}));
  EXPECT_TRUE(raw.Ask(Tlopen{.fid = 1, .flags = O_RDWR}));
  EXPECT_TRUE(raw.Ask(Twrite{.fid = 1, .data = data}));
  EXPECT_TRUE(raw.Ask(Tread{.fid = 1, .count = 10}));
  EXPECT_TRUE(raw.Ask(Tlock{.fid = 1, .type = LockType::kWrite}));
  EXPECT_TRUE(raw.Ask(Tgetlock{.fid = 1, .type = LockType::kWrite}));
  EXPECT_TRUE(raw.Ask(Tfsync{.fid = 1}));
  EXPECT_TRUE(raw.Ask(Tfsync{.fid = 1, .datasync = 1}));
  EXPECT_TRUE(raw.Ask(Tsetattr{.fid = 1, .valid = kSetSize, .size = 2}));
  EXPECT_TRUE(raw.Ask(Tgetattr{.fid = 1}));
  EXPECT_TRUE(raw.Ask(Twalk{.fid = 0, .newfid = 2, .names = {}}));
  EXPECT_TRUE(raw.Ask(Tlopen{.fid = 2, .flags = O_RDONLY}));
  EXPECT_TRUE(raw.Ask(Treaddir{.fid = 2, .count = 4000}));
  EXPECT_TRUE(raw.Ask(Treaddir{.fid = 2, .count = 4000}));  // back to the start
  EXPECT_TRUE(raw.Ask(Tsymlink{.dfid = 0, .name = "l", .target = "f"}));
  EXPECT_TRUE(raw.Ask(Twalk{.fid = 0, .newfid = 3, .names = {"l"}}));
  EXPECT_TRUE(raw.Ask(Treadlink{3}));
  EXPECT_TRUE(raw.Ask(Trename{.fid = 3, .dfid = 0, .name = "m"}));
  EXPECT_TRUE(raw.Ask(Tremove{3}));
  EXPECT_TRUE(raw.Ask(Txattrwalk{.fid = 1, .newfid = 4}));
  EXPECT_TRUE(raw.Ask(Tstatfs{0}));
  EXPECT_TRUE(raw.Ask(Tclunk{4}));
  EXPECT_EQ(tree_.Read("f"), "te");
  ASSERT_TRUE(SendFrame(raw.socket(), std::as_bytes(std::span("\xff\xff\xff\xff garbage"))).ok());
  int status = gofer.Wait();
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

// Not only the session's own check: the mount is read-only, so even a broken server could not
// write.
TEST_F(BinaryTest, ReadOnlyTreeIsAReadOnlyMount) {
  GoferProcess gofer({{tree_.path(), Access::kReadOnly}});
  auto client = gofer.Connect();
  File root = MUST(client->Attach());
  auto f = MUST(client->WalkOpen(root.fid, {"f"}, O_RDONLY));
  EXPECT_TRUE(client->Make(root.fid, "n", {.mode = S_IFDIR}).Is(Errno::kEROFS));
  Injector inject(gofer.pid());
  if (!inject.attached()) GTEST_SKIP() << "ptrace is not permitted";
  // The root is the fid's descriptor: find one that is a directory.
  long name = inject.String("n");
  bool refused = false;
  for (int fd = 3; fd < 20; ++fd) {
    long result = inject.Call(SYS_mkdirat, fd, name, 0755).value();
    EXPECT_LT(result, 0);
    refused = refused || result == -EROFS;
  }
  EXPECT_TRUE(refused);
  inject.Call(SYS_exit_group, 0);
  gofer.Forget();
}

TEST_F(BinaryTest, MountsHaveSocketsOfTheirOwn) {
  GoferProcess gofer(
      {{tree_.path()}, {outside_.path(), Access::kReadOnly}, {outside_.At("secret")}},
      /*root_by_fd=*/true);
  auto main = gofer.Connect(0), folder = gofer.Connect(1), file = gofer.Connect(2);
  File root = MUST(main->Attach()), second = MUST(folder->Attach()), third = MUST(file->Attach());
  EXPECT_TRUE(main->Walk(root.fid, "f").ok());
  EXPECT_TRUE(main->Walk(root.fid, "secret").Is(Errno::kENOENT));
  EXPECT_TRUE(folder->Walk(second.fid, "secret").ok());
  EXPECT_TRUE(folder->Unlink(second.fid, "secret", 0).Is(Errno::kEROFS));
  EXPECT_TRUE(third.stat.attr.IsRegular());
  UniqueFd host = MUST(file->Open(third.fid, O_RDWR));
  EXPECT_EQ(::pwrite(host.get(), "O", 1, 0), 1);
  EXPECT_EQ(outside_.Read("secret"), "Outside");
  EXPECT_TRUE(file->Walk(third.fid, "x").Is(Errno::kENOTDIR));
}

TEST_F(BinaryTest, KeepsOnlyTheCapabilitiesOfFileServing) {
  GoferProcess gofer({{tree_.path()}});
  auto client = gofer.Connect();
  ASSERT_TRUE(client->Attach().ok());
  auto status = ProcStatus(gofer.pid());
  constexpr uint64_t kKept = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 27;
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapAmb"}) {
    EXPECT_EQ(std::stoull(status[set], nullptr, 16) & ~kKept, 0u) << set;
  }
  if (::geteuid() == 0) {
    EXPECT_EQ(std::stoull(status["CapBnd"], nullptr, 16) & ~kKept, 0u);
  }
  EXPECT_EQ(status["NoNewPrivs"], "1");
  EXPECT_EQ(status["Seccomp"], "2");
}

TEST_F(BinaryTest, MissingRootIsNamed) {
  GoferProcess gofer({{tree_.At("nowhere")}});
  int status = gofer.Wait();
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 1);
}

// --- Boundaries ---------------------------------------------------------------------------------

// Each of these is a call that a subverted gofer would like to make; the kernel kills it with
// SIGSYS.
struct Forbidden {
  const char* name;
  long number;
  long arguments[3];
};
class SeccompTest : public BinaryTest, public ::testing::WithParamInterface<Forbidden> {};

TEST_P(SeccompTest, KillsTheProcess) {
  GoferProcess gofer({{tree_.path()}});
  auto client = gofer.Connect();
  File root = MUST(client->Attach());
  Injector inject(gofer.pid());
  if (!inject.attached()) GTEST_SKIP() << "ptrace is not permitted";
  const Forbidden& call = GetParam();
  inject.CallAndGoOn(call.number, call.arguments[0], call.arguments[1], call.arguments[2]);
  if (WIFSTOPPED(inject.status())) ::kill(gofer.pid(), SIGKILL);
  ASSERT_TRUE(WIFSIGNALED(inject.status())) << call.name << " is allowed";
  EXPECT_EQ(WTERMSIG(inject.status()), SIGSYS);
  gofer.Forget();
  // All of it is gone, not only the thread that called.
  EXPECT_TRUE(client->GetStat(root.fid).Is(Errno::kEIO));
}

INSTANTIATE_TEST_SUITE_P(
    , SeccompTest,
    ::testing::Values(
        Forbidden{"socket", SYS_socket, {AF_INET, SOCK_STREAM, 0}},
        Forbidden{"execve", SYS_execve, {0, 0, 0}}, Forbidden{"clone", SYS_clone, {SIGCHLD, 0, 0}},
        Forbidden{"ptrace", SYS_ptrace, {PTRACE_TRACEME, 0, 0}},
        Forbidden{"mount", SYS_mount, {0, 0, 0}}, Forbidden{"chroot", SYS_chroot, {0, 0, 0}},
        Forbidden{"unshare", SYS_unshare, {0, 0, 0}}, Forbidden{"setuid", SYS_setuid, {0, 0, 0}},
        Forbidden{"kill", SYS_kill, {1, 9, 0}},
        Forbidden{"fcntl_F_SETFL", SYS_fcntl, {0, F_SETFL, 0}},
        Forbidden{"mmap_PROT_EXEC", SYS_mmap, {0, 4096, PROT_READ | PROT_EXEC}},
        Forbidden{"mprotect_PROT_EXEC", SYS_mprotect, {0, 4096, PROT_EXEC}}),
    [](const auto& info) { return std::string(info.param.name); });

// Even with the calls that it may make, and any path, a subverted gofer reaches nothing else.
TEST_F(BinaryTest, NothingOutsideTheTreesIsReachable) {
  ASSERT_EQ(::symlink(outside_.path().c_str(), tree_.At("out").c_str()), 0);
  GoferProcess gofer({{tree_.path()}});
  auto client = gofer.Connect();
  File root = MUST(client->Attach());
  Injector inject(gofer.pid());
  if (!inject.attached()) GTEST_SKIP() << "ptrace is not permitted";
  auto open = [&](int dir, const std::string& path) {
    long at = inject.String(path);
    return inject.Call(SYS_openat, dir, at, O_PATH).value();
  };
  auto expect_nothing = [&](int dir, const std::string& path) {
    long result = open(dir, path);
    EXPECT_TRUE(result == -ENOENT || result == -ENOTDIR || result == -EBADF)
        << "openat(" << dir << ", " << path << ") = " << result;
  };
  const std::string up = "../../../../../../../..";
  for (std::string target :
       {"/etc/passwd", "/proc/self/root/etc/passwd", "/proc/1/root/etc/passwd"}) {
    expect_nothing(AT_FDCWD, target);
  }
  expect_nothing(AT_FDCWD, outside_.At("secret"));
  for (std::string target : {"/etc/passwd", "/root", "/status", "/fd", "/1/root"}) {
    expect_nothing(AT_FDCWD, up + target);
  }
  int reached = 0;
  for (int fd = 0; fd < 20; ++fd) {
    expect_nothing(fd, up + "/etc/passwd");
    expect_nothing(fd, up + outside_.At("secret"));
    expect_nothing(fd, "out/secret");
    if (open(fd, "f") >= 0) ++reached;
    if (open(fd, up + "/f") >= 0) ++reached;  // ".." of the tree is the tree
  }
  EXPECT_GE(reached, 2);  // the descriptors tried were the right ones
  inject.Call(SYS_exit_group, 0);
  gofer.Forget();
}

}  // namespace
}  // namespace sandboxd::gofer
