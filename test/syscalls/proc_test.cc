// proc(5): what ps, top, libraries and language runtimes read.
#include <dirent.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#include <atomic>
#include <cstring>
#include <set>
#include <sstream>
#include <thread>
#include <vector>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

std::string Link(const std::string& path) {
  char text[4096];
  ssize_t n = readlink(path.c_str(), text, sizeof(text));
  return n < 0 ? std::string("errno ") + strerror(errno)
               : std::string(text, static_cast<size_t>(n));
}
std::string Self(const std::string& name) { return "/proc/self/" + name; }
std::set<std::string> List(const std::string& path) {
  std::set<std::string> names;
  DIR* dir = opendir(path.c_str());
  if (dir == nullptr) return names;
  while (dirent* e = readdir(dir)) names.insert(e->d_name);
  closedir(dir);
  return names;
}
// "Name:\tvalue" of a status file.
std::string Field(const std::string& text, const std::string& name) {
  size_t at = ("\n" + text).find("\n" + name + ":");
  if (at == std::string::npos) return "(none)";
  at += name.size() + 1;
  size_t end = text.find('\n', at);
  size_t first = text.find_first_not_of(" \t", at);
  return text.substr(first, end - first);
}
// Fields of /proc/PID/stat from the third on; field n is at [n - 3].
std::vector<std::string> StatFields(const std::string& text) {
  std::istringstream in(text.substr(text.rfind(')') + 2));
  std::vector<std::string> fields;
  for (std::string f; in >> f;) fields.push_back(f);
  return fields;
}
struct MapsLine {
  uintptr_t start = 0, end = 0;
  std::string rights, name;
};
std::vector<MapsLine> Maps() {
  std::vector<MapsLine> all;
  std::istringstream in(ReadFile(Self("maps")));
  for (std::string line; std::getline(in, line);) {
    MapsLine m;
    unsigned long start, end;
    char rights[8] = {}, name[256] = {};
    if (sscanf(line.c_str(), "%lx-%lx %7s %*s %*s %*s %255[^\n]", &start, &end, rights, name) < 3) {
      ADD_FAILURE() << line;
    }
    m.start = start;
    m.end = end;
    m.rights = rights;
    m.name = name;
    all.push_back(m);
  }
  return all;
}
const MapsLine* FindMap(const std::vector<MapsLine>& maps, const void* at) {
  auto a = reinterpret_cast<uintptr_t>(at);
  for (const MapsLine& m : maps) {
    if (a >= m.start && a < m.end) return &m;
  }
  return nullptr;
}

TEST(ProcTest, SelfNamesTheReader) {
  EXPECT_EQ(Link("/proc/self"), std::to_string(getpid()));
  std::string tid, pid = std::to_string(getpid());
  std::thread([&] { tid = Link("/proc/thread-self"); }).join();
  EXPECT_EQ(tid.substr(0, pid.size() + 6), pid + "/task/");
  EXPECT_NE(tid, pid + "/task/" + pid);
  struct statfs s;
  ASSERT_EQ(statfs("/proc", &s), 0);
  EXPECT_EQ(s.f_type, 0x9fa0);
}

// A thread that has been joined may still be on its way out.
void WaitUntilThreadsAre(const std::string& count) {
  while (Field(ReadFile(Self("status")), "Threads") != count) std::this_thread::yield();
}

TEST(ProcTest, StatTellsWhoAndHow) {
  WaitUntilThreadsAre("1");
  std::string text = ReadFile(Self("stat"));
  EXPECT_EQ(text.substr(0, text.find(' ')), std::to_string(getpid()));
  EXPECT_NE(text.find(" (proc_test) "), std::string::npos) << text;
  auto f = StatFields(text);
  ASSERT_EQ(f.size(), 50u) << text;
  EXPECT_EQ(f[0], "R");
  EXPECT_EQ(f[1], std::to_string(getppid()));
  EXPECT_EQ(f[2], std::to_string(getpgrp()));
  EXPECT_EQ(f[3], std::to_string(getsid(0)));
  EXPECT_EQ(f[17], "1") << "threads";
  EXPECT_GT(std::stoull(f[20]), 0u) << "vsize";
  EXPECT_GT(std::stoull(f[21]), 0u) << "rss";
}

TEST(ProcTest, StatShowsTheNiceValue) {
  int status = InChild([] {
    if (setpriority(PRIO_PROCESS, 0, 7) != 0) return 1;
    auto f = StatFields(ReadFile(Self("stat")));
    return f.size() > 16 && f[15] == "27" && f[16] == "7" ? 0 : 2;
  });
  EXPECT_TRUE(ExitedWith(status, 0)) << status;
}

TEST(ProcTest, CpuTimeGrows) {
  auto ticks = [] {
    auto f = StatFields(ReadFile(Self("stat")));
    return std::stoull(f[11]) + std::stoull(f[12]);
  };
  auto before = ticks();
  std::atomic<unsigned> work{0};
  while (ticks() < before + 2) {
    for (int i = 0; i < 1'000'000; i++) work.fetch_add(1, std::memory_order_relaxed);
  }
  EXPECT_GT(work, 0u);
}

TEST(ProcTest, StatusHasWhatPsReads) {
  WaitUntilThreadsAre("1");
  std::string text = ReadFile(Self("status"));
  EXPECT_EQ(Field(text, "Name"), "proc_test");
  EXPECT_EQ(Field(text, "State"), "R (running)");
  EXPECT_EQ(Field(text, "Pid"), std::to_string(getpid()));
  EXPECT_EQ(Field(text, "Tgid"), std::to_string(getpid()));
  EXPECT_EQ(Field(text, "PPid"), std::to_string(getppid()));
  std::string uid = std::to_string(getuid());
  EXPECT_EQ(Field(text, "Uid"), uid + "\t" + uid + "\t" + uid + "\t" + uid);
  EXPECT_EQ(Field(text, "Threads"), "1");
  for (const char* name : {"VmPeak", "VmSize", "VmRSS", "VmData", "VmStk", "VmExe", "SigCgt",
                           "CapEff", "NSpid", "Cpus_allowed_list", "voluntary_ctxt_switches"}) {
    EXPECT_NE(Field(text, name), "(none)") << name;
  }
}

TEST(ProcTest, MapsShowCodeHeapAndStack) {
  int local = 0;
  void* heap = malloc(100);
  auto maps = Maps();
  const MapsLine* code = FindMap(maps, reinterpret_cast<void*>(&Link));
  ASSERT_NE(code, nullptr);
  EXPECT_EQ(code->rights, "r-xp");
  EXPECT_EQ(code->name, Link(Self("exe")));
  const MapsLine* stack = FindMap(maps, &local);
  ASSERT_NE(stack, nullptr);
  EXPECT_EQ(stack->name, "[stack]");
  EXPECT_EQ(stack->rights, "rw-p");
  const MapsLine* brk = FindMap(maps, heap);
  ASSERT_NE(brk, nullptr);
  EXPECT_EQ(brk->name, "[heap]");
  free(heap);
}

TEST(ProcTest, MapsFollowMmap) {
  size_t page = PageSize();
  char* p =
      static_cast<char*>(mmap(nullptr, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(p, MAP_FAILED);
  ASSERT_EQ(mprotect(p + page, page, PROT_READ), 0);
  auto maps = Maps();
  const MapsLine* m = FindMap(maps, p + page);
  ASSERT_NE(m, nullptr);
  EXPECT_EQ(m->rights, "r--p");
  EXPECT_EQ(m->start, reinterpret_cast<uintptr_t>(p + page));
  EXPECT_EQ(m->end, reinterpret_cast<uintptr_t>(p + 2 * page));
  munmap(p, 3 * page);
  maps = Maps();
  EXPECT_EQ(FindMap(maps, p + page), nullptr);
  EXPECT_NE(ReadFile(Self("smaps")).find("VmFlags:"), std::string::npos);
}

TEST(ProcTest, CommandLineAndEnvironment) {
  std::string cmdline = ReadFile(Self("cmdline"));
  ASSERT_FALSE(cmdline.empty());
  EXPECT_EQ(cmdline.back(), '\0');
  EXPECT_NE(cmdline.find("proc_test"), std::string::npos);
  std::string environment = ReadFile(Self("environ"));
  if (const char* path = getenv("PATH")) {
    EXPECT_NE(environment.find(std::string("PATH=") + path), std::string::npos);
  }
}

TEST(ProcTest, CommCanBeSet) {
  EXPECT_EQ(ReadFile(Self("comm")), "proc_test\n");
  Fd fd(open(Self("comm").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644));
  ASSERT_GE(fd.get(), 0) << strerror(errno);
  ASSERT_EQ(write(fd.get(), "another", 7), 7);
  char name[16];
  ASSERT_EQ(prctl(PR_GET_NAME, name), 0);
  EXPECT_STREQ(name, "another");
  prctl(PR_SET_NAME, "proc_test");
  EXPECT_EQ(ReadFile(Self("comm")), "proc_test\n");
}

TEST(ProcTest, LinksLeadToPlaces) {
  char cwd[4096];
  ASSERT_NE(getcwd(cwd, sizeof(cwd)), nullptr);
  EXPECT_EQ(Link(Self("cwd")), cwd);
  EXPECT_EQ(Link(Self("root")), "/");
  struct stat a, b;
  ASSERT_EQ(stat(Self("root").c_str(), &a), 0);
  ASSERT_EQ(stat("/", &b), 0);
  EXPECT_EQ(a.st_ino, b.st_ino);
  Fd exe(open(Self("exe").c_str(), O_RDONLY));
  char magic[4] = {};
  EXPECT_EQ(read(exe.get(), magic, 4), 4);
  EXPECT_EQ(memcmp(magic, "\177ELF", 4), 0);
}

TEST(ProcTest, FdFolderShowsOpenFiles) {
  TempFile file("content");
  Fd fd = file.Open(O_RDONLY);
  std::string name = Self("fd/") + std::to_string(fd.get());
  EXPECT_EQ(Link(name), file.path());
  EXPECT_TRUE(List(Self("fd")).contains(std::to_string(fd.get())));
  char buffer[4];
  ASSERT_EQ(read(fd.get(), buffer, 3), 3);
  Fd again(open(name.c_str(), O_RDONLY));
  ASSERT_EQ(read(again.get(), buffer, 3), 3);
  EXPECT_EQ(memcmp(buffer, "con", 3), 0) << "a new description, from the start";
  std::string info = ReadFile(Self("fdinfo/") + std::to_string(fd.get()));
  EXPECT_EQ(Field(info, "pos"), "3");
  EXPECT_NE(Field(info, "flags"), "(none)");
  unlink(file.path());
  EXPECT_EQ(Link(name), std::string(file.path()) + " (deleted)");
  int pipes[2];
  ASSERT_EQ(pipe(pipes), 0);
  Fd in(pipes[0]), out(pipes[1]);
  EXPECT_EQ(Link(Self("fd/") + std::to_string(in.get())).substr(0, 6), "pipe:[");
  struct stat s;
  EXPECT_ERRNO(ENOENT, static_cast<intptr_t>(lstat(Self("fd/9999").c_str(), &s)));
}

TEST(ProcTest, TaskFolderHasTheThreads) {
  std::atomic<bool> stop{false};
  std::atomic<int> tid{0};
  std::thread thread([&] {
    prctl(PR_SET_NAME, "second");
    tid = static_cast<int>(syscall(SYS_gettid));
    while (!stop) std::this_thread::yield();
  });
  while (tid == 0) std::this_thread::yield();
  auto threads = List(Self("task"));
  EXPECT_TRUE(threads.contains(std::to_string(getpid())));
  EXPECT_TRUE(threads.contains(std::to_string(tid)));
  EXPECT_EQ(ReadFile(Self("task/") + std::to_string(tid) + "/comm"), "second\n");
  WaitUntilThreadsAre("2");
  stop = true;
  thread.join();
}

TEST(ProcTest, ProcessesComeAndGo) {
  int ready[2], done[2];
  ASSERT_EQ(pipe(ready), 0);
  ASSERT_EQ(pipe(done), 0);
  pid_t pid = fork();
  if (pid == 0) {
    char c;
    if (write(ready[1], "r", 1) != 1) _exit(1);
    _exit(read(done[0], &c, 1) == 1 ? 0 : 1);
  }
  char c;
  ASSERT_EQ(read(ready[0], &c, 1), 1);
  std::string dir = "/proc/" + std::to_string(pid);
  EXPECT_TRUE(List("/proc").contains(std::to_string(pid)));
  EXPECT_EQ(Field(ReadFile(dir + "/status"), "PPid"), std::to_string(getpid()));
  Fd kept(open((dir + "/stat").c_str(), O_RDONLY));
  ASSERT_EQ(write(done[1], "d", 1), 1);
  siginfo_t info;
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);
  EXPECT_EQ(Field(ReadFile(dir + "/status"), "State"), "Z (zombie)");
  EXPECT_EQ(ReadFile(dir + "/cmdline"), "");
  EXPECT_EQ(waitpid(pid, nullptr, 0), pid);
  struct stat s;
  EXPECT_ERRNO(ENOENT, static_cast<intptr_t>(stat(dir.c_str(), &s)));
  char buffer[100];
  EXPECT_ERRNO(ESRCH, static_cast<intptr_t>(read(kept.get(), buffer, sizeof(buffer))));
  for (int fd : {ready[0], ready[1], done[0], done[1]}) close(fd);
}

TEST(ProcTest, FilesAreReadAgainFromTheStart) {
  Fd fd(open("/proc/self/comm", O_RDONLY));
  char buffer[64] = {};
  ASSERT_GT(read(fd.get(), buffer, sizeof(buffer)), 0);
  EXPECT_EQ(read(fd.get(), buffer, sizeof(buffer)), 0);
  prctl(PR_SET_NAME, "changed");
  ASSERT_EQ(lseek(fd.get(), 0, SEEK_SET), 0);
  memset(buffer, 0, sizeof(buffer));
  ASSERT_GT(read(fd.get(), buffer, sizeof(buffer)), 0);
  EXPECT_STREQ(buffer, "changed\n");
  prctl(PR_SET_NAME, "proc_test");
}

TEST(ProcTest, MemIsTheMemory) {
  char word[] = "look here";
  Fd fd(open(Self("mem").c_str(), O_RDWR));
  ASSERT_GE(fd.get(), 0);
  char buffer[16] = {};
  auto at = static_cast<off_t>(reinterpret_cast<uintptr_t>(word));
  EXPECT_EQ(pread(fd.get(), buffer, sizeof(word), at), static_cast<ssize_t>(sizeof(word)));
  EXPECT_STREQ(buffer, "look here");
  EXPECT_EQ(pwrite(fd.get(), "L", 1, at), 1);
  EXPECT_EQ(*const_cast<volatile char*>(word), 'L');
  EXPECT_ERRNO(EIO, static_cast<intptr_t>(pread(fd.get(), buffer, 1, 4096)));
}

TEST(ProcTest, LimitsAreTheRlimits) {
  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  char line[100];
  snprintf(line, sizeof(line), "%-25s %-20llu", "Max open files",
           static_cast<unsigned long long>(limit.rlim_cur));
  EXPECT_NE(ReadFile(Self("limits")).find(line), std::string::npos);
}

TEST(ProcTest, SystemFilesAreWellFormed) {
  std::string cpuinfo = ReadFile("/proc/cpuinfo");
  long cpus = 0;
  for (size_t at = 0; (at = cpuinfo.find("processor\t:", at)) != std::string::npos; at++) cpus++;
  EXPECT_EQ(cpus, sysconf(_SC_NPROCESSORS_ONLN));
  EXPECT_NE(cpuinfo.find("flags\t\t:"), std::string::npos);
  EXPECT_GT(atol(Field(ReadFile("/proc/meminfo"), "MemTotal").c_str()), 0);
  EXPECT_GT(atol(Field(ReadFile("/proc/meminfo"), "MemAvailable").c_str()), 0);
  EXPECT_GT(atof(ReadFile("/proc/uptime").c_str()), 0);
  EXPECT_EQ(ReadFile("/proc/version").substr(0, 14), "Linux version ");
  EXPECT_EQ(ReadFile("/proc/stat").substr(0, 5), "cpu  ");
  EXPECT_NE(ReadFile("/proc/stat").find("\nbtime "), std::string::npos);
  double load[3];
  int running, all, last;
  EXPECT_EQ(sscanf(ReadFile("/proc/loadavg").c_str(), "%lf %lf %lf %d/%d %d", &load[0], &load[1],
                   &load[2], &running, &all, &last),
            6);
  EXPECT_NE(ReadFile("/proc/filesystems").find("nodev\tproc\n"), std::string::npos);
  EXPECT_NE(ReadFile("/proc/mounts").find(" /proc proc "), std::string::npos);
  EXPECT_NE(ReadFile(Self("mountinfo")).find(" /proc "), std::string::npos);
}

TEST(ProcTest, SysctlsAgreeWithUname) {
  utsname name;
  ASSERT_EQ(uname(&name), 0);
  EXPECT_EQ(ReadFile("/proc/sys/kernel/hostname"), std::string(name.nodename) + "\n");
  EXPECT_EQ(ReadFile("/proc/sys/kernel/osrelease"), std::string(name.release) + "\n");
  EXPECT_EQ(ReadFile("/proc/sys/kernel/ostype"), "Linux\n");
  EXPECT_GE(atoi(ReadFile("/proc/sys/kernel/pid_max").c_str()), 1000);
  std::string first = ReadFile("/proc/sys/kernel/random/uuid");
  EXPECT_EQ(first.size(), 37u);
  EXPECT_NE(first, ReadFile("/proc/sys/kernel/random/uuid"));
  EXPECT_EQ(ReadFile("/proc/sys/kernel/random/boot_id"),
            ReadFile("/proc/sys/kernel/random/boot_id"));
  EXPECT_EQ(ReadFile("/proc/sys/vm/overcommit_memory").size(), 2u);
}

TEST(ProcTest, NamesCannotBeMadeOrRemoved) {
  EXPECT_ERRNO(ENOENT, static_cast<intptr_t>(open("/proc/nope", O_CREAT | O_WRONLY, 0644)));
  EXPECT_EQ(mkdir("/proc/nope", 0755), -1);
  EXPECT_ERRNO(EPERM, static_cast<intptr_t>(unlink("/proc/self/stat")));
  EXPECT_ERRNO(ENOENT, static_cast<intptr_t>(open("/proc/self/nope", O_RDONLY)));
  EXPECT_ERRNO(ENOENT, static_cast<intptr_t>(open("/proc/0123", O_RDONLY)));
  EXPECT_EQ(rename("/proc/self/stat", "/proc/self/nope"), -1);
}

TEST(ProcTest, NamespacesHaveNumbers) {
  std::string own = Link(Self("ns/pid"));
  EXPECT_EQ(own.substr(0, 5), "pid:[");
  std::string child;
  EXPECT_TRUE(ExitedWith(InChild([&] { return Link("/proc/self/ns/pid") == own ? 0 : 1; }), 0));
}

}  // namespace
}  // namespace sandboxd::test
