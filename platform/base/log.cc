#include "platform/base/log.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <ctime>

#include "platform/base/check.h"

namespace sandboxd {
namespace {

// Written before threads start, read by all of them: relaxed is enough.
std::atomic<int> g_log_fd{2};
std::atomic<int> g_log_level{static_cast<int>(LogLevel::kInfo)};

struct UtcTime {
  int year, month, day, hour, minute, second;
};

// gmtime_r(3) reads /etc/localtime the first time, which a process that is locked down may not.
UtcTime ToUtc(int64_t seconds) {
  using namespace std::chrono;
  const sys_seconds now{std::chrono::seconds(seconds)};
  const sys_days day = floor<days>(now);
  const year_month_day date(day);
  const hh_mm_ss time(now - day);
  return {static_cast<int>(date.year()),
          static_cast<int>(unsigned{date.month()}),
          static_cast<int>(unsigned{date.day()}),
          static_cast<int>(time.hours().count()),
          static_cast<int>(time.minutes().count()),
          static_cast<int>(time.seconds().count())};
}

void VLogLine(LogLevel level, const char* file, int line, const char* format, va_list args) {
  char buffer[4096];
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  const UtcTime utc = ToUtc(now.tv_sec);
  int n =
      snprintf(buffer, sizeof(buffer), "%04d-%02d-%02dT%02d:%02d:%02d.%06ldZ %c %d %s:%d] ",
               utc.year, utc.month, utc.day, utc.hour, utc.minute, utc.second, now.tv_nsec / 1000,
               "DIWEF"[static_cast<int>(level)], static_cast<int>(syscall(SYS_gettid)), file, line);
  int left = static_cast<int>(sizeof(buffer)) - n - 1;
  int m = vsnprintf(buffer + n, left, format, args);
  n += m < left ? m : left - 1;
  buffer[n++] = '\n';
  // A log that can't be written must not stop the sandbox.
  [[maybe_unused]] ssize_t written = write(g_log_fd.load(std::memory_order_relaxed), buffer, n);
}

}  // namespace

void SetLogFd(int fd) { g_log_fd.store(fd, std::memory_order_relaxed); }
void SetLogLevel(LogLevel level) {
  g_log_level.store(static_cast<int>(level), std::memory_order_relaxed);
}
bool LogEnabled(LogLevel level) {
  return static_cast<int>(level) >= g_log_level.load(std::memory_order_relaxed);
}

void LogLine(LogLevel level, const char* file, int line, const char* format, ...) {
  va_list args;
  va_start(args, format);
  VLogLine(level, file, line, format, args);
  va_end(args);
}

namespace internal {
void CheckFailed(const char* file, int line, const char* condition, const char* format, ...) {
  char text[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof(text), format, args);
  va_end(args);
  LogLine(LogLevel::kFatal, file, line, "CHECK failed: %s %s", condition, text);
  abort();
}
}  // namespace internal

}  // namespace sandboxd
