// One connection: a client, its fids, and the tree it may see. Requests are handled one after the
// other, in the order of their arrival, on the thread that calls Run. The client is hostile.
#pragma once

#include <vector>

#include "gofer/protocol/codec.h"
#include "gofer/protocol/messages.h"
#include "gofer/protocol/socket.h"
#include "gofer/server/fid_table.h"
#include "gofer/server/host.h"
#include "platform/base/unique_fd.h"

namespace sandboxd::gofer {

enum class Access : bool { kReadOnly, kReadWrite };

// What a client can attach to. `root` is an O_PATH descriptor of a directory or a file.
struct AttachPoint {
  UniqueFd root;
  Access access = Access::kReadOnly;
};

class Session {
 public:
  static constexpr size_t kDefaultMaxFids = 1 << 16;
  // A compound walk of at most this many steps has a response that fits the smallest msize.
  static constexpr size_t kMaxSteps = 20;
  static constexpr size_t kMaxXattrFids = 64;

  // `host` and `attach_point` outlive the session.
  Session(const Host& host, const AttachPoint& attach_point, UniqueFd socket,
          size_t max_fids = kDefaultMaxFids)
      : host_(host), attach_point_(attach_point), socket_(std::move(socket)), fids_(max_fids) {}

  // Serves until the client disconnects or breaks the protocol.
  void Run();

 private:
  // Receives, handles and answers one request. An error ends the session.
  Result<void> ServeOne();
  Result<void> Dispatch(const Frame& frame);
  template <typename Request>
  Result<void> Answer(const Frame& frame);
  template <typename Response>
  Result<void> Send(uint16_t tag, const Response& response);
  Result<void> SendError(uint16_t tag, Errno error);

  // session.cc: sessions and fids
  Result<Rversion> Handle(const Tversion& request);
  Result<Rattach> Handle(const Tauth& request);
  Result<Rattach> Handle(const Tattach& request);
  Result<Rflush> Handle(const Tflush& request);
  Result<Rclunk> Handle(const Tclunk& request);
  Result<Rclunkmany> Handle(const Tclunkmany& request);

  // session_walk.cc
  Result<Rwalk> Handle(const Twalk& request);
  Result<Rwalkgetattr> Handle(const Twalkgetattr& request);
  Result<Rwalkopen> Handle(const Twalkopen& request);

  // session_file.cc: open files
  Result<Rlopen> Handle(const Tlopen& request);
  Result<Rlcreate> Handle(const Tlcreate& request);
  Result<Ropenfd> Handle(const Topenfd& request);
  Result<Rread> Handle(const Tread& request);
  Result<Rwrite> Handle(const Twrite& request);
  Result<Rfsync> Handle(const Tfsync& request);
  Result<Rlock> Handle(const Tlock& request);
  Result<Rgetlock> Handle(const Tgetlock& request);

  // session_dir.cc
  Result<Rreaddir> Handle(const Treaddir& request);
  Result<Rreaddirstat> Handle(const Treaddirstat& request);

  // session_attr.cc: attributes
  Result<Rgetattr> Handle(const Tgetattr& request);
  Result<Rstat> Handle(const Tstat& request);
  Result<Rsetattr> Handle(const Tsetattr& request);
  Result<Rstatfs> Handle(const Tstatfs& request);
  Result<Rreadlink> Handle(const Treadlink& request);

  // session_xattr.cc
  Result<Rxattrwalk> Handle(const Txattrwalk& request);
  Result<Rxattrcreate> Handle(const Txattrcreate& request);
  Result<Rgetxattr> Handle(const Tgetxattr& request);
  Result<Rsetxattr> Handle(const Tsetxattr& request);
  Result<Rlistxattr> Handle(const Tlistxattr& request);
  Result<Rremovexattr> Handle(const Tremovexattr& request);

  // session_tree.cc: the directory tree
  Result<Rmake> Handle(const Tmake& request);
  Result<Rmkdir> Handle(const Tmkdir& request);
  Result<Rsymlink> Handle(const Tsymlink& request);
  Result<Rmknod> Handle(const Tmknod& request);
  Result<Rlink> Handle(const Tlink& request);
  Result<Rrename> Handle(const Trename& request);
  Result<Rrenameat> Handle(const Trenameat& request);
  Result<Rrename2> Handle(const Trename2& request);
  Result<Runlinkat> Handle(const Tunlinkat& request);
  Result<Rremove> Handle(const Tremove& request);

  // EROFS unless the attach point is writable: the first line of every handler that changes
  // anything.
  Result<void> CheckWritable() const;
  // Fills data_ with entries from `offset` on: DirEntry, or DirEntryStat.
  enum class Entries { kPlain, kWithStat };
  Result<void> ReadEntries(uint32_t fid, uint64_t offset, uint32_t count, Entries entries);
  // A new description for a file, as far as the client may have one: never of a device, fifo,
  // socket or symlink, and read-only if the attach point is.
  Result<UniqueFd> OpenNode(const Node& node, uint32_t flags) const;
  Result<Ref<Node>> MakeNode(const Ref<Node>& dir, const Tmake& request, UniqueFd& opened);
  Result<Ref<Node>> Make(const Tmake& request, UniqueFd& opened);
  Result<void> FinishXattr(const Fid& fid) const;
  std::string PathOf(const Node& node) const { return host_.self_fds().PathOf(node.fd()); }

  // The descriptor goes out with the response that is being made: the first one stays the fid's
  // own.
  void Donate(int borrowed) { donation_ = borrowed; }
  void Donate(UniqueFd owned) {
    donated_ = std::move(owned);
    donation_ = donated_.get();
  }

  const Host& host_;
  const AttachPoint& attach_point_;
  const UniqueFd socket_;
  size_t xattr_fids_ = 0;
  FidTable fids_;
  uint32_t msize_ = 0;  // 0 before Tversion
  bool extended_ = false;
  uint32_t attach_uid_ = kNoUid;  // owner of what 9P2000.L's own messages create
  int donation_ = -1;
  UniqueFd donated_;
  std::vector<std::byte> request_buffer_;
  std::vector<std::byte> response_buffer_;
  std::vector<std::byte> data_;  // what a response's Blob points to
};

}  // namespace sandboxd::gofer
