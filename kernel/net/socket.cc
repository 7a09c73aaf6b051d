#include "kernel/net/socket.h"

#include <linux/capability.h>
#include <sys/time.h>

#include <algorithm>
#include <climits>

#include "kernel/vfs/caller.h"
#include "kernel/vfs/inode.h"
#include "platform/base/format.h"

namespace sandboxd::net {
namespace {

// Options that are remembered and read back. What they change is a matter of network protocols
// (keep-alive, routing); for local sockets they change nothing on Linux either.
constexpr int kBooleans[] = {SO_DEBUG,     SO_REUSEADDR,   SO_DONTROUTE, SO_BROADCAST, SO_KEEPALIVE,
                             SO_OOBINLINE, SO_NO_CHECK,    SO_REUSEPORT, SO_PASSCRED,  SO_PASSSEC,
                             SO_TIMESTAMP, SO_TIMESTAMPNS, SO_RXQ_OVFL,  SO_ZEROCOPY};
// SO_RCVTIMEO_NEW and SO_SNDTIMEO_NEW of asm-generic/socket.h.
constexpr int kReceiveTimeoutNew = 66, kSendTimeoutNew = 67;
// socket(7): net.core.{r,w}mem_max, and the smallest buffers.
constexpr uint32_t kBufferMax = 212992;
constexpr uint32_t kSendBufferMin = 4608, kReceiveBufferMin = 2304;

bool IsBoolean(int name) { return std::ranges::find(kBooleans, name) != std::end(kBooleans); }

template <typename T>
std::vector<std::byte> Value(const T& value) {
  ConstBytes bytes = AsBytes(value);
  return {bytes.begin(), bytes.end()};
}

template <typename T>
Result<T> Decode(ConstBytes bytes) {
  T value;
  if (bytes.size() < sizeof(T)) return Errno::kEINVAL;
  memcpy(&value, bytes.data(), sizeof(T));
  return value;
}

std::vector<std::byte> TimeoutValue(Nanos timeout) {
  timeval tv = {};
  tv.tv_sec = timeout.count() / 1'000'000'000;
  tv.tv_usec = timeout.count() % 1'000'000'000 / 1000;
  return Value(tv);
}

Result<Nanos> DecodeTimeout(ConstBytes bytes) {
  timeval tv = TRY(Decode<timeval>(bytes));
  if (tv.tv_usec < 0 || tv.tv_usec >= 1'000'000) return Errno::kEDOM;
  // A negative time means not to wait at all: as good as the shortest one.
  if (tv.tv_sec < 0) return Nanos(1);
  if (tv.tv_sec > INT_MAX) return Nanos(0);  // for ever
  return Nanos(tv.tv_sec * 1'000'000'000 + tv.tv_usec * 1000);
}

}  // namespace

bool Socket::option(int name) const {
  MutexLock lock(options_mutex_);
  return ((options_.flags >> name) & 1) != 0;
}
uint32_t Socket::send_buffer() const {
  MutexLock lock(options_mutex_);
  return options_.send_buffer;
}

uint32_t Socket::receive_buffer() const {
  MutexLock lock(options_mutex_);
  return options_.receive_buffer;
}
size_t Socket::receive_low_water() const {
  MutexLock lock(options_mutex_);
  return static_cast<size_t>(options_.receive_low_water);
}
std::optional<int> Socket::linger() const {
  MutexLock lock(options_mutex_);
  if (options_.linger_on == 0) return std::nullopt;
  return options_.linger_seconds;
}
void Socket::SetDefaultBuffers(uint32_t send, uint32_t receive) {
  MutexLock lock(options_mutex_);
  options_.send_buffer = send;
  options_.receive_buffer = receive;
}
void Socket::CopyOptions(const Socket& from) {
  Options copy;
  {
    MutexLock lock(from.options_mutex_);
    copy = from.options_;
  }
  receive_timeout_.store(from.receive_timeout().count(), std::memory_order_relaxed);
  send_timeout_.store(from.send_timeout().count(), std::memory_order_relaxed);
  MutexLock lock(options_mutex_);
  options_ = copy;
}

void Socket::SetBoolean(int name, bool on) {
  MutexLock lock(options_mutex_);
  options_.flags &= ~(uint64_t{1} << name);
  options_.flags |= uint64_t{on} << name;
}

// AF_UNIX has no options of its own at all.
Errno Socket::UnknownLevel() const {
  return family() == AF_UNIX ? Errno::kEOPNOTSUPP : Errno::kENOPROTOOPT;
}

std::string Socket::Describe() const {
  return StrFormat("socket:[%llu]", static_cast<unsigned long long>(inode()->ino()));
}

Result<size_t> Socket::Read(vfs::Caller& c, mm::IoSink& dst) {
  if (dst.remaining() == 0) return size_t{0};  // unlike recv(2), read(2) asks nobody then
  return TRY(Receive(c, dst, 0)).length;
}

Result<size_t> Socket::Write(vfs::Caller& c, mm::IoSource& src, const vfs::ReadWriteOptions&) {
  SendRequest request;
  return Send(c, src, request);
}

Result<std::vector<std::byte>> Socket::GetOption(vfs::Caller&, int level, int name, size_t) {
  if (level != SOL_SOCKET) return UnknownLevel();
  switch (name) {
    case SO_TYPE:
      return Value(int32_t{type()});
    case SO_DOMAIN:
      return Value(int32_t{family()});
    case SO_PROTOCOL:
      return Value(int32_t{protocol()});
    case SO_ERROR:
      return Value(int32_t{TakeError()});
    case SO_ACCEPTCONN:
      return Value(int32_t{listening() ? 1 : 0});
  }
  MutexLock lock(options_mutex_);
  switch (name) {
    case SO_SNDBUF:
      return Value(options_.send_buffer);
    case SO_RCVBUF:
      return Value(options_.receive_buffer);
    case SO_RCVTIMEO:
    case kReceiveTimeoutNew:
      return TimeoutValue(receive_timeout());
    case SO_SNDTIMEO:
    case kSendTimeoutNew:
      return TimeoutValue(send_timeout());
    case SO_LINGER:
      return Value(std::array<int32_t, 2>{options_.linger_on, options_.linger_seconds});
    case SO_RCVLOWAT:
      return Value(options_.receive_low_water);
    case SO_SNDLOWAT:
      return Value(int32_t{1});
    case SO_PRIORITY:
      return Value(options_.priority);
    default:
      if (!IsBoolean(name)) return Errno::kENOPROTOOPT;
      return Value(static_cast<int32_t>((options_.flags >> name) & 1));
  }
}

Result<void> Socket::SetOption(vfs::Caller& c, int level, int name, ConstBytes bytes) {
  if (level != SOL_SOCKET) return UnknownLevel();
  const bool admin = c.credentials()->CapableInit(CAP_NET_ADMIN);
  switch (name) {
    case SO_RCVTIMEO:
    case kReceiveTimeoutNew:
    case SO_SNDTIMEO:
    case kSendTimeoutNew: {
      Nanos timeout = TRY(DecodeTimeout(bytes));
      bool receive = name == SO_RCVTIMEO || name == kReceiveTimeoutNew;
      (receive ? receive_timeout_ : send_timeout_)
          .store(timeout.count(), std::memory_order_relaxed);
      return Ok();
    }
    case SO_LINGER: {
      auto value = TRY((Decode<std::array<int32_t, 2>>(bytes)));
      MutexLock lock(options_mutex_);
      options_.linger_on = value[0] != 0 ? 1 : 0;
      options_.linger_seconds = value[1];
      return Ok();
    }
  }
  auto value = TRY(Decode<int32_t>(bytes));
  // socket(7): "The kernel doubles this value".
  auto buffer = [&](uint32_t min, bool force) {
    // A negative size is a very large one, unless it is forced.
    if (!force) return std::max(min, 2 * std::min(static_cast<uint32_t>(value), kBufferMax));
    return std::max(min, 2 * static_cast<uint32_t>(std::clamp(value, 0, INT_MAX / 2)));
  };
  MutexLock lock(options_mutex_);
  switch (name) {
    case SO_SNDBUFFORCE:
    case SO_RCVBUFFORCE:
      if (!admin) return Errno::kEPERM;
      break;
    case SO_TYPE:
    case SO_DOMAIN:
    case SO_PROTOCOL:
    case SO_ERROR:
    case SO_ACCEPTCONN:
      return Errno::kENOPROTOOPT;
    case SO_DETACH_FILTER:
      return Errno::kENOENT;  // there never is one
  }
  switch (name) {
    case SO_SNDBUF:
    case SO_SNDBUFFORCE:
      options_.send_buffer = buffer(kSendBufferMin, name == SO_SNDBUFFORCE);
      return Ok();
    case SO_RCVBUF:
    case SO_RCVBUFFORCE:
      options_.receive_buffer = buffer(kReceiveBufferMin, name == SO_RCVBUFFORCE);
      return Ok();
    case SO_RCVLOWAT:
      options_.receive_low_water = value <= 0 ? 1 : value;
      return Ok();
    case SO_PRIORITY:
      if ((value < 0 || value > 6) && !admin) return Errno::kEPERM;
      options_.priority = value;
      return Ok();
    default:
      if (!IsBoolean(name)) return Errno::kENOPROTOOPT;
      options_.flags &= ~(uint64_t{1} << name);
      options_.flags |= uint64_t{value != 0} << name;
      return Ok();
  }
}

}  // namespace sandboxd::net
