#include "kernel/boot/mount_plan.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <iterator>

#include "platform/base/format.h"

namespace sandboxd::boot {
namespace {

struct MountOption {
  const char* name;
  uint32_t set;
  uint32_t clear;
};
constexpr MountOption kMountOptions[] = {
    {"ro", vfs::kMountReadOnly, 0},
    {"rw", 0, vfs::kMountReadOnly},
    {"nosuid", vfs::kMountNoSuid, 0},
    {"suid", 0, vfs::kMountNoSuid},
    {"nodev", vfs::kMountNoDev, 0},
    {"dev", 0, vfs::kMountNoDev},
    {"noexec", vfs::kMountNoExec, 0},
    {"exec", 0, vfs::kMountNoExec},
    {"noatime", vfs::kMountNoAtime, 0},
    {"atime", 0, vfs::kMountNoAtime},
    {"nodiratime", vfs::kMountNoDirAtime, 0},
    {"diratime", 0, vfs::kMountNoDirAtime},
    {"relatime", vfs::kMountRelatime, 0},
    {"norelatime", 0, vfs::kMountRelatime},
    {"strictatime", 0, vfs::kMountRelatime | vfs::kMountNoAtime},
    {"nosymfollow", vfs::kMountNoSymfollow, 0},
    {"defaults", 0, 0},
    // The folder comes from a gofer, which was given it with these; they say nothing more here.
    {"bind", 0, 0},
    {"rbind", 0, 0},
    // One container is one peer group of its own: nothing propagates in or out.
    {"private", 0, 0},
    {"rprivate", 0, 0},
};

struct DefaultMount {
  const char* destination;
  const char* type;
  uint32_t flags;
  const char* options;
};
constexpr DefaultMount kDefaultMounts[] = {
    {"/proc", "proc", vfs::kMountNoSuid | vfs::kMountNoDev | vfs::kMountNoExec, ""},
    {"/sys", "sysfs",
     vfs::kMountNoSuid | vfs::kMountNoDev | vfs::kMountNoExec | vfs::kMountReadOnly, ""},
    {"/dev", "devtmpfs", vfs::kMountNoSuid, "mode=755"},
    {"/dev/pts", "devpts", vfs::kMountNoSuid | vfs::kMountNoExec, "mode=620,ptmxmode=666,gid=5"},
    {"/dev/mqueue", "mqueue", vfs::kMountNoSuid | vfs::kMountNoDev | vfs::kMountNoExec, ""},
    {"/dev/shm", "tmpfs", vfs::kMountNoSuid | vfs::kMountNoDev | vfs::kMountNoExec, "mode=1777"},
};

constexpr const char* kTypes[] = {"gofer",  "proc",  "sysfs", "devtmpfs",
                                  "devpts", "tmpfs", "mqueue"};

// "/a//b/./c/" → "/a/b/c". ".." is refused by the caller: a mount's place must not depend on links.
std::string Normalize(const std::string& path) {
  std::string out;
  size_t at = 0;
  while (at < path.size()) {
    size_t end = path.find('/', at);
    if (end == std::string::npos) end = path.size();
    std::string part = path.substr(at, end - at);
    if (!part.empty() && part != ".") out += "/" + part;
    at = end + 1;
  }
  return out.empty() ? "/" : out;
}

bool PlanOne(const control::Mount& mount, PlannedMount* out, Failure* failure) {
  auto invalid = [&](std::string message) {
    *failure = {control::Status::INVALID_ARGUMENT, Errno::kEINVAL, std::move(message)};
    return false;
  };
  const char* where = mount.destination().c_str();
  if (mount.destination().empty() || mount.destination()[0] != '/') {
    return invalid(StrFormat("mounts: destination \"%s\" must be an absolute path", where));
  }
  out->destination = Normalize(mount.destination());
  if (out->destination == "/" || (out->destination + "/").find("/../") != std::string::npos) {
    return invalid(
        StrFormat("mounts: destination \"%s\" must name a place below / without \"..\"", where));
  }
  out->type = mount.type();
  // What OCI bundles call a tmpfs on /dev is to be filled with the standard devices.
  if (out->type == "tmpfs" && out->destination == "/dev") out->type = "devtmpfs";
  if (std::find(std::begin(kTypes), std::end(kTypes), out->type) == std::end(kTypes)) {
    return invalid(StrFormat("mounts: %s: file system type \"%s\" is not supported", where,
                             out->type.c_str()));
  }
  out->source = mount.source().empty() ? out->type : mount.source();
  if (out->type == "gofer") {
    if (!mount.has_gofer_fd())
      return invalid(StrFormat("mounts: %s: no gofer connection given", where));
    out->gofer_fd = static_cast<int>(mount.gofer_fd());
  }
  for (const std::string& option : mount.options()) {
    auto it = std::find_if(std::begin(kMountOptions), std::end(kMountOptions),
                           [&](const MountOption& known) { return option == known.name; });
    if (it != std::end(kMountOptions)) {
      out->flags = (out->flags | it->set) & ~it->clear;
    } else if (out->type == "devpts" && option == "newinstance") {
      // Every devpts is an instance of its own.
    } else {
      out->options += (out->options.empty() ? "" : ",") + option;
    }
  }
  return true;
}

}  // namespace

bool PlanMounts(const control::CreateContainer& spec, std::vector<PlannedMount>* plan,
                Failure* failure) {
  std::vector<PlannedMount> asked;
  for (const control::Mount& mount : spec.mounts()) {
    PlannedMount one;
    if (!PlanOne(mount, &one, failure)) return false;
    asked.push_back(std::move(one));
  }
  for (const DefaultMount& mount : kDefaultMounts) {
    bool given = std::any_of(asked.begin(), asked.end(), [&](const PlannedMount& m) {
      return m.destination == mount.destination;
    });
    if (given) continue;
    plan->push_back({mount.destination, mount.type, mount.type, mount.flags, mount.options, -1});
  }
  std::move(asked.begin(), asked.end(), std::back_inserter(*plan));
  // A mount would hide what was mounted below its place before it.
  auto depth = [](const PlannedMount& m) {
    return std::count(m.destination.begin(), m.destination.end(), '/');
  };
  std::stable_sort(plan->begin(), plan->end(), [&](const PlannedMount& a, const PlannedMount& b) {
    return depth(a) < depth(b);
  });
  return true;
}

Result<vfs::Path> EnsureMountpoint(vfs::Vfs& vfs, KernelCaller& caller,
                                   const std::string& destination, bool directory) {
  auto found = vfs.Resolve(caller, destination);
  if (found.ok() || !found.Is(Errno::kENOENT)) return found;
  for (size_t at = destination.find('/', 1); at != std::string::npos;
       at = destination.find('/', at + 1)) {
    auto made = vfs.Mkdir(caller, destination.substr(0, at), {}, 0755);
    if (!made.ok() && !made.Is(Errno::kEEXIST)) return made.error();
  }
  if (directory) {
    TRY(vfs.Mkdir(caller, destination, {}, 0755));
  } else {
    TRY(vfs.Open(caller, destination, {}, {O_CREAT | O_WRONLY | O_EXCL, 0644}));
  }
  return vfs.Resolve(caller, destination);
}

Result<void> MaskPath(vfs::Vfs& vfs, KernelCaller& caller, const std::string& path) {
  auto target = vfs.Resolve(caller, path);
  if (target.Is(Errno::kENOENT) || target.Is(Errno::kENOTDIR)) return Ok();
  if (!target.ok()) return target.error();
  vfs::Attr attr = TRY(vfs.Stat(caller, *target));
  if (!S_ISDIR(attr.mode)) {
    vfs::Path null = TRY(vfs.Resolve(caller, "/dev/null"));
    Ref<vfs::Mount> bound = TRY(caller.mount_namespace()->Bind(null, /*recursive=*/false));
    return caller.mount_namespace()->Attach(std::move(bound), *target);
  }
  vfs::FilesystemType* tmpfs = vfs.FindFilesystem("tmpfs");
  CHECK(tmpfs != nullptr);
  Ref<vfs::Superblock> empty = TRY(tmpfs->Mount(caller, "tmpfs", "mode=755"));
  Ref<vfs::Mount> mount = TRY(vfs.NewMount(std::move(empty), vfs::kMountReadOnly, "tmpfs"));
  return caller.mount_namespace()->Attach(std::move(mount), *target);
}

Result<void> MakeReadOnly(vfs::Vfs& vfs, KernelCaller& caller, const std::string& path) {
  auto target = vfs.Resolve(caller, path);
  if (target.Is(Errno::kENOENT) || target.Is(Errno::kENOTDIR)) return Ok();
  if (!target.ok()) return target.error();
  Ref<vfs::Mount> bound = TRY(caller.mount_namespace()->Bind(*target, /*recursive=*/true));
  bound->set_flags(bound->flags() | vfs::kMountReadOnly);
  return caller.mount_namespace()->Attach(std::move(bound), *target);
}

}  // namespace sandboxd::boot
