// /proc/PID and /proc/PID/task/TID: the directory, its text files, and task/.
#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>

#include "kernel/fs/proc/task_ref.h"

namespace sandboxd::proc {
namespace {

using Maker = Ref<vfs::Inode> (*)(const TaskRef&, task::Task&, uint64_t);

Ref<vfs::Inode> MakeCwd(const TaskRef& r, task::Task& t, uint64_t ino) {
  return MakeTaskLink(r, t, "cwd", ino);
}
Ref<vfs::Inode> MakeRoot(const TaskRef& r, task::Task& t, uint64_t ino) {
  return MakeTaskLink(r, t, "root", ino);
}
Ref<vfs::Inode> MakeExe(const TaskRef& r, task::Task& t, uint64_t ino) {
  return MakeTaskLink(r, t, "exe", ino);
}

struct Special {
  const char* name;
  uint8_t type;
  Maker make;
  bool process_only = false;
};
constexpr Special kSpecials[] = {
    {"task", DT_DIR, MakeThreadsDirectory, true},
    {"fd", DT_DIR, MakeFdDirectory},
    {"fdinfo", DT_DIR, MakeFdInfoDirectory},
    {"ns", DT_DIR, MakeNsDirectory},
    {"net", DT_DIR, MakeNetDirectory},
    {"cwd", DT_LNK, MakeCwd},
    {"root", DT_LNK, MakeRoot},
    {"exe", DT_LNK, MakeExe},
    {"mem", DT_REG, MakeMemFile},
};

std::array<std::span<const TaskFile>, 4> Tables() {
  return {StatusFiles(), MemoryFiles(), MiscFiles(), MountFiles()};
}

// A text file of a task: each use finds the task again.
Ref<vfs::Inode> MakeTextFile(const TaskRef& ref, task::Task& task, const TaskFile& file,
                             uint64_t ino) {
  pseudo::TextOptions options;
  // proc(5): mounts can be polled for changes.
  options.pollable = std::string_view(file.name).starts_with("mount");
  if (file.generate != nullptr) {
    options.generate = [ref, &file](vfs::Caller& c) -> Result<std::string> {
      Ref<task::Task> t = TRY(ref.Get());
      return file.generate(View{*t, c, *ref.sb, ref.scope});
    };
  }
  if (file.accept != nullptr) {
    options.accept = [ref, &file](vfs::Caller& c, std::string_view text) -> Result<void> {
      Ref<task::Task> t = TRY(ref.Get());
      return file.accept(View{*t, c, *ref.sb, ref.scope}, text);
    };
  }
  if (file.restricted) {
    options.may_open = [ref](vfs::Caller& c) -> Result<void> {
      Ref<task::Task> t = TRY(ref.Get());
      return CheckAccess(View{*t, c, *ref.sb, ref.scope});
    };
  }
  Owner owner = OwnerOf(task);
  return MakeRef<pseudo::TextNode>(
      *ref.sb, pseudo::NodeInfo{ino, S_IFREG | file.permissions, owner.uid, owner.gid},
      std::move(options));
}

// Names of tasks come and go: nothing below is cached.
class TaskDirectory final : public pseudo::DirectoryNode {
 public:
  TaskDirectory(const TaskRef& ref, const Owner& owner)
      : DirectoryNode(*ref.sb, {BaseIno(ref), S_IFDIR | 0555, owner.uid, owner.gid}), ref_(ref) {}

  bool IsVolatile(std::string_view) const override { return true; }

  Result<Ref<vfs::Inode>> Lookup(std::string_view name) override {
    auto found = ref_.Get();
    if (!found.ok()) return Errno::kENOENT;
    task::Task& task = **found;
    uint64_t ino = BaseIno(ref_);
    for (const Special& s : kSpecials) {
      ino++;
      if (Has(s.process_only) && name == s.name) return s.make(ref_, task, ino);
    }
    for (auto table : Tables()) {
      for (const TaskFile& f : table) {
        ino++;
        if (Has(f.process_only) && name == f.name) return MakeTextFile(ref_, task, f, ino);
      }
    }
    return Errno::kENOENT;
  }

  Result<std::vector<Entry>> List(vfs::Caller&) override {
    if (!ref_.Get().ok()) return Errno::kENOENT;
    std::vector<Entry> all;
    uint64_t n = 0;
    auto add = [&](const char* name, uint8_t type, bool process_only) {
      n++;
      if (!Has(process_only)) return;
      all.push_back({name, BaseIno(ref_) + n, type, static_cast<int64_t>(n) + 1});
    };
    for (const Special& s : kSpecials) add(s.name, s.type, s.process_only);
    for (auto table : Tables()) {
      for (const TaskFile& f : table) add(f.name, DT_REG, f.process_only);
    }
    return all;
  }

 private:
  ~TaskDirectory() override = default;
  bool Has(bool process_only) const { return !process_only || ref_.scope == Scope::kProcess; }
  const TaskRef ref_;
};

// /proc/PID/task
class ThreadsDirectory final : public pseudo::DirectoryNode {
 public:
  ThreadsDirectory(const TaskRef& ref, const Owner& owner, uint64_t ino)
      : DirectoryNode(*ref.sb, {ino, S_IFDIR | 0555, owner.uid, owner.gid}), ref_(ref) {}

  bool IsVolatile(std::string_view) const override { return true; }
  Result<Ref<vfs::Inode>> Lookup(std::string_view name) override {
    TaskRef thread = TRY(FindThread(*ref_.sb, ref_, name));
    auto task = thread.Get();
    if (!task.ok()) return Errno::kENOENT;
    return MakeTaskDirectory(thread, **task);
  }
  Result<std::vector<Entry>> List(vfs::Caller&) override {
    auto leader = ref_.Get();
    if (!leader.ok()) return Errno::kENOENT;
    std::vector<Entry> all;
    for (const Ref<task::Task>& t : (*leader)->group().Tasks()) {
      Tid tid = t->TidIn(ref_.sb->ns());
      TaskRef thread{ref_.sb, tid, t->serial(), Scope::kThread};
      all.push_back({std::to_string(tid.value), BaseIno(thread), DT_DIR, int64_t{tid.value} + 1});
    }
    std::sort(all.begin(), all.end(),
              [](const Entry& a, const Entry& b) { return a.cookie < b.cookie; });
    return all;
  }

 private:
  ~ThreadsDirectory() override = default;
  const TaskRef ref_;
};

}  // namespace

Ref<vfs::Inode> MakeTaskDirectory(const TaskRef& ref, task::Task& task) {
  return MakeRef<TaskDirectory>(ref, OwnerOf(task));
}

Ref<vfs::Inode> MakeThreadsDirectory(const TaskRef& ref, task::Task& task, uint64_t ino) {
  return MakeRef<ThreadsDirectory>(ref, OwnerOf(task), ino);
}

}  // namespace sandboxd::proc
