#include "daemon/log/log.h"

#include <glog/logging.h>

namespace sandboxd::daemon {

struct LogStream::Impl {
  Impl(const char* file, int line, int severity) : message(file, line, severity) {}
  google::LogMessage message;
};

namespace {
int GlogSeverity(Severity severity) {
  switch (severity) {
    case Severity::kInfo:
      return google::GLOG_INFO;
    case Severity::kWarning:
      return google::GLOG_WARNING;
    case Severity::kError:
      return google::GLOG_ERROR;
  }
  return google::GLOG_ERROR;
}
}  // namespace

LogStream::LogStream(Severity severity, const char* file, int line)
    : impl_(std::make_unique<Impl>(file, line, GlogSeverity(severity))) {}
LogStream::~LogStream() = default;
std::ostream& LogStream::stream() { return impl_->message.stream(); }

void InitLogging(const LogOptions& options) {
  if (options.directory[0] == '\0') {
    FLAGS_logtostderr = true;
  } else {
    FLAGS_log_dir = options.directory;
    FLAGS_max_log_size = 64;  // MB a file
    FLAGS_logbufsecs = 0;
  }
  google::InitGoogleLogging(options.program);
}

}  // namespace sandboxd::daemon
