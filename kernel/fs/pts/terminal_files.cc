#include "kernel/fs/pts/terminal_files.h"

#include <fcntl.h>

#include <array>

#include "kernel/fs/pts/devpts.h"
#include "kernel/vfs/fd_table.h"
#include "kernel/vfs/inode.h"
#include "kernel/vfs/mount.h"

namespace sandboxd::pts {
namespace {

constexpr size_t kChunk = 4096;
// The limit of RLIMIT_NOFILE that Linux allows at most (fs.nr_open): an ioctl does not know the
// caller's.
constexpr uint64_t kMaxFds = 1 << 20;

}  // namespace

// --- slave ---

Result<Ref<vfs::File>> SlaveFile::Open(vfs::Caller& c, vfs::Path path, int flags,
                                       Ref<Terminal> terminal, JobControl* jobs) {
  Terminal::Generation generation = TRY(terminal->SlaveOpen(c));
  auto file = MakeRef<SlaveFile>(std::move(path), flags, terminal, generation);
  if ((flags & O_NOCTTY) == 0 && jobs != nullptr) {
    // Who can't have it as the controlling terminal still has the file.
    (void)jobs->SetControllingTerminal(c, std::move(terminal), /*steal=*/false);
  }
  return Ref<vfs::File>(std::move(file));
}

SlaveFile::SlaveFile(vfs::Path path, int flags, Ref<Terminal> terminal,
                     Terminal::Generation generation)
    : File(std::move(path), flags), terminal_(std::move(terminal)), generation_(generation) {}

SlaveFile::~SlaveFile() { terminal_->SlaveClose(generation_); }

Result<size_t> SlaveFile::Read(vfs::Caller& c, mm::IoSink& dst) {
  return terminal_->SlaveRead(c, dst, nonblocking(), generation_);
}

Result<size_t> SlaveFile::Write(vfs::Caller& c, mm::IoSource& src, const vfs::ReadWriteOptions&) {
  return terminal_->SlaveWrite(c, src, generation_);
}

Result<uint64_t> SlaveFile::Ioctl(vfs::Caller& c, uint32_t command, uint64_t argument) {
  if (terminal_->IsHungUp(generation_)) {
    return command == TIOCSPGRP ? Errno::kENOTTY : Errno::kEIO;
  }
  return terminal_->Ioctl(c, command, argument, Terminal::Side::kSlave);
}

wait::EventMask SlaveFile::Poll(wait::EventMask interest) {
  return terminal_->SlavePoll(interest, generation_);
}

void SlaveFile::AddWaiter(wait::WaitEntry& entry, wait::EventMask mask, bool exclusive) {
  terminal_->slave_queue().Add(entry, mask, exclusive);
}

// --- master ---

Result<Ref<vfs::File>> MasterFile::Open(vfs::Caller& c, vfs::Path path, int flags, vfs::Path root) {
  creds::CredRef creds = c.credentials();
  auto& devpts = static_cast<DevPts&>(root.dentry->inode()->superblock());
  Ref<Terminal> terminal = TRY(devpts.NewTerminal(creds->fsuid, creds->fsgid));
  return Ref<vfs::File>(
      MakeRef<MasterFile>(std::move(path), flags, std::move(root), std::move(terminal)));
}

MasterFile::MasterFile(vfs::Path path, int flags, vfs::Path root, Ref<Terminal> terminal)
    : File(std::move(path), flags), root_(std::move(root)), terminal_(std::move(terminal)) {}

MasterFile::~MasterFile() { devpts().CloseTerminal(*terminal_); }

DevPts& MasterFile::devpts() const {
  return static_cast<DevPts&>(root_.dentry->inode()->superblock());
}

Result<size_t> MasterFile::Read(vfs::Caller&, mm::IoSink& dst) {
  std::array<std::byte, kChunk> buffer;
  Bytes room = Bytes(buffer).first(std::min(buffer.size(), dst.remaining()));
  size_t n = TRY(terminal_->MasterRead(room));
  return dst.Put(ConstBytes(buffer).first(n));
}

Result<size_t> MasterFile::Write(vfs::Caller&, mm::IoSource& src, const vfs::ReadWriteOptions&) {
  std::array<std::byte, kChunk> buffer;
  size_t done = 0;
  while (src.remaining() > 0) {
    Result<size_t> got = src.Get(buffer);
    if (!got.ok()) return done > 0 ? Result<size_t>(done) : got;
    Result<size_t> taken = terminal_->MasterWrite(ConstBytes(buffer).first(*got));
    size_t n = taken.ok() ? *taken : 0;
    done += n;
    if (n == *got) continue;
    src.Unget(*got - n);
    return done > 0 ? Result<size_t>(done) : taken;
  }
  return done;
}

Result<uint64_t> MasterFile::Ioctl(vfs::Caller& c, uint32_t command, uint64_t argument) {
  if (command == TIOCGPTPEER) return OpenPeer(c, static_cast<int>(argument));
  return terminal_->Ioctl(c, command, argument, Terminal::Side::kMaster);
}

Result<uint64_t> MasterFile::OpenPeer(vfs::Caller& c, int flags) {
  vfs::Path place(root_.mount, TRY(root_.dentry->Lookup(std::to_string(terminal_->index()))));
  if (place.dentry->inode() == nullptr) return Errno::kEIO;
  Ref<vfs::File> file =
      TRY(SlaveFile::Open(c, place, flags & ~O_CLOEXEC, terminal_, devpts().job_control()));
  FdNum fd = TRY(c.files().Install(std::move(file), (flags & O_CLOEXEC) != 0, kMaxFds));
  return static_cast<uint64_t>(fd.value);
}

wait::EventMask MasterFile::Poll(wait::EventMask interest) {
  return terminal_->MasterPoll(interest);
}

void MasterFile::AddWaiter(wait::WaitEntry& entry, wait::EventMask mask, bool exclusive) {
  terminal_->master_queue().Add(entry, mask, exclusive);
}

std::string MasterFile::FdInfo() const {
  return "tty-index:\t" + std::to_string(terminal_->index()) + "\n";
}

}  // namespace sandboxd::pts
