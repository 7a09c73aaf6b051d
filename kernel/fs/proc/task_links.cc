// /proc/PID/{cwd,root,exe,fd,fdinfo,ns}: links that lead to places.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "kernel/fs/proc/task_ref.h"
#include "kernel/task/nsfs.h"
#include "kernel/vfs/vfs.h"
#include "platform/base/format.h"

namespace sandboxd::proc {
namespace {

constexpr uint64_t kFdInoOffset = 0x100000;
constexpr uint64_t kMaxFdIno = 0x700000;

// What a link of this kind leads to. ENOENT if the task has no such thing any more.
class PlaceLink : public pseudo::Node {
 public:
  PlaceLink(const TaskRef& ref, const Owner& o, uint64_t ino, uint32_t permissions)
      : Node(*ref.sb, {ino, S_IFLNK | permissions, o.uid, o.gid}), ref_(ref) {}

  Result<vfs::Path> FollowMagic(vfs::Caller& c) override {
    Ref<task::Task> t = TRY(Look(c));
    return Place(*t);
  }
  Result<std::string> ReadLink(vfs::Caller& c) override {
    Ref<task::Task> t = TRY(Look(c));
    return Text(*t, c);
  }

 protected:
  ~PlaceLink() override = default;
  virtual Result<vfs::Path> Place(task::Task& t) = 0;
  virtual Result<std::string> Text(task::Task& t, vfs::Caller& c) {
    vfs::Path place = TRY(Place(t));
    return ref_.sb->kernel().vfs().PathString(place, c.root());
  }
  const TaskRef ref_;

 private:
  Result<Ref<task::Task>> Look(vfs::Caller& c) {
    Ref<task::Task> t = TRY(ref_.Get());
    TRY(CheckAccess(View{*t, c, *ref_.sb, ref_.scope}));
    return t;
  }
};

class CwdLink final : public PlaceLink {
 public:
  using PlaceLink::PlaceLink;

 private:
  Result<vfs::Path> Place(task::Task& t) override {
    Ref<task::FsContext> fs = t.fs();
    if (fs == nullptr) return Errno::kENOENT;
    return fs->cwd();
  }
};

class RootLink final : public PlaceLink {
 public:
  using PlaceLink::PlaceLink;

 private:
  Result<vfs::Path> Place(task::Task& t) override {
    Ref<task::FsContext> fs = t.fs();
    if (fs == nullptr) return Errno::kENOENT;
    return fs->root();
  }
};

class ExeLink final : public PlaceLink {
 public:
  using PlaceLink::PlaceLink;

 private:
  Result<vfs::Path> Place(task::Task& t) override {
    Ref<mm::MemoryManager> mm = t.mm();
    if (mm == nullptr) return Errno::kENOENT;
    Ref<RefCounted> file = mm->executable();
    if (file == nullptr) return Errno::kENOENT;
    // The loader puts a vfs::File there (memory_manager.h).
    return static_cast<vfs::File&>(*file).path();
  }
};

class FdLink final : public PlaceLink {
 public:
  FdLink(const TaskRef& ref, const Owner& o, uint64_t ino, uint32_t permissions, FdNum fd)
      : PlaceLink(ref, o, ino, permissions), fd_(fd) {}

 private:
  Result<Ref<vfs::File>> Find(task::Task& t) {
    Ref<vfs::FdTable> files = t.files_ref();
    if (files == nullptr) return Errno::kENOENT;
    auto file = files->Get(fd_);
    if (!file.ok()) return Errno::kENOENT;
    return file;
  }
  Result<vfs::Path> Place(task::Task& t) override { return TRY(Find(t))->path(); }
  Result<std::string> Text(task::Task& t, vfs::Caller& c) override {
    Ref<vfs::File> file = TRY(Find(t));
    std::string text = file->Describe();
    if (!text.empty()) return text;
    return ref_.sb->kernel().vfs().PathString(file->path(), c.root());
  }
  const FdNum fd_;
};

// The folder fd or fdinfo.
class FdDirectory final : public pseudo::DirectoryNode {
 public:
  FdDirectory(const TaskRef& ref, const Owner& o, uint64_t ino, bool info)
      : DirectoryNode(*ref.sb, {ino, S_IFDIR | (info ? 0555u : 0500u), o.uid, o.gid}),
        ref_(ref),
        owner_(o),
        info_(info) {}

  bool IsVolatile(std::string_view) const override { return true; }

  Result<Ref<vfs::Inode>> Lookup(std::string_view name) override {
    int64_t n = ParseName(name);
    if (n < 0) return Errno::kENOENT;
    FdNum fd(static_cast<int32_t>(n));
    Ref<vfs::FdTable> files = TRY(Files());
    auto file = files->Get(fd);
    if (!file.ok()) return Errno::kENOENT;
    if (info_) return MakeInfo(fd);
    uint32_t permissions = 0;
    if ((*file)->readable() || (*file)->is_path_only()) permissions |= S_IRUSR | S_IXUSR;
    if ((*file)->writable()) permissions |= S_IWUSR | S_IXUSR;
    return Ref<vfs::Inode>(MakeRef<FdLink>(ref_, owner_, InoOf(fd), permissions, fd));
  }

  Result<std::vector<Entry>> List(vfs::Caller& c) override {
    Ref<task::Task> t = TRY(ref_.Get());
    TRY(CheckAccess(View{*t, c, *ref_.sb, ref_.scope}));
    Ref<vfs::FdTable> files = TRY(Files());
    std::vector<Entry> all;
    for (FdNum fd : files->List()) {
      all.push_back({std::to_string(fd.value), InoOf(fd),
                     static_cast<uint8_t>(info_ ? DT_REG : DT_LNK), int64_t{fd.value} + 2});
    }
    return all;
  }

 private:
  ~FdDirectory() override = default;

  Result<Ref<vfs::FdTable>> Files() {
    auto t = ref_.Get();
    if (!t.ok()) return Errno::kENOENT;
    Ref<vfs::FdTable> files = (*t)->files_ref();
    if (files == nullptr) return Errno::kENOENT;
    return files;
  }
  uint64_t InoOf(FdNum fd) const {
    uint64_t n = static_cast<uint64_t>(fd.value) * 2 + (info_ ? 1 : 0);
    return BaseIno(ref_) + kFdInoOffset + n % kMaxFdIno;
  }
  Ref<vfs::Inode> MakeInfo(FdNum fd) {
    pseudo::TextOptions options;
    TaskRef ref = ref_;
    options.generate = [ref, fd](vfs::Caller& c) -> Result<std::string> {
      Ref<task::Task> t = TRY(ref.Get());
      TRY(CheckAccess(View{*t, c, *ref.sb, ref.scope}));
      Ref<vfs::FdTable> files = t->files_ref();
      if (files == nullptr) return Errno::kENOENT;
      Ref<vfs::File> file = TRY(files->Get(fd));
      bool cloexec = TRY(files->GetCloexec(fd));
      return StrFormat("pos:\t%lld\nflags:\t0%o\nmnt_id:\t%d\nino:\t%llu\n",
                       static_cast<long long>(file->position()),
                       static_cast<unsigned>(file->flags() | (cloexec ? O_CLOEXEC : 0)),
                       file->path().mount != nullptr ? file->path().mount->id() : 0,
                       static_cast<unsigned long long>(file->inode()->ino())) +
             file->FdInfo();
    };
    return MakeRef<pseudo::TextNode>(
        *ref_.sb, pseudo::NodeInfo{InoOf(fd), S_IFREG | 0400, owner_.uid, owner_.gid},
        std::move(options));
  }

  const TaskRef ref_;
  const Owner owner_;
  const bool info_;
};

// --- ns ---

struct NsKind {
  const char* name;
  Ref<creds::Namespace> (*get)(task::Task&);
};
constexpr NsKind kNamespaces[] = {
    {"cgroup", [](task::Task& t) { return Ref<creds::Namespace>(t.cgroup_ns()); }},
    {"ipc", [](task::Task& t) { return Ref<creds::Namespace>(t.ipc_ns()); }},
    {"mnt", [](task::Task& t) { return Ref<creds::Namespace>(t.mount_namespace()); }},
    {"net", [](task::Task& t) { return Ref<creds::Namespace>(t.net_ns()); }},
    {"pid", [](task::Task& t) { return Ref<creds::Namespace>(t.pid_ns()); }},
    {"pid_for_children",
     [](task::Task& t) {
       Ref<task::PidNamespace> ns = t.pid_ns_for_children();
       // pid_namespaces(7): empty until the first process is in it.
       MutexLock lock(t.kernel().tree_mutex());
       if (ns != t.pid_ns() && ns->last_pid() == 0) return Ref<creds::Namespace>();
       return Ref<creds::Namespace>(std::move(ns));
     }},
    {"time", [](task::Task& t) { return Ref<creds::Namespace>(t.time_ns()); }},
    {"time_for_children",
     [](task::Task& t) { return Ref<creds::Namespace>(t.time_ns_for_children()); }},
    {"user", [](task::Task& t) { return Ref<creds::Namespace>(t.credentials()->user_ns); }},
    {"uts", [](task::Task& t) { return Ref<creds::Namespace>(t.uts_ns()); }},
};

class NsLink final : public PlaceLink {
 public:
  NsLink(const TaskRef& ref, const Owner& o, uint64_t ino, const NsKind& kind)
      : PlaceLink(ref, o, ino, 0777), kind_(kind) {}

 private:
  Result<Ref<creds::Namespace>> Find(task::Task& t) const {
    Ref<creds::Namespace> ns = kind_.get(t);
    if (ns == nullptr) return Errno::kENOENT;
    return ns;
  }
  Result<vfs::Path> Place(task::Task& t) override {
    return task::NamespacePath(ref_.sb->kernel(), TRY(Find(t)));
  }
  Result<std::string> Text(task::Task& t, vfs::Caller&) override {
    return task::NamespaceName(*TRY(Find(t)));
  }
  const NsKind& kind_;
};

class NsDirectory final : public pseudo::DirectoryNode {
 public:
  NsDirectory(const TaskRef& ref, const Owner& o, uint64_t ino)
      : DirectoryNode(*ref.sb, {ino, S_IFDIR | 0511, o.uid, o.gid}), ref_(ref), owner_(o) {}
  bool IsVolatile(std::string_view) const override { return true; }
  Result<Ref<vfs::Inode>> Lookup(std::string_view name) override {
    uint64_t n = 0;
    for (const NsKind& kind : kNamespaces) {
      n++;
      if (name == kind.name) {
        return Ref<vfs::Inode>(MakeRef<NsLink>(ref_, owner_, BaseIno(ref_) + 0x1000 + n, kind));
      }
    }
    return Errno::kENOENT;
  }
  Result<std::vector<Entry>> List(vfs::Caller&) override {
    std::vector<Entry> all;
    for (const NsKind& kind : kNamespaces) {
      uint64_t n = all.size() + 1;
      all.push_back({kind.name, BaseIno(ref_) + 0x1000 + n, DT_LNK, static_cast<int64_t>(n) + 1});
    }
    return all;
  }

 private:
  ~NsDirectory() override = default;
  const TaskRef ref_;
  const Owner owner_;
};

}  // namespace

Ref<vfs::Inode> MakeTaskLink(const TaskRef& ref, task::Task& task, std::string_view name,
                             uint64_t ino) {
  Owner o = OwnerOf(task);
  if (name == "cwd") return MakeRef<CwdLink>(ref, o, ino, 0777u);
  if (name == "root") return MakeRef<RootLink>(ref, o, ino, 0777u);
  return MakeRef<ExeLink>(ref, o, ino, 0777u);
}

Ref<vfs::Inode> MakeFdDirectory(const TaskRef& ref, task::Task& task, uint64_t ino) {
  return MakeRef<FdDirectory>(ref, OwnerOf(task), ino, false);
}
Ref<vfs::Inode> MakeFdInfoDirectory(const TaskRef& ref, task::Task& task, uint64_t ino) {
  return MakeRef<FdDirectory>(ref, OwnerOf(task), ino, true);
}
Ref<vfs::Inode> MakeNsDirectory(const TaskRef& ref, task::Task& task, uint64_t ino) {
  return MakeRef<NsDirectory>(ref, OwnerOf(task), ino);
}

}  // namespace sandboxd::proc
