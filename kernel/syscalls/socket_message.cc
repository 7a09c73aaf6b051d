#include "kernel/syscalls/socket_message.h"

#include <linux/capability.h>
#include <sys/socket.h>

#include <algorithm>
#include <climits>

#include "kernel/task/thread_group.h"

namespace sandboxd::syscalls {
namespace {

constexpr uint64_t kHeaderSize = sizeof(cmsghdr);
constexpr uint64_t kMaxControl = 20480;  // net.core.optmem_max
constexpr size_t kMaxRights = 253;       // SCM_MAX_FD

constexpr uint64_t Align(uint64_t n) { return (n + 7) & ~uint64_t{7}; }

Result<void> ReadRights(Task& t, ConstBytes data, net::Ancillary& out) {
  const size_t count = data.size() / sizeof(int32_t);
  if (out.files.size() + count > kMaxRights) return Errno::kEINVAL;
  for (size_t i = 0; i < count; i++) {
    int32_t fd;
    memcpy(&fd, data.data() + i * sizeof(fd), sizeof(fd));
    out.files.push_back(TRY(t.files().Get(FdNum(fd))));
  }
  return Ok();
}

// unix(7), SCM_CREDENTIALS: only privileged senders may claim to be somebody else.
Result<net::PeerCredentials> CheckedCredentials(Task& t, const UserCredentials& claimed) {
  creds::CredRef creds = t.credentials();
  net::PeerCredentials out;
  if (claimed.pid == t.tgid().value) {
    out.pid = t.process_id();
  } else {
    if (!creds->CapableInit(CAP_SYS_ADMIN)) return Errno::kEPERM;
    MutexLock lock(t.kernel().tree_mutex());
    task::ThreadGroup* group = t.pid_ns()->FindGroup(Tid(claimed.pid));
    if (group == nullptr) return Errno::kESRCH;
    out.pid = group->TgidIn(*t.kernel().init_pid_ns()).value;
  }
  auto uid = creds->user_ns->ToKUid(claimed.uid);
  auto gid = creds->user_ns->ToKGid(claimed.gid);
  if (!uid.has_value() || !gid.has_value()) return Errno::kEINVAL;
  bool own_uid = *uid == creds->ruid || *uid == creds->euid || *uid == creds->suid;
  bool own_gid = *gid == creds->rgid || *gid == creds->egid || *gid == creds->sgid;
  if (!own_uid && !creds->CapableOwn(CAP_SETUID)) return Errno::kEPERM;
  if (!own_gid && !creds->CapableOwn(CAP_SETGID)) return Errno::kEPERM;
  out.uid = *uid;
  out.gid = *gid;
  return out;
}

// Appends control messages to a buffer of the application's size.
class ControlWriter {
 public:
  explicit ControlWriter(uint64_t room) : room_(room) {}
  uint64_t room() const { return room_ - bytes_.size(); }
  void Add(int type, ConstBytes data) { Add(SOL_SOCKET, type, data); }
  void Add(int level, int type, ConstBytes data) {
    const uint64_t full = kHeaderSize + data.size();
    cmsghdr header = {};
    header.cmsg_len = std::min(full, room());
    header.cmsg_level = level;
    header.cmsg_type = type;
    ConstBytes head = AsBytes(header);
    bytes_.insert(bytes_.end(), head.begin(), head.end());
    data = data.first(header.cmsg_len - kHeaderSize);
    bytes_.insert(bytes_.end(), data.begin(), data.end());
    bytes_.resize(std::min(room_, Align(bytes_.size())));
  }
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  const uint64_t room_;
  std::vector<std::byte> bytes_;
};

// The numbers that as many of `files` as have room got.
std::vector<int32_t> InstallRights(Task& t, std::vector<Ref<vfs::File>> files, uint64_t room,
                                   CloseOnExec cloexec) {
  std::vector<int32_t> fds;
  uint64_t fitting = room < kHeaderSize ? 0 : (room - kHeaderSize) / sizeof(int32_t);
  for (auto& file : files) {
    if (fds.size() == fitting) break;
    auto fd = t.files().Install(std::move(file), cloexec == CloseOnExec::kYes, t.fd_limit());
    if (!fd.ok()) break;
    fds.push_back(fd->value);
  }
  return fds;
}

}  // namespace

Result<net::SocketAddress> ReadAddress(Task& t, UserAddr addr, int32_t length) {
  net::SocketAddress address;
  if (length < 0 || static_cast<size_t>(length) > address.bytes.size()) return Errno::kEINVAL;
  address.length = static_cast<size_t>(length);
  TRY(t.memory().CopyIn(addr, Bytes(address.bytes).first(address.length)));
  return address;
}

Result<void> WriteAddress(Task& t, const net::SocketAddress& address, UserAddr addr,
                          UserAddr length) {
  if (addr.null()) return Ok();
  int32_t room = TRY(t.memory().Read<int32_t>(length));
  if (room < 0) return Errno::kEINVAL;
  size_t n = std::min<size_t>(static_cast<size_t>(room), address.length);
  TRY(t.memory().CopyOut(addr, ConstBytes(address.bytes).first(n)));
  return t.memory().Write(length, static_cast<int32_t>(address.length));
}

Result<net::Ancillary> ReadControl(Task& t, UserAddr control, uint64_t length) {
  net::Ancillary out;
  if (control.null() || length == 0) return out;
  if (length > kMaxControl) return Errno::kENOBUFS;
  std::vector<std::byte> bytes(length);
  TRY(t.memory().CopyIn(control, bytes));
  for (uint64_t at = 0; at + kHeaderSize <= bytes.size();) {
    cmsghdr header;
    memcpy(&header, bytes.data() + at, sizeof(header));
    if (header.cmsg_len < kHeaderSize || header.cmsg_len > bytes.size() - at) {
      return Errno::kEINVAL;
    }
    ConstBytes data = ConstBytes(bytes).subspan(at + kHeaderSize, header.cmsg_len - kHeaderSize);
    at += Align(header.cmsg_len);
    if (header.cmsg_level != SOL_SOCKET) {
      out.messages.push_back({header.cmsg_level, header.cmsg_type, {data.begin(), data.end()}});
      continue;
    }
    if (header.cmsg_type == SCM_RIGHTS) {
      TRY(ReadRights(t, data, out));
    } else if (header.cmsg_type == SCM_CREDENTIALS) {
      UserCredentials claimed;
      if (data.size() != sizeof(claimed)) return Errno::kEINVAL;
      memcpy(&claimed, data.data(), sizeof(claimed));
      out.credentials = TRY(CheckedCredentials(t, claimed));
    } else {
      return Errno::kEINVAL;
    }
  }
  return out;
}

uint64_t WriteControl(Task& t, const net::Socket& socket, net::Ancillary ancillary,
                      UserAddr control, uint64_t length, CloseOnExec cloexec, int* flags) {
  ControlWriter writer(control.null() ? 0 : std::min(length, kMaxControl));
  if (socket.pass_credentials()) {
    UserCredentials user = ToUser(t, ancillary.credentials.value_or(net::PeerCredentials()));
    if (writer.room() < kHeaderSize + sizeof(user)) *flags |= MSG_CTRUNC;
    if (writer.room() >= kHeaderSize) writer.Add(SCM_CREDENTIALS, AsBytes(user));
  }
  for (const net::ControlMessage& m : ancillary.messages) {
    if (writer.room() < kHeaderSize + m.data.size()) *flags |= MSG_CTRUNC;
    if (writer.room() >= kHeaderSize) writer.Add(m.level, m.type, m.data);
  }
  if (!ancillary.files.empty()) {
    const size_t count = ancillary.files.size();
    std::vector<int32_t> fds = InstallRights(t, std::move(ancillary.files), writer.room(), cloexec);
    if (fds.size() < count) *flags |= MSG_CTRUNC;
    if (!fds.empty()) writer.Add(SCM_RIGHTS, std::as_bytes(std::span(fds)));
  }
  if (writer.bytes().empty()) return 0;
  // A buffer that can't be written is the application's loss; the data has been received.
  if (!t.memory().CopyOut(control, writer.bytes()).ok()) return 0;
  return writer.bytes().size();
}

UserCredentials ToUser(Task& t, const net::PeerCredentials& credentials) {
  creds::CredRef creds = t.credentials();
  UserCredentials out;
  out.uid = creds->user_ns->FromKUid(credentials.uid);
  out.gid = creds->user_ns->FromKGid(credentials.gid);
  if (credentials.pid == t.process_id()) {
    out.pid = t.tgid().value;
  } else if (t.pid_ns() == t.kernel().init_pid_ns()) {
    out.pid = credentials.pid;  // which may be gone
  } else if (credentials.pid != 0) {
    MutexLock lock(t.kernel().tree_mutex());
    task::ThreadGroup* group = t.kernel().init_pid_ns()->FindGroup(Tid(credentials.pid));
    if (group != nullptr) out.pid = group->TgidIn(*t.pid_ns()).value;
  }
  return out;
}

}  // namespace sandboxd::syscalls
