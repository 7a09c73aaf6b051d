// execve(2), execveat(2): what the new program finds, and what is refused. The program is this one,
// started with --report.
#include <signal.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cstring>
#include <thread>
#include <vector>

#include "test/syscalls/testing.h"

extern char** environ;

namespace sandboxd::test {
namespace {

int Report(int argc, char** argv) {
  std::string out;
  char name[16] = {};
  prctl(PR_GET_NAME, name);
  out += std::string("comm=") + name + "\n";
  for (int i = 0; i < argc; i++) out += std::string("arg=") + argv[i] + "\n";
  for (char** e = environ; *e != nullptr; e++) out += std::string("env=") + *e + "\n";
  out += std::string("execfn=") + reinterpret_cast<const char*>(getauxval(AT_EXECFN)) + "\n";
  out += "pid=" + std::to_string(getpid()) + "\n";
  out += "fd99=" + std::to_string(fcntl(99, F_GETFD)) + "\n";
  struct sigaction usr1, usr2;
  sigaction(SIGUSR1, nullptr, &usr1);
  sigaction(SIGUSR2, nullptr, &usr2);
  out += std::string("usr1=") + (usr1.sa_handler == SIG_IGN ? "ignored" : "default") + "\n";
  out += std::string("usr2=") + (usr2.sa_handler == SIG_DFL ? "default" : "other") + "\n";
  bool aux = getauxval(AT_PAGESZ) == PageSize() && getauxval(AT_PHDR) != 0 &&
             getauxval(AT_ENTRY) != 0 && getauxval(AT_RANDOM) != 0 && getauxval(AT_SECURE) == 0 &&
             getauxval(AT_UID) == getuid() && getauxval(AT_CLKTCK) == 100;
  out += std::string("aux=") + (aux ? "good" : "bad") + "\n";
  return write(1, out.data(), out.size()) == static_cast<ssize_t>(out.size()) ? 0 : 1;
}

std::string SelfPath() {
  char path[4096];
  ssize_t n = readlink("/proc/self/exe", path, sizeof(path));
  return n > 0 ? std::string(path, static_cast<size_t>(n)) : "";
}

// Runs `start` in a child with its output into a pipe; what came out.
std::string OutputOf(const std::function<void()>& start) {
  int fds[2];
  EXPECT_EQ(pipe(fds), 0);
  fflush(nullptr);
  pid_t pid = fork();
  if (pid == 0) {
    dup2(fds[1], 1);
    close(fds[0]);
    close(fds[1]);
    start();
    std::string failed = std::string("failed=") + strerror(errno) + "\n";
    if (write(1, failed.data(), failed.size()) < 0) _exit(126);
    _exit(127);
  }
  close(fds[1]);
  std::string out;
  char buffer[4096];
  for (ssize_t n; (n = read(fds[0], buffer, sizeof(buffer))) > 0;) {
    out.append(buffer, static_cast<size_t>(n));
  }
  close(fds[0]);
  int status;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  return out + "pid was " + std::to_string(pid) + "\n";
}

std::string Exec(const std::string& path, std::vector<std::string> args,
                 std::vector<std::string> env = {}) {
  return OutputOf([&] {
    std::vector<char*> argv, envp;
    for (auto& a : args) argv.push_back(a.data());
    for (auto& e : env) envp.push_back(e.data());
    argv.push_back(nullptr);
    envp.push_back(nullptr);
    execve(path.c_str(), argv.data(), envp.data());
  });
}
int ExecErrno(const std::string& path, std::vector<std::string> args = {"x"}) {
  int status = InChild([&] {
    std::vector<char*> argv;
    for (auto& a : args) argv.push_back(a.data());
    argv.push_back(nullptr);
    char* envp[] = {nullptr};
    execve(path.c_str(), argv.data(), envp);
    return errno;
  });
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
bool Has(const std::string& out, const std::string& line) {
  return ("\n" + out).find("\n" + line + "\n") != std::string::npos;
}

class Script : public TempFile {
 public:
  explicit Script(const std::string& text, mode_t mode = 0755) : TempFile(text) {
    EXPECT_EQ(chmod(path(), mode), 0);
  }
};

TEST(ExecTest, ArgumentsAndEnvironmentArrive) {
  std::string out = Exec(SelfPath(), {"zero", "--report", "", "two words"}, {"A=1", "B="});
  EXPECT_TRUE(Has(out, "arg=zero")) << out;
  EXPECT_TRUE(Has(out, "arg=\narg=two words")) << out;
  EXPECT_TRUE(Has(out, "env=A=1\nenv=B=")) << out;
  EXPECT_TRUE(Has(out, "execfn=" + SelfPath())) << out;
  EXPECT_TRUE(Has(out, "aux=good")) << out;
}

TEST(ExecTest, CommIsTheFilesName) {
  std::string link = "/tmp/a-name-of-more-than-fifteen-" + std::to_string(getpid());
  ASSERT_EQ(symlink(SelfPath().c_str(), link.c_str()), 0);
  std::string out = Exec(link, {"other", "--report"});
  unlink(link.c_str());
  EXPECT_TRUE(Has(out, "comm=a-name-of-more-")) << out;
}

TEST(ExecTest, ManyArgumentsArrive) {
  std::vector<std::string> args = {"x", "--report"};
  for (int i = 0; i < 1000; i++) args.push_back(std::string(100, 'y') + std::to_string(i));
  std::string out = Exec(SelfPath(), args);
  EXPECT_TRUE(Has(out, "arg=" + std::string(100, 'y') + "999"));
}

TEST(ExecTest, ScriptsRunTheirInterpreter) {
  if (SelfPath().size() > 200) GTEST_SKIP() << "the path of this program is too long for a script";
  Script script("#! " + SelfPath() + "  --report more \nrest\n");
  std::string out = Exec(script.path(), {"ignored", "last"});
  EXPECT_TRUE(
      Has(out, "arg=" + SelfPath() + "\narg=--report more\narg=" + script.path() + "\narg=last"))
      << out;
}

TEST(ExecTest, ScriptErrors) {
  EXPECT_EQ(ExecErrno(Script("#!/no/such/interpreter\n").path()), ENOENT);
  EXPECT_EQ(ExecErrno(Script("#!\n").path()), ENOEXEC);
  EXPECT_EQ(ExecErrno(Script("echo\n").path()), ENOEXEC);
  EXPECT_EQ(ExecErrno(Script("").path()), ENOEXEC);
  std::string self = "/tmp/exec_test_loop_" + std::to_string(getpid());
  Script loop("#!" + self + "\n");
  ASSERT_EQ(symlink(loop.path(), self.c_str()), 0);
  EXPECT_EQ(ExecErrno(self), ELOOP);
  unlink(self.c_str());
}

TEST(ExecTest, Refusals) {
  EXPECT_EQ(ExecErrno("/no/such/file"), ENOENT);
  EXPECT_EQ(ExecErrno(""), ENOENT);
  EXPECT_EQ(ExecErrno("/"), EACCES);
  EXPECT_EQ(ExecErrno(SelfPath() + "/x"), ENOTDIR);
  EXPECT_EQ(ExecErrno(Script("#!/bin/sh\n", 0644).path()), EACCES);
  EXPECT_EQ(ExecErrno(std::string(5000, 'a')), ENAMETOOLONG);
  EXPECT_EQ(ExecErrno(SelfPath(), {"x", std::string(200'000, 'a')}), E2BIG);
  EXPECT_EQ(ExecErrno(SelfPath(), std::vector<std::string>(100, std::string(100'000, 'a'))), E2BIG);
  int status = InChild([] {
    syscall(SYS_execve, 16, nullptr, nullptr);
    return errno == EFAULT ? 0 : 1;
  });
  EXPECT_TRUE(ExitedWith(status, 0));
}

TEST(ExecTest, CorruptProgramsAreEnoexec) {
  std::string elf = ReadFile(SelfPath()).substr(0, 4096);
  EXPECT_EQ(ExecErrno(Script(elf.substr(0, 20)).path()), ENOEXEC);
  std::string arm = elf;
  arm[18] = static_cast<char>(183);  // e_machine: EM_AARCH64
  EXPECT_EQ(ExecErrno(Script(arm).path()), ENOEXEC);
  std::string none = elf;
  none[56] = none[57] = 0;  // e_phnum
  EXPECT_EQ(ExecErrno(Script(none).path()), ENOEXEC);
}

TEST(ExecTest, CloseOnExecCloses) {
  std::string self = SelfPath();
  auto run = [&](int flags) {
    return OutputOf([&] {
      int fd = open("/", O_RDONLY | O_DIRECTORY);
      dup3(fd, 99, flags);
      execl(self.c_str(), "x", "--report", nullptr);
    });
  };
  EXPECT_TRUE(Has(run(0), "fd99=0"));
  EXPECT_TRUE(Has(run(O_CLOEXEC), "fd99=-1"));
}

TEST(ExecTest, HandlersAreResetIgnoredStay) {
  std::string self = SelfPath();
  std::string out = OutputOf([&] {
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, [](int) {});
    execl(self.c_str(), "x", "--report", nullptr);
  });
  EXPECT_TRUE(Has(out, "usr1=ignored")) << out;
  EXPECT_TRUE(Has(out, "usr2=default")) << out;
}

TEST(ExecTest, AThreadsExecKeepsTheProcessId) {
  std::string self = SelfPath();
  std::string out =
      OutputOf([&] { std::thread([&] { execl(self.c_str(), "x", "--report", nullptr); }).join(); });
  size_t was = out.rfind("pid was ");
  ASSERT_NE(was, std::string::npos);
  std::string pid = out.substr(was + 8);
  EXPECT_NE(out.find("pid=" + pid), std::string::npos) << out;
}

TEST(ExecTest, DescriptorsCanBeExecuted) {
  std::string self = SelfPath();
  std::string out = OutputOf([&] {
    int fd = open(self.c_str(), O_RDONLY | O_CLOEXEC);
    char* argv[] = {const_cast<char*>("x"), const_cast<char*>("--report"), nullptr};
    syscall(SYS_execveat, fd, "", argv, environ, AT_EMPTY_PATH);
  });
  EXPECT_TRUE(Has(out, "arg=x")) << out;
  EXPECT_NE(out.find("execfn=/dev/fd/"), std::string::npos) << out;
}

TEST(ExecTest, VforkedChildCanExec) {
  std::string self = SelfPath();
  std::string out = OutputOf([&] {
    pid_t pid = vfork();
    if (pid == 0) {
      execl(self.c_str(), "x", "--report", nullptr);
      _exit(127);
    }
    int status;
    waitpid(pid, &status, 0);
    _exit(0);
  });
  EXPECT_TRUE(Has(out, "arg=x")) << out;
}

}  // namespace
}  // namespace sandboxd::test

int main(int argc, char** argv) {
  if (argc > 1 && strncmp(argv[1], "--report", 8) == 0) return sandboxd::test::Report(argc, argv);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
