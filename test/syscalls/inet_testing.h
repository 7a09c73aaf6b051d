// Addresses and sockets of the internet families, for tests of them.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstring>
#include <string>

#include "test/syscalls/testing.h"

namespace sandboxd::test {

// An address of either family.
struct Inet {
  sockaddr_storage storage = {};
  socklen_t length = sizeof(storage);

  Inet() = default;
  Inet(const char* text, int port) {
    auto* in = reinterpret_cast<sockaddr_in*>(&storage);
    auto* in6 = reinterpret_cast<sockaddr_in6*>(&storage);
    if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
      in->sin_family = AF_INET;
      in->sin_port = htons(static_cast<uint16_t>(port));
      length = sizeof(sockaddr_in);
    } else {
      EXPECT_EQ(inet_pton(AF_INET6, text, &in6->sin6_addr), 1) << text;
      in6->sin6_family = AF_INET6;
      in6->sin6_port = htons(static_cast<uint16_t>(port));
      length = sizeof(sockaddr_in6);
    }
  }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  int port() const {
    return ntohs(storage.ss_family == AF_INET
                     ? reinterpret_cast<const sockaddr_in*>(&storage)->sin_port
                     : reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port);
  }
  std::string text() const {
    char out[INET6_ADDRSTRLEN] = "";
    const void* at =
        storage.ss_family == AF_INET
            ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in*>(&storage)->sin_addr)
            : &reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_addr;
    inet_ntop(storage.ss_family, at, out, sizeof(out));
    return out;
  }
};

inline int FamilyOf(const char* address) {
  return strchr(address, ':') != nullptr ? AF_INET6 : AF_INET;
}

inline Inet LocalOf(int fd) {
  Inet a;
  EXPECT_EQ(getsockname(fd, a.get(), &a.length), 0);
  return a;
}
inline Inet PeerOf(int fd) {
  Inet a;
  EXPECT_EQ(getpeername(fd, a.get(), &a.length), 0);
  return a;
}

// A socket bound to a free port of `address`.
inline Fd Bound(const char* address, int type, int port = 0) {
  Fd fd(socket(FamilyOf(address), type, 0));
  EXPECT_GE(fd.get(), 0);
  Inet at(address, port);
  EXPECT_EQ(bind(fd.get(), at.get(), at.length), 0) << strerror(errno);
  return fd;
}

inline Fd Listener(const char* address = "127.0.0.1", int backlog = 8) {
  Fd fd = Bound(address, SOCK_STREAM);
  EXPECT_EQ(listen(fd.get(), backlog), 0);
  return fd;
}

// A socket connected to `port` of `address`.
inline Fd ConnectedTo(const char* address, int port, int type = SOCK_STREAM) {
  Fd fd(socket(FamilyOf(address), type, 0));
  Inet to(address, port);
  EXPECT_EQ(connect(fd.get(), to.get(), to.length), 0) << strerror(errno);
  return fd;
}

// Both ends of a TCP connection.
struct TcpPair {
  explicit TcpPair(const char* address = "127.0.0.1") : client(-1), server(-1) {
    Fd listener = Listener(address);
    new (&client) Fd(ConnectedTo(address, LocalOf(listener.get()).port()));
    new (&server) Fd(accept(listener.get(), nullptr, nullptr));
    EXPECT_GE(server.get(), 0);
  }
  Fd client, server;
};

inline int GetInt(int fd, int level, int name) {
  int value = -1;
  socklen_t length = sizeof(value);
  EXPECT_EQ(getsockopt(fd, level, name, &value, &length), 0)
      << level << " " << name << strerror(errno);
  return value;
}
inline int SetInt(int fd, int level, int name, int value) {
  return setsockopt(fd, level, name, &value, sizeof(value));
}

inline short PollNow(int fd, short events, int timeout_ms = 0) {
  pollfd p = {fd, events, 0};
  EXPECT_GE(poll(&p, 1, timeout_ms), 0);
  return p.revents;
}

inline std::string ReceiveText(int fd, size_t max = 100, int flags = 0) {
  std::string text(max, '\0');
  ssize_t n = recv(fd, text.data(), max, flags);
  EXPECT_GE(n, 0) << strerror(errno);
  text.resize(n > 0 ? static_cast<size_t>(n) : 0);
  return text;
}
inline ssize_t SendText(int fd, const std::string& text, int flags = 0) {
  return send(fd, text.data(), text.size(), flags | MSG_NOSIGNAL);
}

}  // namespace sandboxd::test
