// The messages of 9P2000.L about sessions, fids and open files, fields in wire order.
// Source: protocol.md of the diod project, and 9P's manual pages, section 5.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gofer/protocol/message_type.h"
#include "gofer/protocol/types.h"
#include "gofer/protocol/wire.h"

namespace sandboxd::gofer {

// The response to any request that failed.
struct Rlerror {
  static constexpr MessageType kType = MessageType::kRlerror;
  uint32_t error = 0;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.error);
  }
};

// Sessions and fids.
struct Tversion {
  static constexpr MessageType kType = MessageType::kTversion;
  uint32_t msize = 0;
  std::string version;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.msize, s.version);
  }
};
struct Rversion {
  static constexpr MessageType kType = ResponseTo(MessageType::kTversion);
  uint32_t msize = 0;
  std::string version;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.msize, s.version);
  }
};
struct Tauth {
  static constexpr MessageType kType = MessageType::kTauth;
  uint32_t afid = kNoFid;
  std::string uname;
  std::string aname;
  uint32_t n_uname = kNoUid;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.afid, s.uname, s.aname, s.n_uname);
  }
};
struct Tattach {
  static constexpr MessageType kType = MessageType::kTattach;
  uint32_t fid = 0;
  uint32_t afid = kNoFid;
  std::string uname;
  std::string aname;
  uint32_t n_uname = kNoUid;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.fid, s.afid, s.uname, s.aname, s.n_uname);
  }
};
struct Rattach {
  static constexpr MessageType kType = ResponseTo(MessageType::kTattach);
  Qid qid;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.qid);
  }
};
struct Tflush {
  static constexpr MessageType kType = MessageType::kTflush;
  uint16_t oldtag = 0;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.oldtag);
  }
};
struct Rflush {
  static constexpr MessageType kType = ResponseTo(MessageType::kTflush);
  template <typename Self, typename A>
  static void Visit(Self&, A&) {}
};
struct Twalk {
  static constexpr MessageType kType = MessageType::kTwalk;
  uint32_t fid = 0;
  uint32_t newfid = 0;
  std::vector<std::string> names;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.fid, s.newfid, s.names);
  }
};
struct Rwalk {
  static constexpr MessageType kType = ResponseTo(MessageType::kTwalk);
  std::vector<Qid> qids;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.qids);
  }
};
struct Tclunk {
  static constexpr MessageType kType = MessageType::kTclunk;
  uint32_t fid = 0;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.fid);
  }
};
struct Rclunk {
  static constexpr MessageType kType = ResponseTo(MessageType::kTclunk);
  template <typename Self, typename A>
  static void Visit(Self&, A&) {}
};

// Open files and directories. With the extension, a host descriptor may come with Rlopen and
// Rlcreate.
struct Tlopen {
  static constexpr MessageType kType = MessageType::kTlopen;
  uint32_t fid = 0;
  uint32_t flags = 0;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.fid, s.flags);
  }
};
struct Rlopen {
  static constexpr MessageType kType = ResponseTo(MessageType::kTlopen);
  Qid qid;
  uint32_t iounit = 0;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.qid, s.iounit);
  }
};
struct Tlcreate {
  static constexpr MessageType kType = MessageType::kTlcreate;
  uint32_t fid = 0;
  std::string name;
  uint32_t flags = 0;
  uint32_t mode = 0;
  uint32_t gid = 0;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.fid, s.name, s.flags, s.mode, s.gid);
  }
};
struct Rlcreate {
  static constexpr MessageType kType = ResponseTo(MessageType::kTlcreate);
  Qid qid;
  uint32_t iounit = 0;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.qid, s.iounit);
  }
};
struct Tread {
  static constexpr MessageType kType = MessageType::kTread;
  uint32_t fid = 0;
  uint64_t offset = 0;
  uint32_t count = 0;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.fid, s.offset, s.count);
  }
};
struct Rread {
  static constexpr MessageType kType = ResponseTo(MessageType::kTread);
  Blob data;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.data);
  }
};
struct Twrite {
  static constexpr MessageType kType = MessageType::kTwrite;
  uint32_t fid = 0;
  uint64_t offset = 0;
  Blob data;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.fid, s.offset, s.data);
  }
};
struct Rwrite {
  static constexpr MessageType kType = ResponseTo(MessageType::kTwrite);
  uint32_t count = 0;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.count);
  }
};
// The data is a sequence of DirEntry. With the extension fid need not be open.
struct Treaddir {
  static constexpr MessageType kType = MessageType::kTreaddir;
  uint32_t fid = 0;
  uint64_t offset = 0;
  uint32_t count = 0;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.fid, s.offset, s.count);
  }
};
struct Rreaddir {
  static constexpr MessageType kType = ResponseTo(MessageType::kTreaddir);
  Blob data;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.data);
  }
};
struct Tfsync {
  static constexpr MessageType kType = MessageType::kTfsync;
  uint32_t fid = 0;
  uint32_t datasync = 0;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.fid, s.datasync);
  }
};
struct Rfsync {
  static constexpr MessageType kType = ResponseTo(MessageType::kTfsync);
  template <typename Self, typename A>
  static void Visit(Self&, A&) {}
};
struct Tlock {
  static constexpr MessageType kType = MessageType::kTlock;
  uint32_t fid = 0;
  LockType type = LockType::kRead;
  uint32_t flags = 0;
  uint64_t start = 0;
  uint64_t length = 0;
  uint32_t proc_id = 0;
  std::string client_id;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.fid, s.type, s.flags, s.start, s.length, s.proc_id, s.client_id);
  }
};
struct Rlock {
  static constexpr MessageType kType = ResponseTo(MessageType::kTlock);
  LockStatus status = LockStatus::kSuccess;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.status);
  }
};
struct Tgetlock {
  static constexpr MessageType kType = MessageType::kTgetlock;
  uint32_t fid = 0;
  LockType type = LockType::kRead;
  uint64_t start = 0;
  uint64_t length = 0;
  uint32_t proc_id = 0;
  std::string client_id;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.fid, s.type, s.start, s.length, s.proc_id, s.client_id);
  }
};
struct Rgetlock {
  static constexpr MessageType kType = ResponseTo(MessageType::kTgetlock);
  LockType type = LockType::kRead;
  uint64_t start = 0;
  uint64_t length = 0;
  uint32_t proc_id = 0;
  std::string client_id;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.type, s.start, s.length, s.proc_id, s.client_id);
  }
};

}  // namespace sandboxd::gofer
