// The messages of our extension, 9P2000.L.sandboxd1: a path in one round trip, everything statx(2)
// knows, and host descriptors, which come with the response (SCM_RIGHTS) where has_fd is true.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gofer/protocol/message_type.h"
#include "gofer/protocol/types.h"
#include "gofer/protocol/wire.h"

namespace sandboxd::gofer {

// One step of a walk: `newfid` names what `name` leads to, unless it is kNoFid.
struct WalkStep {
  uint32_t newfid = kNoFid;
  std::string name;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.newfid, s.name);
  }
};

// A walk of any number of names in one round trip. It stops at the first name that can't be walked;
// what was reached before that keeps its new fid. A symlink is an end, never followed.
// `error` is 0, or what happened at names[stats.size()].
struct Twalkgetattr {
  static constexpr MessageType kType = MessageType::kTwalkgetattr;
  uint32_t fid = 0;
  std::vector<WalkStep> steps;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.fid, s.steps);
  }
};
struct Rwalkgetattr {
  static constexpr MessageType kType = ResponseTo(MessageType::kTwalkgetattr);
  uint32_t error = 0;
  std::vector<Stat> stats;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.error, s.stats);
  }
};

// Twalkgetattr to newfid (the steps between get no fid) and Topenfd on it. With `error`, newfid is
// not in use; stats.size() == names.size() then says that the open failed.
struct Twalkopen {
  static constexpr MessageType kType = MessageType::kTwalkopen;
  uint32_t fid = 0;
  uint32_t newfid = 0;
  uint32_t flags = 0;
  std::vector<std::string> names;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.fid, s.newfid, s.flags, s.names);
  }
};
struct Rwalkopen {
  static constexpr MessageType kType = ResponseTo(MessageType::kTwalkopen);
  uint32_t error = 0;
  std::vector<Stat> stats;
  bool has_fd = false;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.error, s.stats, s.has_fd);
  }
};

// A host descriptor of its own for the regular file `fid`, which stays as it is. `flags` are
// open(2)'s: the access mode, O_TRUNC, O_APPEND, O_SYNC, O_DSYNC, O_DIRECT, O_NOATIME; others are
// ignored.
struct Topenfd {
  static constexpr MessageType kType = MessageType::kTopenfd;
  uint32_t fid = 0;
  uint32_t flags = 0;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.fid, s.flags);
  }
};
struct Ropenfd {
  static constexpr MessageType kType = ResponseTo(MessageType::kTopenfd);
  bool has_fd = false;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.has_fd);
  }
};

// Creates what mode's S_IFMT says: a regular file (and opens it with `flags`, as Topenfd;
// exclusively if they have O_EXCL), a directory, a symlink to `target`, or a node (rdev is a 64-bit
// dev_t). It belongs to uid and gid; kNoUid leaves what the host gives. flags with O_TMPFILE: an
// unnamed file in dfid. newfid names the new file.
struct Tmake {
  static constexpr MessageType kType = MessageType::kTmake;
  uint32_t dfid = 0;
  uint32_t newfid = 0;
  std::string name;
  uint32_t mode = 0;
  uint32_t uid = kNoUid;
  uint32_t gid = kNoUid;
  uint64_t rdev = 0;
  std::string target;
  uint32_t flags = 0;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.dfid, s.newfid, s.name, s.mode, s.uid, s.gid, s.rdev, s.target, s.flags);
  }
};
struct Rmake {
  static constexpr MessageType kType = ResponseTo(MessageType::kTmake);
  Stat stat;
  bool has_fd = false;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.stat, s.has_fd);
  }
};

struct Tstat {
  static constexpr MessageType kType = MessageType::kTstat;
  uint32_t fid = 0;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.fid);
  }
};
struct Rstat {
  static constexpr MessageType kType = ResponseTo(MessageType::kTstat);
  Stat stat;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.stat);
  }
};

// renameat2(2) with RENAME_NOREPLACE or RENAME_EXCHANGE.
struct Trename2 {
  static constexpr MessageType kType = MessageType::kTrename2;
  uint32_t olddirfid = 0;
  std::string oldname;
  uint32_t newdirfid = 0;
  std::string newname;
  uint32_t flags = 0;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.olddirfid, s.oldname, s.newdirfid, s.newname, s.flags);
  }
};
struct Rrename2 {
  static constexpr MessageType kType = ResponseTo(MessageType::kTrename2);
  template <typename Self, typename A>
  static void Visit(Self&, A&) {}
};

// Unknown fids are passed over.
struct Tclunkmany {
  static constexpr MessageType kType = MessageType::kTclunkmany;
  std::vector<uint32_t> fids;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.fids);
  }
};
struct Rclunkmany {
  static constexpr MessageType kType = ResponseTo(MessageType::kTclunkmany);
  template <typename Self, typename A>
  static void Visit(Self&, A&) {}
};

// getxattr(2) and its like. `size` 0 asks how large the value or list is.
struct Tgetxattr {
  static constexpr MessageType kType = MessageType::kTgetxattr;
  uint32_t fid = 0;
  std::string name;
  uint32_t size = 0;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.fid, s.name, s.size);
  }
};
struct Rgetxattr {
  static constexpr MessageType kType = ResponseTo(MessageType::kTgetxattr);
  uint32_t size = 0;
  Blob value;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.size, s.value);
  }
};
struct Tsetxattr {
  static constexpr MessageType kType = MessageType::kTsetxattr;
  uint32_t fid = 0;
  std::string name;
  uint32_t flags = 0;
  Blob value;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.fid, s.name, s.flags, s.value);
  }
};
struct Rsetxattr {
  static constexpr MessageType kType = ResponseTo(MessageType::kTsetxattr);
  template <typename Self, typename A>
  static void Visit(Self&, A&) {}
};
struct Tlistxattr {
  static constexpr MessageType kType = MessageType::kTlistxattr;
  uint32_t fid = 0;
  uint32_t size = 0;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.fid, s.size);
  }
};
struct Rlistxattr {
  static constexpr MessageType kType = ResponseTo(MessageType::kTlistxattr);
  uint32_t size = 0;
  Blob names;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.size, s.names);
  }
};
struct Tremovexattr {
  static constexpr MessageType kType = MessageType::kTremovexattr;
  uint32_t fid = 0;
  std::string name;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.fid, s.name);
  }
};
struct Rremovexattr {
  static constexpr MessageType kType = ResponseTo(MessageType::kTremovexattr);
  template <typename Self, typename A>
  static void Visit(Self&, A&) {}
};

// One entry of Rreaddirstat's data. "." and ".." come without attributes, as does what went away
// meanwhile.
struct DirEntryStat {
  DirEntry entry;
  bool has_stat = false;
  Stat stat;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.entry, s.has_stat, s.stat);
  }
};

// Treaddir with the attributes of each entry. The data is a sequence of DirEntryStat.
struct Treaddirstat {
  static constexpr MessageType kType = MessageType::kTreaddirstat;
  uint32_t fid = 0;
  uint64_t offset = 0;
  uint32_t count = 0;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.fid, s.offset, s.count);
  }
};
struct Rreaddirstat {
  static constexpr MessageType kType = ResponseTo(MessageType::kTreaddirstat);
  Blob data;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.data);
  }
};

}  // namespace sandboxd::gofer
