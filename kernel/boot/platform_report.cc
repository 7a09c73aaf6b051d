#include "kernel/boot/platform_report.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

namespace sandboxd::boot {
namespace {

// What a trial ends with; a Linux errno that is in the way otherwise.
constexpr int kWorks = 0;
constexpr int kUnknownTrouble = 255;

int MakeStub(std::string_view name, const platform::PlatformOptions& options) {
  auto platform = platform::CreatePlatform(name, options);
  if (!platform.ok()) return static_cast<int>(platform.error());
  auto space = (*platform)->NewAddressSpace();
  if (!space.ok()) return static_cast<int>(space.error());
  (*space)->Kill();
  return kWorks;
}

// "" if a stub could be made.
std::string Trouble(std::string_view name, const platform::PlatformOptions& options) {
  const pid_t child = fork();
  if (child < 0) return "no process could be started to try it";
  if (child == 0) {
    const int trouble = MakeStub(name, options);
    _exit(trouble >= 0 && trouble < kUnknownTrouble ? trouble : kUnknownTrouble);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  if (WIFSIGNALED(status)) {
    return "starting a stub ended with signal " + std::to_string(WTERMSIG(status));
  }
  if (WEXITSTATUS(status) == kWorks) return "";
  if (WEXITSTATUS(status) == kUnknownTrouble) return "a stub could not be started";
  return std::string("a stub could not be started: ") +
         ErrnoMessage(static_cast<Errno>(WEXITSTATUS(status)));
}

}  // namespace

std::string PlatformReport(const platform::PlatformOptions& options) {
  std::string report;
  for (const platform::PlatformInfo& info : platform::ListPlatforms(options)) {
    const char* answer = "no";
    std::string reason = info.availability.reason;
    if (info.availability.available) {
      const std::string trouble = Trouble(info.name, options);
      if (trouble.empty()) {
        answer = info.availability.automatic ? "yes" : "slow";
      } else {
        reason = trouble;
      }
    }
    std::replace_if(
        reason.begin(), reason.end(), [](char c) { return c == '\t' || c == '\n'; }, ' ');
    report += std::string(info.name) + "\t" + answer + "\t" + reason + "\n";
  }
  return report;
}

}  // namespace sandboxd::boot
