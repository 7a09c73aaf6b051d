// AF_UNIX sockets: unix(7), socket(2) and relatives.
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <csignal>
#include <cstddef>
#include <cstring>
#include <thread>
#include <vector>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

struct Pair {
  explicit Pair(int type, int flags = 0) : a(-1), b(-1) {
    int fds[2] = {-1, -1};
    EXPECT_EQ(socketpair(AF_UNIX, type | flags, 0, fds), 0);
    new (&a) Fd(fds[0]);
    new (&b) Fd(fds[1]);
  }
  Fd a, b;
};

struct Address {
  sockaddr_un sun = {};
  socklen_t length;
  // "@name" is abstract.
  explicit Address(const std::string& name) {
    sun.sun_family = AF_UNIX;
    memcpy(sun.sun_path, name.data(), name.size());
    length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    if (name[0] == '@') {
      sun.sun_path[0] = '\0';
    } else {
      length++;
    }
  }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&sun); }
};

std::string UniqueName(const char* prefix) { return prefix + std::to_string(getpid()); }

std::string Receive(int fd, size_t max = 100, int flags = 0) {
  std::string text(max, '\0');
  ssize_t n = recv(fd, text.data(), max, flags);
  EXPECT_GE(n, 0) << strerror(errno);
  text.resize(n > 0 ? static_cast<size_t>(n) : 0);
  return text;
}

// Sends `text` with descriptors.
ssize_t SendFds(int socket, std::string text, const std::vector<int>& fds) {
  iovec iov = {text.data(), text.size()};
  std::vector<char> control(CMSG_SPACE(fds.size() * sizeof(int)));
  msghdr m = {};
  m.msg_iov = &iov;
  m.msg_iovlen = 1;
  m.msg_control = control.data();
  m.msg_controllen = control.size();
  cmsghdr* c = CMSG_FIRSTHDR(&m);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
  memcpy(CMSG_DATA(c), fds.data(), fds.size() * sizeof(int));
  return sendmsg(socket, &m, 0);
}

struct Message {
  std::string text;
  std::vector<int> fds;
  bool has_credentials = false;
  ucred credentials = {};
  int flags = 0;
};
Message ReceiveMessage(int socket, size_t control_room = 256, int flags = 0) {
  Message out;
  char buffer[256];
  iovec iov = {buffer, sizeof(buffer)};
  std::vector<char> control(control_room);
  msghdr m = {};
  m.msg_iov = &iov;
  m.msg_iovlen = 1;
  m.msg_control = control.data();
  m.msg_controllen = control.size();
  ssize_t n = recvmsg(socket, &m, flags);
  EXPECT_GE(n, 0) << strerror(errno);
  out.text.assign(buffer, n > 0 ? static_cast<size_t>(n) : 0);
  out.flags = m.msg_flags;
  for (cmsghdr* c = CMSG_FIRSTHDR(&m); c != nullptr; c = CMSG_NXTHDR(&m, c)) {
    if (c->cmsg_type == SCM_RIGHTS) {
      size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      out.fds.resize(count);
      memcpy(out.fds.data(), CMSG_DATA(c), count * sizeof(int));
    } else if (c->cmsg_type == SCM_CREDENTIALS) {
      out.has_credentials = true;
      memcpy(&out.credentials, CMSG_DATA(c), sizeof(ucred));
    }
  }
  return out;
}

TEST(UnixSocketTest, StreamsCarryBytes) {
  Pair p(SOCK_STREAM);
  EXPECT_EQ(send(p.a.get(), "one", 3, 0), 3);
  EXPECT_EQ(write(p.a.get(), "two", 3), 3);
  int count = 0;
  EXPECT_EQ(ioctl(p.b.get(), FIONREAD, &count), 0);
  EXPECT_EQ(count, 6);
  EXPECT_EQ(Receive(p.b.get(), 100, MSG_PEEK), "onetwo");
  EXPECT_EQ(Receive(p.b.get(), 4), "onet");
  EXPECT_EQ(Receive(p.b.get()), "wo");
  EXPECT_ERRNO(EAGAIN, recv(p.b.get(), &count, 1, MSG_DONTWAIT));
}

TEST(UnixSocketTest, AClosedPeerIsEndOfFileAndSigpipe) {
  Pair p(SOCK_STREAM);
  shutdown(p.b.get(), SHUT_RDWR);
  char c;
  EXPECT_EQ(read(p.a.get(), &c, 1), 0);
  EXPECT_ERRNO(EPIPE, send(p.a.get(), "x", 1, MSG_NOSIGNAL));
  int status = InChild([&] {
    signal(SIGPIPE, SIG_DFL);
    return static_cast<int>(send(p.a.get(), "x", 1, 0));
  });
  EXPECT_TRUE(KilledBy(status, SIGPIPE));
  pollfd poll_fd = {p.a.get(), POLLIN | POLLRDHUP, 0};
  EXPECT_EQ(poll(&poll_fd, 1, 0), 1);
  EXPECT_EQ(poll_fd.revents, POLLIN | POLLRDHUP | POLLHUP);
}

TEST(UnixSocketTest, WaitallWaitsForAll) {
  Pair p(SOCK_STREAM);
  std::string got;
  std::thread reader([&] { got = Receive(p.b.get(), 6, MSG_WAITALL); });
  for (const char* part : {"ab", "cd", "ef"}) EXPECT_EQ(send(p.a.get(), part, 2, 0), 2);
  reader.join();
  EXPECT_EQ(got, "abcdef");
}

TEST(UnixSocketTest, ALargeSendGoesThroughInPieces) {
  Pair p(SOCK_STREAM);
  std::string much(3 << 20, 'x');
  std::thread writer([&] {
    EXPECT_EQ(send(p.a.get(), much.data(), much.size(), 0), static_cast<ssize_t>(much.size()));
  });
  EXPECT_EQ(Receive(p.b.get(), much.size(), MSG_WAITALL).size(), much.size());
  writer.join();
}

TEST(UnixSocketTest, MessagesKeepTheirBoundaries) {
  for (int type : {SOCK_DGRAM, SOCK_SEQPACKET}) {
    Pair p(type);
    EXPECT_EQ(send(p.a.get(), "first", 5, 0), 5);
    EXPECT_EQ(send(p.a.get(), "second", 6, 0), 6);
    char buffer[4];
    EXPECT_EQ(recv(p.b.get(), buffer, 3, MSG_TRUNC), 5);
    iovec iov = {buffer, 3};
    msghdr m = {};
    m.msg_iov = &iov;
    m.msg_iovlen = 1;
    EXPECT_EQ(recvmsg(p.b.get(), &m, 0), 3);
    EXPECT_EQ(m.msg_flags & MSG_TRUNC, MSG_TRUNC);
    std::string huge(1 << 22, 'x');
    EXPECT_ERRNO(EMSGSIZE, send(p.a.get(), huge.data(), huge.size(), 0));
  }
}

TEST(UnixSocketTest, PathsAndAbstractNamesConnect) {
  for (const std::string& name : {UniqueName("/tmp/unix_socket_test."), UniqueName("@test.")}) {
    Address address(name);
    Fd server(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    Fd client(socket(AF_UNIX, SOCK_STREAM, 0));
    EXPECT_ERRNO(EINVAL, listen(server.get(), 5));
    ASSERT_EQ(bind(server.get(), address.get(), address.length), 0) << strerror(errno);
    EXPECT_ERRNO(name[0] == '/' ? EADDRINUSE : EINVAL,
                 bind(server.get(), address.get(), address.length));
    Fd other(socket(AF_UNIX, SOCK_STREAM, 0));
    EXPECT_ERRNO(EADDRINUSE, bind(other.get(), address.get(), address.length));
    EXPECT_ERRNO(ECONNREFUSED, connect(client.get(), address.get(), address.length));
    ASSERT_EQ(listen(server.get(), 5), 0);
    ASSERT_EQ(connect(client.get(), address.get(), address.length), 0);
    EXPECT_ERRNO(EISCONN, connect(client.get(), address.get(), address.length));
    sockaddr_un from;
    socklen_t length = sizeof(from);
    Fd accepted(accept4(server.get(), reinterpret_cast<sockaddr*>(&from), &length, SOCK_NONBLOCK));
    ASSERT_GE(accepted.get(), 0);
    EXPECT_EQ(length, 2u);
    EXPECT_EQ(fcntl(accepted.get(), F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    length = sizeof(from);
    ASSERT_EQ(getpeername(client.get(), reinterpret_cast<sockaddr*>(&from), &length), 0);
    EXPECT_EQ(length, address.length);
    EXPECT_EQ(memcmp(&from, &address.sun, length), 0);
    ucred peer;
    length = sizeof(peer);
    ASSERT_EQ(getsockopt(client.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length), 0);
    EXPECT_EQ(peer.pid, getpid());
    EXPECT_EQ(peer.uid, geteuid());
    if (name[0] == '/') {
      struct stat st;
      ASSERT_EQ(stat(name.c_str(), &st), 0);
      EXPECT_TRUE(S_ISSOCK(st.st_mode));
      EXPECT_ERRNO(ENXIO, open(name.c_str(), O_RDWR));
      unlink(name.c_str());
      Fd late(socket(AF_UNIX, SOCK_STREAM, 0));
      EXPECT_ERRNO(ENOENT, connect(late.get(), address.get(), address.length));
    }
  }
}

TEST(UnixSocketTest, AcceptWaitsForAConnection) {
  Address address(UniqueName("@accept."));
  Fd server(socket(AF_UNIX, SOCK_SEQPACKET, 0));
  ASSERT_EQ(bind(server.get(), address.get(), address.length), 0);
  ASSERT_EQ(listen(server.get(), 1), 0);
  std::string got;
  std::thread acceptor([&] {
    Fd s(accept(server.get(), nullptr, nullptr));
    got = Receive(s.get());
  });
  Fd client(socket(AF_UNIX, SOCK_SEQPACKET, 0));
  ASSERT_EQ(connect(client.get(), address.get(), address.length), 0);
  EXPECT_EQ(send(client.get(), "hi", 2, 0), 2);
  acceptor.join();
  EXPECT_EQ(got, "hi");
}

TEST(UnixSocketTest, DatagramsSayWhereTheyComeFrom) {
  Address in(UniqueName("@in.")), out(UniqueName("@out."));
  Fd receiver(socket(AF_UNIX, SOCK_DGRAM, 0)), sender(socket(AF_UNIX, SOCK_DGRAM, 0));
  ASSERT_EQ(bind(receiver.get(), in.get(), in.length), 0);
  EXPECT_ERRNO(ENOTCONN, send(sender.get(), "x", 1, 0));
  ASSERT_EQ(bind(sender.get(), out.get(), out.length), 0);
  EXPECT_EQ(sendto(sender.get(), "hello", 5, 0, in.get(), in.length), 5);
  char buffer[10];
  sockaddr_un from;
  socklen_t length = sizeof(from);
  EXPECT_EQ(recvfrom(receiver.get(), buffer, sizeof(buffer), 0, reinterpret_cast<sockaddr*>(&from),
                     &length),
            5);
  EXPECT_EQ(length, out.length);
  EXPECT_EQ(memcmp(&from, &out.sun, length), 0);
  EXPECT_ERRNO(EOPNOTSUPP, listen(receiver.get(), 1));
  ASSERT_EQ(connect(sender.get(), in.get(), in.length), 0);
  EXPECT_EQ(send(sender.get(), "x", 1, 0), 1);
}

TEST(UnixSocketTest, AutobindGivesAName) {
  Fd s(socket(AF_UNIX, SOCK_DGRAM, 0));
  sockaddr_un sun = {};
  sun.sun_family = AF_UNIX;
  ASSERT_EQ(bind(s.get(), reinterpret_cast<sockaddr*>(&sun), sizeof(sa_family_t)), 0);
  socklen_t length = sizeof(sun);
  ASSERT_EQ(getsockname(s.get(), reinterpret_cast<sockaddr*>(&sun), &length), 0);
  EXPECT_EQ(length, sizeof(sa_family_t) + 6);
  EXPECT_EQ(sun.sun_path[0], '\0');
}

TEST(UnixSocketTest, DescriptorsTravel) {
  Pair p(SOCK_STREAM);
  int pipe_fds[2];
  ASSERT_EQ(pipe(pipe_fds), 0);
  EXPECT_EQ(SendFds(p.a.get(), "fds", {pipe_fds[0], pipe_fds[1]}), 3);
  close(pipe_fds[0]);
  close(pipe_fds[1]);
  Message m = ReceiveMessage(p.b.get(), 256, MSG_CMSG_CLOEXEC);
  EXPECT_EQ(m.text, "fds");
  ASSERT_EQ(m.fds.size(), 2u);
  EXPECT_EQ(fcntl(m.fds[0], F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(write(m.fds[1], "x", 1), 1);
  char c;
  EXPECT_EQ(read(m.fds[0], &c, 1), 1);
  for (int fd : m.fds) close(fd);
}

TEST(UnixSocketTest, WhatHasNoRoomIsCutAndSaidSo) {
  Pair p(SOCK_SEQPACKET);
  EXPECT_EQ(SendFds(p.a.get(), "x", {0, 0, 0}), 1);
  Message m = ReceiveMessage(p.b.get(), CMSG_LEN(sizeof(int)));
  EXPECT_EQ(m.fds.size(), 1u);
  EXPECT_EQ(m.flags & MSG_CTRUNC, MSG_CTRUNC);
  for (int fd : m.fds) close(fd);
  EXPECT_EQ(SendFds(p.a.get(), "x", {0}), 1);
  EXPECT_EQ(ReceiveMessage(p.b.get(), 0).flags & MSG_CTRUNC, MSG_CTRUNC);
  EXPECT_ERRNO(EBADF, SendFds(p.a.get(), "x", {9999}));
}

TEST(UnixSocketTest, CredentialsComeWithPasscred) {
  Pair p(SOCK_DGRAM);
  int on = 1;
  ASSERT_EQ(setsockopt(p.b.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
  pid_t child = fork();
  if (child == 0) _exit(send(p.a.get(), "x", 1, 0) == 1 ? 0 : 1);
  Message m = ReceiveMessage(p.b.get());
  ASSERT_TRUE(m.has_credentials);
  EXPECT_EQ(m.credentials.pid, child);
  EXPECT_EQ(m.credentials.uid, getuid());
  int status;
  EXPECT_EQ(waitpid(child, &status, 0), child);
}

TEST(UnixSocketTest, OptionsAndErrors) {
  Fd s(socket(AF_UNIX, SOCK_STREAM, 0));
  auto get = [&](int name) {
    int value = -1;
    socklen_t length = sizeof(value);
    EXPECT_EQ(getsockopt(s.get(), SOL_SOCKET, name, &value, &length), 0) << name;
    return value;
  };
  EXPECT_EQ(get(SO_TYPE), SOCK_STREAM);
  EXPECT_EQ(get(SO_DOMAIN), AF_UNIX);
  EXPECT_EQ(get(SO_ACCEPTCONN), 0);
  EXPECT_EQ(get(SO_ERROR), 0);
  int size = 10000;
  ASSERT_EQ(setsockopt(s.get(), SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
  EXPECT_EQ(get(SO_SNDBUF), 20000);
  EXPECT_ERRNO(ENOPROTOOPT, setsockopt(s.get(), SOL_SOCKET, 9999, &size, sizeof(size)));
  EXPECT_ERRNO(EINVAL, setsockopt(s.get(), SOL_SOCKET, SO_SNDBUF, &size, 2));
  EXPECT_ERRNO(EAFNOSUPPORT, socket(1000, SOCK_STREAM, 0));
  EXPECT_ERRNO(EINVAL, socket(AF_UNIX, 100, 0));
  EXPECT_ERRNO(ESOCKTNOSUPPORT, socket(AF_UNIX, SOCK_RDM, 0));
  EXPECT_ERRNO(EPROTONOSUPPORT, socket(AF_UNIX, SOCK_STREAM, 77));
  EXPECT_ERRNO(ENOTSOCK, listen(STDIN_FILENO, 1));
  EXPECT_ERRNO(EBADF, listen(9999, 1));
  EXPECT_ERRNO(ENOTCONN, send(s.get(), "x", 1, 0));
  EXPECT_ERRNO(EINVAL, recv(s.get(), &size, 1, 0));
  EXPECT_ERRNO(EINVAL, accept(s.get(), nullptr, nullptr));
  EXPECT_ERRNO(ESPIPE, lseek(s.get(), 0, SEEK_SET));
}

TEST(UnixSocketTest, ReceiveTimeoutIsEagain) {
  Pair p(SOCK_STREAM);
  timeval tv = {0, 1000};
  ASSERT_EQ(setsockopt(p.a.get(), SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)), 0);
  char c;
  EXPECT_ERRNO(EAGAIN, recv(p.a.get(), &c, 1, 0));
}

TEST(UnixSocketTest, SeveralMessagesInOneCall) {
  Pair p(SOCK_DGRAM);
  char text[2][4] = {"one", "two"};
  iovec iov[2] = {{text[0], 3}, {text[1], 3}};
  mmsghdr messages[2] = {};
  for (int i = 0; i < 2; i++) {
    messages[i].msg_hdr.msg_iov = &iov[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  EXPECT_EQ(sendmmsg(p.a.get(), messages, 2, 0), 2);
  EXPECT_EQ(messages[1].msg_len, 3u);
  memset(text, 0, sizeof(text));
  EXPECT_EQ(recvmmsg(p.b.get(), messages, 2, MSG_WAITFORONE, nullptr), 2);
  EXPECT_STREQ(text[1], "two");
}

TEST(UnixSocketTest, TimeoutsHoldForReadAndWriteToo) {
  Pair p(SOCK_STREAM);
  timeval tv = {0, 1000};
  ASSERT_EQ(setsockopt(p.a.get(), SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)), 0);
  ASSERT_EQ(setsockopt(p.a.get(), SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)), 0);
  char c;
  EXPECT_ERRNO(EAGAIN, read(p.a.get(), &c, 1));
  std::vector<char> chunk(1 << 16);
  ssize_t n;
  do n = write(p.a.get(), chunk.data(), chunk.size());
  while (n == static_cast<ssize_t>(chunk.size()));
  EXPECT_ERRNO(EAGAIN, n > 0 ? write(p.a.get(), chunk.data(), chunk.size()) : n);
}

TEST(UnixSocketTest, NegativeTimeoutDoesNotWait) {
  Pair p(SOCK_STREAM);
  timeval tv = {-1, 0};
  ASSERT_EQ(setsockopt(p.a.get(), SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)), 0);
  char c;
  EXPECT_ERRNO(EAGAIN, read(p.a.get(), &c, 1));
  EXPECT_ERRNO(EAGAIN, recv(p.a.get(), &c, 1, 0));
  socklen_t length = sizeof(tv);
  ASSERT_EQ(getsockopt(p.a.get(), SOL_SOCKET, SO_RCVTIMEO, &tv, &length), 0);
  EXPECT_EQ(tv.tv_sec, 0);
}

TEST(UnixSocketTest, NobodyIsNamedForWhatWasSentBeforePasscred) {
  Pair p(SOCK_STREAM);
  ASSERT_EQ(send(p.a.get(), "early", 5, 0), 5);
  int on = 1;
  ASSERT_EQ(setsockopt(p.b.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
  ASSERT_EQ(send(p.a.get(), "late", 4, 0), 4);
  // The two are not joined: they have different senders.
  Message m = ReceiveMessage(p.b.get());
  EXPECT_EQ(m.text, "early");
  ASSERT_TRUE(m.has_credentials);
  EXPECT_EQ(m.credentials.pid, 0);
  EXPECT_EQ(m.credentials.uid, 65534u);
  m = ReceiveMessage(p.b.get());
  EXPECT_EQ(m.text, "late");
  EXPECT_EQ(m.credentials.pid, getpid());
}

TEST(UnixSocketTest, EmptyReceiveWaitsForSomething) {
  Pair p(SOCK_STREAM);
  char c;
  EXPECT_ERRNO(EAGAIN, recv(p.a.get(), &c, 0, MSG_DONTWAIT));
  EXPECT_EQ(read(p.a.get(), &c, 0), 0);
  ASSERT_EQ(send(p.b.get(), "x", 1, 0), 1);
  EXPECT_EQ(recv(p.a.get(), &c, 0, MSG_DONTWAIT), 0);
  EXPECT_EQ(Receive(p.a.get()), "x");
}

TEST(UnixSocketTest, OptionsOfOtherLevelsAreNotSupported) {
  Pair p(SOCK_STREAM);
  int value = 0;
  socklen_t length = sizeof(value);
  EXPECT_ERRNO(EOPNOTSUPP, getsockopt(p.a.get(), 263, 3, &value, &length));
  EXPECT_ERRNO(EOPNOTSUPP, setsockopt(p.a.get(), 263, 3, &value, length));
}

}  // namespace
}  // namespace sandboxd::test
