#include <errno.h>
#include <sys/epoll.h>
#include <sys/random.h>

#include <algorithm>
#include <array>

#include "kernel/fs/dev/dev.h"

namespace sandboxd::dev {

namespace {

constexpr size_t kChunk = 16 << 10;
constexpr std::array<std::byte, kChunk> kZeros{};

// Fills `dst` chunk by chunk; `fill` gives the next bytes, at most the size asked for.
template <typename Fill>
Result<size_t> FillSink(mm::IoSink& dst, Fill&& fill) {
  size_t total = 0;
  while (dst.remaining() > 0) {
    ConstBytes bytes = TRY(fill(std::min(dst.remaining(), kChunk)));
    Result<size_t> put = dst.Put(bytes);
    if (!put.ok()) return total > 0 ? Result<size_t>(total) : put;
    total += *put;
    if (*put < bytes.size()) break;
  }
  return total;
}

class MemoryDevice : public vfs::File {
 public:
  MemoryDevice(const vfs::Path& path, int flags) : File(path, flags) {}
  bool seekable() const override { return true; }
  // What is written vanishes, unread.
  Result<size_t> WriteAt(vfs::Caller&, mm::IoSource& src, int64_t,
                         const vfs::ReadWriteOptions&) override {
    return src.remaining();
  }
  // null_lseek: the position is always 0.
  Result<int64_t> Seek(vfs::Caller&, int64_t, int) override { return int64_t{0}; }
  bool pollable() const override { return true; }
};

class NullDevice final : public MemoryDevice {
 public:
  using MemoryDevice::MemoryDevice;
  Result<size_t> ReadAt(vfs::Caller&, mm::IoSink&, int64_t) override { return size_t{0}; }
};

class ZeroDevice : public MemoryDevice {
 public:
  using MemoryDevice::MemoryDevice;
  Result<size_t> ReadAt(vfs::Caller&, mm::IoSink& dst, int64_t) override {
    return FillSink(dst,
                    [](size_t n) -> Result<ConstBytes> { return ConstBytes(kZeros).first(n); });
  }
  // zero(4): mapping it is mapping anonymous memory.
  Result<Ref<mm::Mappable>> Mmap(vfs::Caller&, int, int) override { return Ref<mm::Mappable>(); }
};

class FullDevice final : public ZeroDevice {
 public:
  using ZeroDevice::ZeroDevice;
  Result<size_t> WriteAt(vfs::Caller&, mm::IoSource&, int64_t,
                         const vfs::ReadWriteOptions&) override {
    return Errno::kENOSPC;
  }
  Result<Ref<mm::Mappable>> Mmap(vfs::Caller&, int, int) override { return Errno::kENODEV; }
};

class RandomDevice final : public MemoryDevice {
 public:
  using MemoryDevice::MemoryDevice;
  Result<size_t> ReadAt(vfs::Caller&, mm::IoSink& dst, int64_t) override {
    std::array<std::byte, 4096> bounce;
    return FillSink(dst, [&](size_t n) -> Result<ConstBytes> {
      n = std::min(n, bounce.size());
      ssize_t got = getrandom(bounce.data(), n, 0);
      if (got < 0) return FromHostErrno(errno);
      return ConstBytes(bounce).first(static_cast<size_t>(got));
    });
  }
};

template <typename Device>
vfs::Vfs::DeviceOpener Opener() {
  return [](vfs::Caller&, const vfs::Path& path, vfs::DeviceNumber,
            int flags) -> Result<Ref<vfs::File>> {
    return Ref<vfs::File>(MakeRef<Device>(path, flags));
  };
}

}  // namespace

void RegisterMemoryDevices(vfs::Vfs& vfs) {
  constexpr uint32_t kMemMajor = 1;
  vfs.RegisterCharDevice(kMemMajor, 3, Opener<NullDevice>());
  vfs.RegisterCharDevice(kMemMajor, 5, Opener<ZeroDevice>());
  vfs.RegisterCharDevice(kMemMajor, 7, Opener<FullDevice>());
  vfs.RegisterCharDevice(kMemMajor, 8, Opener<RandomDevice>());
  vfs.RegisterCharDevice(kMemMajor, 9, Opener<RandomDevice>());
}

}  // namespace sandboxd::dev
