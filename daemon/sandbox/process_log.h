// The log of one process: its output in records with time and stream, in numbered files of bounded
// size of which the newest few are kept. A reader may follow while it is written.
//
//   io/NAME.log.1, io/NAME.log.2, …   the highest number is being written
//
// A record is a header (length u32, stream u8, nanoseconds u64; little endian, 13 bytes) and the
// bytes. One that a crash cut short is the last of its file and is skipped.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "daemon/error/error.h"
#include "platform/base/unique_fd.h"

namespace sandboxd::daemon {

struct LogLimits {
  uint64_t max_bytes = 16 << 20;  // of one file
  uint32_t max_files = 2;         // kept beside the one being written
};

struct LogRecord {
  uint8_t stream = 1;  // 1 stdout, 2 stderr
  int64_t time_ns = 0;
  std::string data;
  bool gap = false;  // something before this was rotated away, or could not be written
};

// Not thread-safe: the event loop's thread.
class LogWriter {
 public:
  // `folder` is an absolute path. Goes on behind what is there.
  LogWriter(std::string folder, std::string name, LogLimits limits);

  // Appends; rotates first if the file is full. When the disk is full the oldest files are given
  // up; if that does not help, the bytes are dropped, and counted.
  void Append(uint8_t stream, const char* data, size_t size);
  uint64_t dropped_bytes() const { return dropped_; }
  void RemoveAll();

 private:
  bool OpenNext();
  bool TryWrite(const std::string& record);

  const std::string folder_;
  const std::string name_;
  const LogLimits limits_;
  UniqueFd file_;
  uint64_t number_ = 0;
  uint64_t size_ = 0;
  uint64_t dropped_ = 0;
};

class LogReader {
 public:
  LogReader(std::string folder, std::string name);
  // Skips to where the last `lines` lines of what is there begin.
  void SkipToTail(uint32_t lines);
  // The next record; nothing at the present end.
  std::optional<LogRecord> Next();

 private:
  bool OpenFile(uint64_t number);
  std::optional<LogRecord> ReadRecord();

  const std::string folder_;
  const std::string name_;
  UniqueFd file_;
  uint64_t number_ = 0;
  uint64_t offset_ = 0;
  size_t skip_bytes_ = 0;  // of the first record, after SkipToTail
  bool gap_ = false;
};

// The numbers of the files that are there, ascending.
std::vector<uint64_t> LogFileNumbers(const std::string& folder, const std::string& name);

}  // namespace sandboxd::daemon
