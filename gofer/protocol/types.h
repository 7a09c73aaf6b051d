// The structures that 9P2000.L messages are made of, and its numbers.
// Sources: the 9P2000.L description of the diod project (protocol.md) and 9P's intro(5).
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>

namespace sandboxd::gofer {

inline constexpr uint32_t kNoFid = ~uint32_t{0};
inline constexpr uint16_t kNoTag = ~uint16_t{0};  // Tversion's
inline constexpr uint32_t kNoUid = ~uint32_t{0};

// Frame: size[4] type[1] tag[2] and the body. `size` counts itself.
inline constexpr uint32_t kHeaderSize = 7;
// Rread, Twrite, Rreaddir: what surrounds their data. A client subtracts it from msize.
inline constexpr uint32_t kIoHeaderSize = 24;
inline constexpr uint32_t kMinMessageSize = 4096;
inline constexpr uint32_t kMaxMessageSize = 128 * 1024;
inline constexpr uint32_t kDefaultMessageSize = 64 * 1024;
inline constexpr size_t kMaxWalkNames = 16;  // MAXWELEM

// Version strings. The second one adds the messages from 200 on and the donation of a host file
// descriptor with the response to any open.
inline constexpr char kVersionL[] = "9P2000.L";
inline constexpr char kVersionSandboxd[] = "9P2000.L.sandboxd1";
inline constexpr char kVersionUnknown[] = "unknown";

enum class QidType : uint8_t { kDirectory = 0x80, kSymlink = 0x02, kFile = 0x00 };

// The server's name for a file, unique among the files it serves while they exist.
struct Qid {
  QidType type = QidType::kFile;
  uint32_t version = 0;  // changes when the content does
  uint64_t path = 0;

  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.type, s.version, s.path);
  }
  bool operator==(const Qid&) const = default;
};

struct Time {
  uint64_t seconds = 0;  // two's complement, as on every Linux
  uint64_t nanos = 0;

  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.seconds, s.nanos);
  }
  bool operator==(const Time&) const = default;
};

// Rgetattr's attributes. Device numbers are in Linux's 64-bit dev_t form.
struct Attr {
  uint32_t mode = 0;  // with the S_IFMT bits
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t nlink = 0;
  uint64_t rdev = 0;
  uint64_t size = 0;
  uint64_t blksize = 0;
  uint64_t blocks = 0;  // of 512 bytes
  Time atime, mtime, ctime, btime;
  uint64_t gen = 0;
  uint64_t data_version = 0;

  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.mode, s.uid, s.gid, s.nlink, s.rdev, s.size, s.blksize, s.blocks, s.atime, s.mtime, s.ctime,
      s.btime, s.gen, s.data_version);
  }
  bool operator==(const Attr&) const = default;

  bool IsDirectory() const { return S_ISDIR(mode); }
  bool IsRegular() const { return S_ISREG(mode); }
  bool IsSymlink() const { return S_ISLNK(mode); }
};

// Extension: everything that stat(2) and statx(2) report.
struct Stat {
  Qid qid;
  Attr attr;
  uint64_t dev = 0;  // of the host
  uint64_t ino = 0;  // of the host

  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.qid, s.attr, s.dev, s.ino);
  }
  bool operator==(const Stat&) const = default;
};

// One entry of Rreaddir's data.
struct DirEntry {
  Qid qid;
  uint64_t offset = 0;  // where to go on after this entry
  uint8_t type = 0;     // DT_*
  std::string name;

  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.qid, s.offset, s.type, s.name);
  }
  bool operator==(const DirEntry&) const = default;
};

// Tgetattr request_mask and Rgetattr valid.
inline constexpr uint64_t kGetattrBasic = 0x000007ff;
inline constexpr uint64_t kGetattrAll = 0x00003fff;

// Tsetattr valid.
enum SetattrBits : uint32_t {
  kSetMode = 0x001,
  kSetUid = 0x002,
  kSetGid = 0x004,
  kSetSize = 0x008,
  kSetAtime = 0x010,
  kSetMtime = 0x020,
  kSetCtime = 0x040,
  kSetAtimeTo = 0x080,  // to the given time rather than now
  kSetMtimeTo = 0x100,
  kSetKnownBits = 0x1ff,
};

enum class LockType : uint8_t { kRead = 0, kWrite = 1, kUnlock = 2 };
enum class LockStatus : uint8_t { kSuccess = 0, kBlocked = 1, kError = 2, kGrace = 3 };

}  // namespace sandboxd::gofer
