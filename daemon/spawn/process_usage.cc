#include "daemon/spawn/process_usage.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace sandboxd::daemon {
namespace {

void AddOne(pid_t pid, ProcessUsage* usage) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  if (!std::getline(in, text)) return;
  const size_t end = text.rfind(')');
  if (end == std::string::npos) return;
  std::istringstream rest(text.substr(end + 1));
  std::string field;
  int64_t ticks = 0, pages = 0;
  for (int i = 3; i <= 24 && rest >> field; ++i) {
    // proc(5): utime, stime, cutime, cstime; rss.
    if (i >= 14 && i <= 17) ticks += std::strtoll(field.c_str(), nullptr, 10);
    if (i == 24) pages = std::strtoll(field.c_str(), nullptr, 10);
  }
  usage->cpu_ns += ticks * (1'000'000'000 / ::sysconf(_SC_CLK_TCK));
  usage->rss_bytes += static_cast<uint64_t>(pages) * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::vector<pid_t> ChildrenOf(pid_t pid) {
  std::vector<pid_t> out;
  std::error_code error;
  for (const auto& task :
       std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task", error)) {
    std::ifstream in(task.path() / "children");
    for (pid_t child; in >> child;) out.push_back(child);
  }
  return out;
}

}  // namespace

ProcessUsage UsageOfTrees(const std::vector<pid_t>& roots) {
  ProcessUsage usage;
  std::vector<pid_t> todo = roots;
  while (!todo.empty()) {
    const pid_t pid = todo.back();
    todo.pop_back();
    AddOne(pid, &usage);
    for (pid_t child : ChildrenOf(pid)) todo.push_back(child);
  }
  return usage;
}

}  // namespace sandboxd::daemon
