// The messages of 9P2000.L about attributes and the directory tree, fields in wire order.
// Source: protocol.md of the diod project, and 9P's manual pages, section 5.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gofer/protocol/message_type.h"
#include "gofer/protocol/types.h"
#include "gofer/protocol/wire.h"

namespace sandboxd::gofer {

// Attributes.
struct Tgetattr {
  static constexpr MessageType kType = MessageType::kTgetattr;
  uint32_t fid = 0;
  uint64_t request_mask = kGetattrAll;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.fid, s.request_mask);
  }
};
struct Rgetattr {
  static constexpr MessageType kType = ResponseTo(MessageType::kTgetattr);
  uint64_t valid = 0;
  Qid qid;
  Attr attr;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.valid, s.qid, s.attr);
  }
};
struct Tsetattr {
  static constexpr MessageType kType = MessageType::kTsetattr;
  uint32_t fid = 0;
  uint32_t valid = 0;
  uint32_t mode = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t size = 0;
  Time atime;
  Time mtime;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.fid, s.valid, s.mode, s.uid, s.gid, s.size, s.atime, s.mtime);
  }
};
struct Rsetattr {
  static constexpr MessageType kType = ResponseTo(MessageType::kTsetattr);
  template <typename Self, typename A>
  static void Visit(Self&, A&) {}
};
struct Tstatfs {
  static constexpr MessageType kType = MessageType::kTstatfs;
  uint32_t fid = 0;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.fid);
  }
};
struct Rstatfs {
  static constexpr MessageType kType = ResponseTo(MessageType::kTstatfs);
  uint32_t type = 0;
  uint32_t bsize = 0;
  uint64_t blocks = 0;
  uint64_t bfree = 0;
  uint64_t bavail = 0;
  uint64_t files = 0;
  uint64_t ffree = 0;
  uint64_t fsid = 0;
  uint32_t namelen = 0;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.type, s.bsize, s.blocks, s.bfree, s.bavail, s.files, s.ffree, s.fsid, s.namelen);
  }
};
struct Treadlink {
  static constexpr MessageType kType = MessageType::kTreadlink;
  uint32_t fid = 0;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.fid);
  }
};
struct Rreadlink {
  static constexpr MessageType kType = ResponseTo(MessageType::kTreadlink);
  std::string target;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.target);
  }
};
// newfid reads the value of `name`, or the list of names if it is empty.
struct Txattrwalk {
  static constexpr MessageType kType = MessageType::kTxattrwalk;
  uint32_t fid = 0;
  uint32_t newfid = 0;
  std::string name;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.fid, s.newfid, s.name);
  }
};
struct Rxattrwalk {
  static constexpr MessageType kType = ResponseTo(MessageType::kTxattrwalk);
  uint64_t size = 0;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.size);
  }
};
// fid is written with the value, which takes effect when it is clunked.
struct Txattrcreate {
  static constexpr MessageType kType = MessageType::kTxattrcreate;
  uint32_t fid = 0;
  std::string name;
  uint64_t size = 0;
  uint32_t flags = 0;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.fid, s.name, s.size, s.flags);
  }
};
struct Rxattrcreate {
  static constexpr MessageType kType = ResponseTo(MessageType::kTxattrcreate);
  template <typename Self, typename A>
  static void Visit(Self&, A&) {}
};

// The directory tree.
struct Tmkdir {
  static constexpr MessageType kType = MessageType::kTmkdir;
  uint32_t dfid = 0;
  std::string name;
  uint32_t mode = 0;
  uint32_t gid = 0;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.dfid, s.name, s.mode, s.gid);
  }
};
struct Rmkdir {
  static constexpr MessageType kType = ResponseTo(MessageType::kTmkdir);
  Qid qid;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.qid);
  }
};
struct Tsymlink {
  static constexpr MessageType kType = MessageType::kTsymlink;
  uint32_t dfid = 0;
  std::string name;
  std::string target;
  uint32_t gid = 0;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.dfid, s.name, s.target, s.gid);
  }
};
struct Rsymlink {
  static constexpr MessageType kType = ResponseTo(MessageType::kTsymlink);
  Qid qid;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.qid);
  }
};
struct Tmknod {
  static constexpr MessageType kType = MessageType::kTmknod;
  uint32_t dfid = 0;
  std::string name;
  uint32_t mode = 0;
  uint32_t major = 0;
  uint32_t minor = 0;
  uint32_t gid = 0;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.dfid, s.name, s.mode, s.major, s.minor, s.gid);
  }
};
struct Rmknod {
  static constexpr MessageType kType = ResponseTo(MessageType::kTmknod);
  Qid qid;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.qid);
  }
};
struct Tlink {
  static constexpr MessageType kType = MessageType::kTlink;
  uint32_t dfid = 0;
  uint32_t fid = 0;
  std::string name;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.dfid, s.fid, s.name);
  }
};
struct Rlink {
  static constexpr MessageType kType = ResponseTo(MessageType::kTlink);
  template <typename Self, typename A>
  static void Visit(Self&, A&) {}
};
struct Trename {
  static constexpr MessageType kType = MessageType::kTrename;
  uint32_t fid = 0;
  uint32_t dfid = 0;
  std::string name;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.fid, s.dfid, s.name);
  }
};
struct Rrename {
  static constexpr MessageType kType = ResponseTo(MessageType::kTrename);
  template <typename Self, typename A>
  static void Visit(Self&, A&) {}
};
struct Trenameat {
  static constexpr MessageType kType = MessageType::kTrenameat;
  uint32_t olddirfid = 0;
  std::string oldname;
  uint32_t newdirfid = 0;
  std::string newname;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.olddirfid, s.oldname, s.newdirfid, s.newname);
  }
};
struct Rrenameat {
  static constexpr MessageType kType = ResponseTo(MessageType::kTrenameat);
  template <typename Self, typename A>
  static void Visit(Self&, A&) {}
};
struct Tunlinkat {
  static constexpr MessageType kType = MessageType::kTunlinkat;
  uint32_t dirfid = 0;
  std::string name;
  uint32_t flags = 0;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.dirfid, s.name, s.flags);
  }
};
struct Runlinkat {
  static constexpr MessageType kType = ResponseTo(MessageType::kTunlinkat);
  template <typename Self, typename A>
  static void Visit(Self&, A&) {}
};
// Clunks fid, whether or not the removal succeeds.
struct Tremove {
  static constexpr MessageType kType = MessageType::kTremove;
  uint32_t fid = 0;
  template <typename Self, typename A>
  static void Visit(Self& s, A& a) {
    a(s.fid);
  }
};
struct Rremove {
  static constexpr MessageType kType = ResponseTo(MessageType::kTremove);
  template <typename Self, typename A>
  static void Visit(Self&, A&) {}
};

}  // namespace sandboxd::gofer
