#include "platform/testing/conformance.h"

#include <dirent.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <map>
#include <sstream>

namespace sandboxd::platform {

std::vector<std::string> AvailablePlatforms() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> found;
    for (const PlatformInfo& info : ListPlatforms()) {
      if (info.availability.available) {
        found.emplace_back(info.name);
      } else {
        std::printf("SKIPPED: platform %s: %s\n", std::string(info.name).c_str(),
                    info.availability.reason.c_str());
      }
    }
    return found;
  }();
  return names;
}

std::string PlatformTestName(const testing::TestParamInfo<std::string>& info) { return info.param; }

Platform& PlatformNamed(const std::string& name) {
  static std::map<std::string, std::unique_ptr<Platform>> platforms;
  std::unique_ptr<Platform>& p = platforms[name];
  if (p == nullptr) p = MUST(CreatePlatform(name));
  return *p;
}

int CountChildren() {
  int count = 0;
  DIR* tasks = opendir("/proc/self/task");
  while (dirent* e = readdir(tasks)) {
    if (e->d_name[0] == '.') continue;
    std::ifstream file(std::string("/proc/self/task/") + e->d_name + "/children");
    int pid;
    while (file >> pid) count++;
  }
  closedir(tasks);
  return count;
}

int CountOpenFds() {
  int count = 0;
  DIR* fds = opendir("/proc/self/fd");
  while (readdir(fds) != nullptr) count++;
  closedir(fds);
  return count;
}

void ConformanceTest::SetUp() {
  as_ = MUST(platform().NewAddressSpace());
  context_ = MUST(as_->NewContext());
  Map(kDataPage, PROT_READ | PROT_WRITE);
}

void ConformanceTest::LoadCode(ConstBytes code) {
  ASSERT_LE(code.size(), kPageSize);
  Map(Pages(kCode, 1), PROT_READ | PROT_WRITE);
  ASSERT_EQ(as().CopyOut(kCode, code), code.size());
  ASSERT_TRUE(as().Protect(*context_, Pages(kCode, 1), PROT_READ | PROT_EXEC).ok());
  Map(Pages(kStack - kPageSize, 1), PROT_READ | PROT_WRITE);
  regs_ = arch::InitialRegisters(kCode.value, kStack.value);
}

void ConformanceTest::Map(AddrRange range, int prot, Backing backing) {
  auto mapped = as().Map(*context_, range, prot, backing);
  ASSERT_TRUE(mapped.ok()) << ErrnoName(mapped.error());
}

uint64_t ConformanceTest::RunToSyscall(Context& context, arch::Registers& regs) {
  Stop stop = context.Switch(regs, StepMode::kRun);
  EXPECT_EQ(stop.kind, Stop::Kind::kSyscall) << "signal " << stop.fault.signo << " at rip "
                                             << regs.rip << " address " << stop.fault.addr.value;
  return regs.syscall_number();
}

uint32_t ConformanceTest::Peek(AddressSpace& as, UserAddr at) {
  uint32_t value = 0;
  EXPECT_EQ(as.CopyIn(at, AsWritableBytes(value)), sizeof(value));
  return value;
}

void ConformanceTest::Poke(AddressSpace& as, UserAddr at, uint32_t value) {
  EXPECT_EQ(as.CopyOut(at, AsBytes(value)), sizeof(value));
}

}  // namespace sandboxd::platform
