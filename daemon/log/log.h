// The daemon's log: glog behind a name of ours, because glog and platform/base both define CHECK.
//
//   DAEMON_LOG(kWarning) << "sandbox " << id << ": " << why;
#pragma once

#include <memory>
#include <ostream>

namespace sandboxd::daemon {

enum class Severity { kInfo, kWarning, kError };

class LogStream {
 public:
  LogStream(Severity severity, const char* file, int line);
  ~LogStream();
  std::ostream& stream();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct LogOptions {
  const char* program = "sandboxd";
  // Empty: standard error.
  const char* directory = "";
};
void InitLogging(const LogOptions& options);

}  // namespace sandboxd::daemon

#define DAEMON_LOG(severity) \
  ::sandboxd::daemon::LogStream(::sandboxd::daemon::Severity::severity, __FILE__, __LINE__).stream()
