#include "daemon/spawn/cgroup_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <sstream>

#include "platform/base/unique_fd.h"

namespace sandboxd::daemon {
namespace {

std::optional<uint64_t> ParseNumber(const std::string& text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end == text.data()) return std::nullopt;
  return number;
}

}  // namespace

std::optional<std::string> ReadCgroupFile(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return std::nullopt;
  std::string text;
  char buffer[4096];
  for (;;) {
    const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return std::nullopt;
    if (n == 0) break;
    text.append(buffer, static_cast<size_t>(n));
  }
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

std::optional<uint64_t> ReadCgroupNumber(const std::string& path) {
  const auto text = ReadCgroupFile(path);
  return text ? ParseNumber(*text) : std::nullopt;
}

std::optional<uint64_t> ReadCgroupKey(const std::string& path, const std::string& key) {
  const auto text = ReadCgroupFile(path);
  if (!text) return std::nullopt;
  std::istringstream in(*text);
  std::string name, value;
  while (in >> name >> value) {
    if (name == key) return ParseNumber(value);
  }
  return std::nullopt;
}

int WriteCgroupFile(const std::string& path, const std::string& text) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.valid()) return errno;
  ssize_t n;
  do {
    n = ::write(fd.get(), text.data(), text.size());
  } while (n < 0 && errno == EINTR);
  return n < 0 ? errno : 0;
}

}  // namespace sandboxd::daemon
