// /proc/PID/{mounts,mountinfo,mountstats}.
#include "kernel/fs/proc/task_ref.h"
#include "kernel/vfs/mount.h"
#include "kernel/vfs/vfs.h"
#include "platform/base/format.h"

namespace sandboxd::proc {
namespace {

std::string MountOptions(uint32_t flags) {
  std::string s = (flags & vfs::kMountReadOnly) != 0 ? "ro" : "rw";
  auto add = [&](uint32_t flag, const char* name) {
    if ((flags & flag) != 0) s += StrFormat(",%s", name);
  };
  add(vfs::kMountNoSuid, "nosuid");
  add(vfs::kMountNoDev, "nodev");
  add(vfs::kMountNoExec, "noexec");
  add(vfs::kMountNoAtime, "noatime");
  add(vfs::kMountNoDirAtime, "nodiratime");
  add(vfs::kMountRelatime, "relatime");
  add(vfs::kMountNoSymfollow, "nosymfollow");
  return s;
}

std::string SuperOptions(const vfs::Mount& mount) {
  std::string s = (mount.flags() & vfs::kMountReadOnly) != 0 ? "ro" : "rw";
  std::string own = mount.superblock()->OptionsString();
  return own.empty() ? s : s + "," + own;
}

// Where in its file system the mount's root is.
std::string RootInside(const vfs::Mount& mount) {
  std::string path;
  Ref<vfs::Dentry> d = mount.root();
  while (Ref<vfs::Dentry> up = d->parent()) {
    path = "/" + d->name() + path;
    d = std::move(up);
  }
  return path.empty() ? "/" : path;
}

// Calls visit(mount, parent id, where) for the mounts that the task can reach.
template <typename Visit>
void ForEachMount(const View& v, const Visit& visit) {
  Ref<vfs::MountNamespace> ns = v.task.mount_namespace();
  Ref<task::FsContext> fs = v.task.fs();
  if (ns == nullptr || fs == nullptr) return;
  vfs::Path root = fs->root();
  for (const vfs::MountNamespace::Entry& e : ns->List()) {
    std::string where = "/";
    const bool is_root = e.mount == root.mount.get();
    if (!is_root) {
      if (!e.mountpoint) continue;
      where = v.sb.kernel().vfs().PathString(e.mountpoint, root);
      if (where.empty() || where[0] != '/') continue;  // "(unreachable)"
    }
    visit(*e.mount, e.parent_id, MountSource(where));
  }
}

std::string SourceOf(const vfs::Mount& mount) {
  return MountSource(mount.source().empty() ? "none" : mount.source());
}

Result<std::string> Mounts(const View& v) {
  std::string s;
  ForEachMount(v, [&](const vfs::Mount& m, int, const std::string& where) {
    std::string options = MountOptions(m.flags());
    std::string own = m.superblock()->OptionsString();
    if (!own.empty()) options += "," + own;
    s += SourceOf(m) + " " + where + " " + std::string(m.superblock()->type_name()) + " " +
         options + " 0 0\n";
  });
  return s;
}

// proc(5), /proc/pid/mountinfo
Result<std::string> MountInfo(const View& v) {
  std::string s;
  ForEachMount(v, [&](const vfs::Mount& m, int parent, const std::string& where) {
    vfs::DeviceNumber dev = m.superblock()->device();
    s +=
        StrFormat("%d %d %u:%u %s %s %s - %s %s %s\n", m.id(), parent, dev.major, dev.minor,
                  MountSource(RootInside(m)).c_str(), where.c_str(),
                  MountOptions(m.flags()).c_str(), std::string(m.superblock()->type_name()).c_str(),
                  SourceOf(m).c_str(), SuperOptions(m).c_str());
  });
  return s;
}

Result<std::string> MountStats(const View& v) {
  std::string s;
  ForEachMount(v, [&](const vfs::Mount& m, int, const std::string& where) {
    s += "device " + SourceOf(m) + " mounted on " + where + " with fstype " +
         std::string(m.superblock()->type_name()) + "\n";
  });
  return s;
}

constexpr TaskFile kFiles[] = {
    {"mounts", 0444, Mounts},
    {"mountinfo", 0444, MountInfo},
    {"mountstats", 0400, MountStats, nullptr, false, true},
};

}  // namespace

std::span<const TaskFile> MountFiles() { return kFiles; }

std::string MountSource(std::string_view text) {
  std::string s;
  for (char c : text) {
    if (c == ' ' || c == '\t' || c == '\n' || c == '\\' || c == '#') {
      s += StrFormat("\\%03o", static_cast<unsigned char>(c));
    } else {
      s += c;
    }
  }
  return s;
}

}  // namespace sandboxd::proc
