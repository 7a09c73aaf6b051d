// Addresses and messages of the socket calls between the ABI's form and kernel/net's.
#pragma once

#include <vector>

#include "kernel/mm/user_memory.h"
#include "kernel/net/socket.h"
#include "kernel/syscalls/args.h"

namespace sandboxd::syscalls {

struct UserMsghdr {  // struct user_msghdr
  uint64_t name = 0;
  int32_t name_length = 0;
  uint32_t pad = 0;
  uint64_t iov = 0;
  uint64_t iov_count = 0;
  uint64_t control = 0;
  uint64_t control_length = 0;
  uint32_t flags = 0;
  uint32_t pad2 = 0;
};
static_assert(sizeof(UserMsghdr) == 56);

struct UserMmsghdr {  // struct mmsghdr
  UserMsghdr header;
  uint32_t length = 0;
  uint32_t pad = 0;
};
static_assert(sizeof(UserMmsghdr) == 64);

// EINVAL for a length that no address has, EFAULT.
Result<net::SocketAddress> ReadAddress(Task& t, UserAddr addr, int32_t length);
// Writes as much as fits *length there and the true length to it. Nothing if `addr` is null.
Result<void> WriteAddress(Task& t, const net::SocketAddress& address, UserAddr addr,
                          UserAddr length);

// The control messages of a send: EINVAL, EBADF, EPERM (credentials that aren't the sender's).
Result<net::Ancillary> ReadControl(Task& t, UserAddr control, uint64_t length);

enum class CloseOnExec : uint8_t { kNo, kYes };
// Writes what came along to msg_control, installing the files; gives msg_controllen, and MSG_CTRUNC
// in `flags` for what had no room.
uint64_t WriteControl(Task& t, const net::Socket& socket, net::Ancillary ancillary,
                      UserAddr control, uint64_t length, CloseOnExec cloexec, int* flags);

// struct ucred as the task's namespaces count.
struct UserCredentials {
  int32_t pid = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
};
UserCredentials ToUser(Task& t, const net::PeerCredentials& credentials);

}  // namespace sandboxd::syscalls
