// Logging for the processes that must stay small (sandbox-kernel, sandbox-gofer). One line, one
// write(2), to a file descriptor that was opened before lock-down. The daemon and the tools use
// glog instead.
//
//   2026-11-22T10:20:30.123456Z W 1234 kernel/mm/vma.cc:88] text
//
// Thread-safe; not async-signal-safe. Lines longer than 4 KiB are cut.
#pragma once

namespace sandboxd {

enum class LogLevel : int { kDebug = 0, kInfo = 1, kWarning = 2, kError = 3, kFatal = 4 };

// Where lines go (default: 2) and from which level on (default: kInfo). Call before threads start.
void SetLogFd(int fd);
void SetLogLevel(LogLevel level);
bool LogEnabled(LogLevel level);

__attribute__((format(printf, 4, 5))) void LogLine(LogLevel level, const char* file, int line,
                                                   const char* format, ...);

}  // namespace sandboxd

#define SANDBOXD_LOG(level, ...)                                   \
  do {                                                             \
    if (::sandboxd::LogEnabled(level))                             \
      ::sandboxd::LogLine(level, __FILE__, __LINE__, __VA_ARGS__); \
  } while (0)
#define LOG_DEBUG(...) SANDBOXD_LOG(::sandboxd::LogLevel::kDebug, __VA_ARGS__)
#define LOG_INFO(...) SANDBOXD_LOG(::sandboxd::LogLevel::kInfo, __VA_ARGS__)
#define LOG_WARNING(...) SANDBOXD_LOG(::sandboxd::LogLevel::kWarning, __VA_ARGS__)
#define LOG_ERROR(...) SANDBOXD_LOG(::sandboxd::LogLevel::kError, __VA_ARGS__)
