// DevPts: the devpts file system: ptmx and a numbered slave for each open pair (pts(4)). Each mount
// is an instance of its own.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "kernel/fs/pts/job_control.h"
#include "kernel/fs/pts/terminal.h"
#include "kernel/time/timer.h"
#include "kernel/vfs/inode.h"
#include "kernel/vfs/vfs.h"
#include "platform/base/mutex.h"
#include "platform/base/ref.h"
#include "platform/base/result.h"

namespace sandboxd::pts {

class SlaveInode;

struct DevPtsOptions {
  std::optional<vfs::KUid> uid;  // of slaves; otherwise their opener's
  std::optional<vfs::KGid> gid;
  uint32_t mode = 0600;
  uint32_t ptmx_mode = 0;
  uint32_t max = 1 << 20;
};

class DevPts final : public vfs::Superblock {
 public:
  DevPts(const DevPtsOptions& options, JobControl* jobs, time::TimerService* timers);

  // The instance behind an inode, or null.
  static DevPts* Of(vfs::Inode& inode);

  std::string_view type_name() const override { return kTypeName; }
  Ref<vfs::Inode> RootInode() override { return root_; }
  Result<vfs::FsStat> StatFs() override;
  std::string OptionsString() const override;

  // A new pair, whose slave appears under its number, locked; ENOSPC. CloseTerminal is called once,
  // by whoever owns the master side: it takes the number away and hangs up.
  Result<Ref<Terminal>> NewTerminal(vfs::KUid uid, vfs::KGid gid);
  void CloseTerminal(Terminal& terminal);

  Ref<vfs::Inode> Find(std::string_view name);
  std::vector<uint32_t> List() const;
  Ref<vfs::Inode> ptmx() const { return ptmx_; }
  JobControl* job_control() const { return jobs_; }

  static constexpr std::string_view kTypeName = "devpts";

 private:
  ~DevPts() override;
  const DevPtsOptions options_;
  JobControl* const jobs_;            // outlives all file systems, as does
  time::TimerService* const timers_;  // this
  const Ref<IndexPool> pool_;
  const Ref<vfs::Inode> root_;
  const Ref<vfs::Inode> ptmx_;
  mutable Mutex mutex_{LockRank::kFileSystem};
  std::map<uint32_t, Ref<SlaveInode>> slaves_ GUARDED_BY(mutex_);
};

class DevPtsType final : public vfs::FilesystemType {
 public:
  DevPtsType(JobControl* jobs, time::TimerService* timers) : jobs_(jobs), timers_(timers) {}
  std::string_view name() const override { return DevPts::kTypeName; }
  bool user_mountable() const override { return true; }
  Result<Ref<vfs::Superblock>> Mount(vfs::Caller& c, std::string_view source,
                                     std::string_view options) override;

 private:
  JobControl* const jobs_;
  time::TimerService* const timers_;
};

// "gid=5,mode=620,ptmxmode=666". EINVAL for what devpts does not know.
Result<DevPtsOptions> ParseOptions(std::string_view text);

// Registers /dev/tty (5:0) and /dev/ptmx (5:2). A ptmx outside devpts opens a pair of the instance
// that is mounted on "pts" beside it.
void RegisterTerminalDevices(vfs::Vfs& vfs, JobControl* jobs);

}  // namespace sandboxd::pts
