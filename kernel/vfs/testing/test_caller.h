// A vfs::Caller for unit tests: a process with a root file system, an fd table and memory, but no
// task.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

#include "kernel/vfs/caller.h"
#include "kernel/vfs/fd_table.h"
#include "kernel/vfs/file.h"
#include "kernel/vfs/mount.h"
#include "kernel/vfs/vfs.h"
#include "platform/testing/fake_platform.h"

namespace sandboxd::vfs {

// Block() waits for Wake(); Interrupt() makes it return ERESTARTSYS once.
class TestBlocker final : public wait::Blocker {
 public:
  Result<void> Block(wait::Deadline deadline) override;
  void Wake() override;
  void Interrupt();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false;
  bool interrupted_ = false;
};

class TestCaller final : public Caller {
 public:
  // Root of a fresh namespace whose only mount is `superblock`; all capabilities; umask 022.
  TestCaller(Vfs& vfs, Ref<Superblock> superblock);
  // Another process in the same namespace.
  TestCaller(const TestCaller& parent, Ref<FdTable> files);

  creds::CredRef credentials() const override { return creds_; }
  Path root() const override { return root_; }
  Path cwd() const override { return cwd_; }
  Ref<MountNamespace> mount_namespace() const override { return ns_; }
  uint32_t umask() const override { return umask_; }
  FdTable& files() override { return *files_; }
  mm::UserMemory memory() const override { return mm::UserMemory(*memory_); }
  wait::Blocker& blocker() override { return blocker_; }
  uint64_t file_size_limit() const override { return file_size_limit_; }
  void SendSignalToSelf(int signo) override { signals_.push_back(signo); }
  int32_t process_id() const override { return 1; }

  // Ordinary user `uid`, group `gid`, no capabilities.
  void BecomeUser(uint32_t uid, uint32_t gid);
  void BecomeRoot();
  void Chdir(Path path) { cwd_ = std::move(path); }
  void Chroot(Path path) { root_ = std::move(path); }
  void set_umask(uint32_t mask) { umask_ = mask; }
  void set_file_size_limit(uint64_t bytes) { file_size_limit_ = bytes; }
  const std::vector<int>& signals() const { return signals_; }
  TestBlocker& test_blocker() { return blocker_; }
  platform::FakeAddressSpace& address_space() { return *memory_; }

 private:
  creds::CredRef creds_;
  Ref<MountNamespace> ns_;
  Path root_, cwd_;
  Ref<FdTable> files_;
  Ref<platform::FakeAddressSpace> memory_;
  TestBlocker blocker_;
  uint32_t umask_ = 022;
  uint64_t file_size_limit_ = UINT64_MAX;
  std::vector<int> signals_;
};

// Whole files by buffers of ours.
Result<std::string> ReadAll(Caller& c, File& file, size_t max = 1 << 20);
Result<size_t> WriteString(Caller& c, File& file, std::string_view text);
std::vector<std::string> ListNames(Caller& c, File& directory);

}  // namespace sandboxd::vfs
