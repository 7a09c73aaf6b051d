#include "kernel/fs/proc/proc_fs.h"

#include <dirent.h>
#include <linux/magic.h>
#include <sys/stat.h>

#include <utility>

#include "kernel/fs/proc/proc_superblock.h"
#include "kernel/fs/proc/task_ref.h"
#include "platform/base/format.h"

namespace sandboxd::proc {
namespace {

constexpr uint64_t kRootIno = 1;
constexpr uint64_t kSelfIno = 2, kThreadSelfIno = 3;
constexpr uint64_t kFirstTableIno = 16;  // below any task's: those begin at 1 << 24
constexpr int64_t kFirstPidCookie = 1 << 20;

bool IsNumber(std::string_view name) { return ParseName(name) >= 0; }

class Root final : public pseudo::TableDirectory {
 public:
  explicit Root(ProcSuperblock& sb)
      : TableDirectory(sb, {kRootIno, S_IFDIR | 0555, creds::kRootUid, creds::kRootGid}), sb_(sb) {}

  // What isn't in the table is a process, or can't be made.
  bool IsVolatile(std::string_view name) const override { return Find(name) == nullptr; }
  Result<Ref<vfs::Inode>> Lookup(std::string_view name) override {
    if (!IsNumber(name)) return TableDirectory::Lookup(name);
    TaskRef ref = TRY(FindProcess(sb_, name));
    auto task = ref.Get();
    if (!task.ok()) return Errno::kENOENT;
    return MakeTaskDirectory(ref, **task);
  }
  Result<std::vector<Entry>> List(vfs::Caller& c) override {
    std::vector<Entry> all = TRY(TableDirectory::List(c));
    MutexLock lock(sb_.kernel().tree_mutex());
    for (task::Task* t : sb_.ns().Tasks()) {
      if (!t->is_leader()) continue;
      int pid = t->TidIn(sb_.ns()).value;
      all.push_back(
          {std::to_string(pid), uint64_t(uint32_t(pid)) << 24, DT_DIR, kFirstPidCookie + pid});
    }
    return all;
  }

 private:
  ~Root() override = default;
  ProcSuperblock& sb_;
};

// /proc/self and /proc/thread-self: ENOENT for a reader that this instance's namespace can't see.
Ref<vfs::Inode> MakeSelf(ProcSuperblock& sb, bool thread) {
  auto target = [&sb, thread](vfs::Caller& c) -> Result<std::string> {
    auto* task = static_cast<task::Task*>(c.task());
    if (task == nullptr) return Errno::kENOENT;
    int pid = task->group().TgidIn(sb.ns()).value;
    int tid = task->TidIn(sb.ns()).value;
    if (pid == 0) return Errno::kENOENT;
    return thread ? StrFormat("%d/task/%d", pid, tid) : std::to_string(pid);
  };
  return MakeRef<pseudo::LinkNode>(
      sb,
      pseudo::NodeInfo{thread ? kThreadSelfIno : kSelfIno, S_IFLNK | 0777, creds::kRootUid,
                       creds::kRootGid},
      target);
}

class ProcType final : public vfs::FilesystemType {
 public:
  ProcType(task::Kernel& kernel, ProcOptions options)
      : kernel_(kernel), options_(std::move(options)) {}
  std::string_view name() const override { return "proc"; }
  bool user_mountable() const override { return true; }
  Result<Ref<vfs::Superblock>> Mount(vfs::Caller& c, std::string_view,
                                     std::string_view options) override {
    // proc(5), "Mount options": only the default, seeing everything, is built.
    if (!options.empty() && options != "hidepid=0" && options != "hidepid=off") {
      return Errno::kEINVAL;
    }
    auto* task = static_cast<task::Task*>(c.task());
    return NewProcSuperblock(kernel_, task != nullptr ? task->pid_ns() : kernel_.init_pid_ns(),
                             options_);
  }

 private:
  task::Kernel& kernel_;  // outlives the registry that holds this
  const ProcOptions options_;
};

}  // namespace

ProcSuperblock::ProcSuperblock(task::Kernel& kernel, Ref<task::PidNamespace> ns,
                               ProcOptions options)
    : kernel_(kernel), ns_(std::move(ns)), options_(std::move(options)) {
  auto root = MakeRef<Root>(*this);
  pseudo::Builder builder(*this, kFirstTableIno);
  root->Add("self", MakeSelf(*this, false));
  root->Add("thread-self", MakeSelf(*this, true));
  AddGlobalFiles(builder, *root, *this);
  AddMemoryFiles(builder, *root, *this);
  AddEmptyFiles(builder, *root);
  AddSysctl(builder, *root, *this);
  root_ = std::move(root);
}

Result<vfs::FsStat> ProcSuperblock::StatFs() {
  vfs::FsStat s;
  s.type = PROC_SUPER_MAGIC;
  return s;
}

std::unique_ptr<vfs::FilesystemType> MakeProcFilesystem(task::Kernel& kernel, ProcOptions options) {
  return std::make_unique<ProcType>(kernel, std::move(options));
}

Ref<vfs::Superblock> NewProcSuperblock(task::Kernel& kernel, Ref<task::PidNamespace> ns,
                                       const ProcOptions& options) {
  return MakeRef<ProcSuperblock>(kernel, std::move(ns), options);
}

}  // namespace sandboxd::proc
