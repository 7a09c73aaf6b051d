#include "daemon/sandbox/process_log.h"

#include <fcntl.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>

#include "daemon/error/fault_point.h"

namespace sandboxd::daemon {
namespace {

constexpr size_t kHeaderSize = 13;
constexpr uint32_t kMaxRecord = 1 << 20;

std::string FilePath(const std::string& folder, const std::string& name, uint64_t number) {
  return folder + "/" + name + ".log." + std::to_string(number);
}

template <typename T>
void PutLittleEndian(std::string& out, T value) {
  for (size_t i = 0; i < sizeof value; ++i) {
    out.push_back(static_cast<char>(static_cast<uint64_t>(value) >> (8 * i)));
  }
}
template <typename T>
T GetLittleEndian(const char* bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) {
    value |= static_cast<uint64_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  }
  return static_cast<T>(value);
}

int64_t NowNanos() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

std::vector<uint64_t> LogFileNumbers(const std::string& folder, const std::string& name) {
  std::vector<uint64_t> numbers;
  std::error_code error;
  const std::string prefix = name + ".log.";
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string file = entry.path().filename();
    if (file.rfind(prefix, 0) != 0) continue;
    const std::string digits = file.substr(prefix.size());
    if (digits.empty() || digits.find_first_not_of("0123456789") != std::string::npos) continue;
    numbers.push_back(std::strtoull(digits.c_str(), nullptr, 10));
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

LogWriter::LogWriter(std::string folder, std::string name, LogLimits limits)
    : folder_(std::move(folder)), name_(std::move(name)), limits_(limits) {
  const auto numbers = LogFileNumbers(folder_, name_);
  // A new file rather than the end of the last one, whose last record may have been cut short.
  number_ = numbers.empty() ? 0 : numbers.back();
}

bool LogWriter::OpenNext() {
  const std::string path = FilePath(folder_, name_, number_ + 1);
  UniqueFd next(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600));
  if (!next.valid()) return false;
  file_ = std::move(next);
  ++number_;
  size_ = 0;
  for (uint64_t old : LogFileNumbers(folder_, name_)) {
    if (old + limits_.max_files >= number_) break;
    ::unlink(FilePath(folder_, name_, old).c_str());
  }
  return true;
}

bool LogWriter::TryWrite(const std::string& record) {
  if (!file_.valid() || (size_ > 0 && size_ + record.size() > limits_.max_bytes)) {
    if (!OpenNext()) return false;
  }
  if (FaultPoint("log.write") != 0) return false;
  const ssize_t n = ::write(file_.get(), record.data(), record.size());
  if (n == static_cast<ssize_t>(record.size())) {
    size_ += record.size();
    return true;
  }
  // A part of a record would hide those behind it.
  if (n > 0 && ::ftruncate(file_.get(), static_cast<off_t>(size_)) != 0) file_.Reset();
  return false;
}

void LogWriter::Append(uint8_t stream, const char* data, size_t size) {
  std::string record;
  record.reserve(kHeaderSize + size);
  PutLittleEndian(record, static_cast<uint32_t>(size));
  record.push_back(static_cast<char>(stream));
  PutLittleEndian(record, NowNanos());
  record.append(data, size);
  if (TryWrite(record)) return;
  for (uint64_t old : LogFileNumbers(folder_, name_)) {
    if (old >= number_) break;
    ::unlink(FilePath(folder_, name_, old).c_str());
    if (TryWrite(record)) return;
  }
  dropped_ += size;
}

void LogWriter::RemoveAll() {
  file_.Reset();
  for (uint64_t number : LogFileNumbers(folder_, name_)) {
    ::unlink(FilePath(folder_, name_, number).c_str());
  }
}

LogReader::LogReader(std::string folder, std::string name)
    : folder_(std::move(folder)), name_(std::move(name)) {}

bool LogReader::OpenFile(uint64_t number) {
  UniqueFd file(::open(FilePath(folder_, name_, number).c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return false;
  file_ = std::move(file);
  number_ = number;
  offset_ = 0;
  return true;
}

std::optional<LogRecord> LogReader::ReadRecord() {
  char header[kHeaderSize];
  if (::pread(file_.get(), header, kHeaderSize, static_cast<off_t>(offset_)) !=
      static_cast<ssize_t>(kHeaderSize)) {
    return std::nullopt;
  }
  const auto length = GetLittleEndian<uint32_t>(header);
  if (length > kMaxRecord) return std::nullopt;
  LogRecord record;
  record.stream = static_cast<uint8_t>(header[4]);
  record.time_ns = GetLittleEndian<int64_t>(header + 5);
  record.data.resize(length);
  if (::pread(file_.get(), record.data.data(), length, static_cast<off_t>(offset_ + kHeaderSize)) !=
      static_cast<ssize_t>(length)) {
    return std::nullopt;
  }
  offset_ += kHeaderSize + length;
  return record;
}

std::optional<LogRecord> LogReader::Next() {
  for (;;) {
    if (file_.valid()) {
      if (auto record = ReadRecord()) {
        record->gap = std::exchange(gap_, false);
        record->data.erase(0, std::exchange(skip_bytes_, 0));
        return record;
      }
    }
    // The file has no more: go on with the next one, if there is one.
    const auto numbers = LogFileNumbers(folder_, name_);
    const auto next = std::upper_bound(numbers.begin(), numbers.end(), number_);
    if (next == numbers.end()) return std::nullopt;
    // The writer appends to the old file until it makes the new one: look at it once more.
    if (file_.valid()) {
      if (auto record = ReadRecord()) return record;
    }
    const bool skipped = number_ != 0 && *next != number_ + 1;
    if (!OpenFile(*next)) {
      gap_ = true;
      number_ = *next;
      continue;
    }
    gap_ = gap_ || skipped;
  }
}

void LogReader::SkipToTail(uint32_t lines) {
  // Where each of the last `lines` + 1 line ends is, as (file, offset of the record, byte in it).
  struct Place {
    uint64_t number, offset;
    size_t byte;
  };
  std::deque<Place> starts;
  LogReader scan(folder_, name_);
  bool at_line_start = true;
  while (true) {
    auto record = scan.Next();
    if (!record) break;
    const uint64_t offset = scan.offset_ - kHeaderSize - record->data.size();
    for (size_t i = 0; i < record->data.size(); ++i) {
      if (at_line_start) {
        starts.push_back({scan.number_, offset, i});
        if (starts.size() > lines) starts.pop_front();
      }
      at_line_start = record->data[i] == '\n';
    }
  }
  if (starts.empty() || !OpenFile(starts.front().number)) return;
  offset_ = starts.front().offset;
  skip_bytes_ = starts.front().byte;
}

}  // namespace sandboxd::daemon
