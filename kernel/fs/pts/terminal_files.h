// Open files of the two sides of a terminal.
#pragma once

#include "kernel/fs/pts/terminal.h"
#include "kernel/vfs/file.h"

namespace sandboxd::pts {

class DevPts;

class SlaveFile final : public vfs::File {
 public:
  // Opens the slave side: EIO, EBUSY. Without O_NOCTTY it becomes the controlling terminal of a
  // session leader that has none.
  static Result<Ref<vfs::File>> Open(vfs::Caller& c, vfs::Path path, int flags,
                                     Ref<Terminal> terminal, JobControl* jobs);

  Result<size_t> Read(vfs::Caller& c, mm::IoSink& dst) override;
  Result<size_t> Write(vfs::Caller& c, mm::IoSource& src,
                       const vfs::ReadWriteOptions& options) override;
  Result<uint64_t> Ioctl(vfs::Caller& c, uint32_t command, uint64_t argument) override;
  wait::EventMask Poll(wait::EventMask interest) override;
  bool pollable() const override { return true; }
  void AddWaiter(wait::WaitEntry& entry, wait::EventMask mask, bool exclusive) override;

 private:
  template <typename T, typename... Args>
  friend Ref<T> sandboxd::MakeRef(Args&&...);
  SlaveFile(vfs::Path path, int flags, Ref<Terminal> terminal, Terminal::Generation generation);
  ~SlaveFile() override;
  const Ref<Terminal> terminal_;
  const Terminal::Generation generation_;
};

class MasterFile final : public vfs::File {
 public:
  // A new pair. `root` is the root of the devpts instance as the caller reached it.
  static Result<Ref<vfs::File>> Open(vfs::Caller& c, vfs::Path path, int flags, vfs::Path root);

  Result<size_t> Read(vfs::Caller& c, mm::IoSink& dst) override;
  Result<size_t> Write(vfs::Caller& c, mm::IoSource& src,
                       const vfs::ReadWriteOptions& options) override;
  Result<uint64_t> Ioctl(vfs::Caller& c, uint32_t command, uint64_t argument) override;
  wait::EventMask Poll(wait::EventMask interest) override;
  bool pollable() const override { return true; }
  void AddWaiter(wait::WaitEntry& entry, wait::EventMask mask, bool exclusive) override;
  std::string FdInfo() const override;

 private:
  template <typename T, typename... Args>
  friend Ref<T> sandboxd::MakeRef(Args&&...);
  MasterFile(vfs::Path path, int flags, vfs::Path root, Ref<Terminal> terminal);
  ~MasterFile() override;
  Result<uint64_t> OpenPeer(vfs::Caller& c, int flags);  // TIOCGPTPEER
  DevPts& devpts() const;

  const vfs::Path root_;
  const Ref<Terminal> terminal_;
};

}  // namespace sandboxd::pts
