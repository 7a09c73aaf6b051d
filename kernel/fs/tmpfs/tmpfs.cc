#include "kernel/fs/tmpfs/tmpfs.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>

#include <charconv>
#include <vector>

#include "kernel/fs/tmpfs/tmpfs_directory.h"
#include "kernel/fs/tmpfs/tmpfs_regular.h"
#include "kernel/vfs/caller.h"
#include "kernel/vfs/mount.h"
#include "platform/base/checked_math.h"

namespace sandboxd::tmpfs {

namespace {

// "123", with k, m, g, t, p, e behind it (memparse); nullopt for anything else.
std::optional<uint64_t> ParseSize(std::string_view text) {
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end == text.data()) return std::nullopt;
  std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  if (unit.empty()) return value;
  if (unit.size() != 1) return std::nullopt;
  size_t power = std::string_view("kmgtpe").find(static_cast<char>(unit[0] | 0x20));
  if (power == std::string_view::npos) return std::nullopt;
  return CheckedMul<uint64_t>(value, uint64_t{1} << (10 * (power + 1)));
}

std::optional<uint32_t> ParseNumber(std::string_view text, int base) {
  uint32_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

uint64_t HostPages() {
  struct sysinfo info;
  if (sysinfo(&info) != 0) return (uint64_t{1} << 30) / kPageSize;
  return uint64_t{info.totalram} * info.mem_unit / kPageSize;
}

bool ApplyOption(std::string_view key, std::string_view value, Options& o) {
  if (key == "size") {
    if (value.ends_with('%')) {
      auto percent = ParseNumber(value.substr(0, value.size() - 1), 10);
      if (!percent) return false;
      o.max_pages = HostPages() * *percent / 100;
      return true;
    }
    auto bytes = ParseSize(value);
    if (!bytes) return false;
    o.max_pages = *bytes / kPageSize + (*bytes % kPageSize != 0 ? 1 : 0);
    return true;
  }
  if (key == "nr_blocks" || key == "nr_inodes") {
    auto n = ParseSize(value);
    if (!n) return false;
    (key == "nr_blocks" ? o.max_pages : o.max_inodes) = *n;
    return true;
  }
  if (key == "mode") {
    auto mode = ParseNumber(value, 8);
    if (mode) o.mode = *mode & 07777;
    return mode.has_value();
  }
  if (key == "uid" || key == "gid") {
    auto id = ParseNumber(value, 10);
    if (!id) return false;
    if (key == "uid") {
      o.uid = vfs::KUid(*id);
    } else {
      o.gid = vfs::KGid(*id);
    }
    return true;
  }
  // Hints about huge pages and memory placement, which are the host's business; and SELinux labels,
  // which nobody checks here.
  return key == "huge" || key == "mpol" || key == "inode64" || key == "inode32" ||
         key == "context" || key == "rw" || key == "ro" || key == "noswap";
}

bool Take(std::atomic<uint64_t>& used, uint64_t n, uint64_t max) {
  uint64_t before = used.load(std::memory_order_relaxed);
  do {
    if (max != 0 && (before >= max || n > max - before)) return false;
  } while (!used.compare_exchange_weak(before, before + n, std::memory_order_relaxed));
  return true;
}

}  // namespace

Result<Options> ParseOptions(std::string_view text, Options defaults) {
  Options o = defaults;
  while (!text.empty()) {
    size_t comma = text.find(',');
    std::string_view item = text.substr(0, comma);
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
    if (item.empty()) continue;
    size_t equals = item.find('=');
    std::string_view value =
        equals == std::string_view::npos ? std::string_view() : item.substr(equals + 1);
    if (!ApplyOption(item.substr(0, equals), value, o)) return Errno::kEINVAL;
  }
  return o;
}

TmpfsSuperblock::TmpfsSuperblock(std::string type_name, const Options& options, MemoryFiles& memory)
    : type_name_(std::move(type_name)),
      memory_(memory),
      initial_(options),
      max_pages_(options.max_pages),
      max_inodes_(options.max_inodes) {
  vfs::NewNode root{S_IFDIR | options.mode, options.uid, options.gid, {}};
  used_inodes_.fetch_add(1, std::memory_order_relaxed);
  root_ = MakeRef<TmpfsDirectory>(*this, root);
}

// A tree can be as deep as a program likes: it is taken apart in a loop.
TmpfsSuperblock::~TmpfsSuperblock() {
  std::vector<Ref<TmpfsInode>> stack;
  root_->TakeEntries(stack);
  while (!stack.empty()) {
    Ref<TmpfsInode> top = std::move(stack.back());
    stack.pop_back();
    if (top->IsDirectory()) static_cast<TmpfsDirectory&>(*top).TakeEntries(stack);
  }
}

Ref<vfs::Inode> TmpfsSuperblock::RootInode() { return root_; }

bool TmpfsSuperblock::TakePages(uint64_t n) {
  return Take(used_pages_, n, max_pages_.load(std::memory_order_relaxed));
}

bool TmpfsSuperblock::TakeInode() {
  return Take(used_inodes_, 1, max_inodes_.load(std::memory_order_relaxed));
}

Result<vfs::FsStat> TmpfsSuperblock::StatFs() {
  vfs::FsStat s;
  s.type = TMPFS_MAGIC;
  auto fill = [](uint64_t max, uint64_t used, uint64_t& total, uint64_t& free) {
    total = max;
    free = max > used ? max - used : 0;
  };
  fill(max_pages_.load(std::memory_order_relaxed), used_pages_.load(std::memory_order_relaxed),
       s.blocks, s.blocks_free);
  s.blocks_available = s.blocks_free;
  fill(max_inodes_.load(std::memory_order_relaxed), used_inodes_.load(std::memory_order_relaxed),
       s.files, s.files_free);
  return s;
}

std::string TmpfsSuperblock::OptionsString() const {
  std::string text;
  auto add = [&text](std::string item) { text += (text.empty() ? "" : ",") + item; };
  if (uint64_t pages = max_pages_.load(std::memory_order_relaxed); pages != 0)
    add("size=" + std::to_string(pages * (kPageSize / 1024)) + "k");
  if (uint64_t inodes = max_inodes_.load(std::memory_order_relaxed); inodes != 0)
    add("nr_inodes=" + std::to_string(inodes));
  if (initial_.mode != 01777) {
    char octal[8] = {};
    std::to_chars(octal, octal + sizeof octal - 1, initial_.mode, 8);
    add(std::string("mode=") + octal);
  }
  if (initial_.uid.value != 0) add("uid=" + std::to_string(initial_.uid.value));
  if (initial_.gid.value != 0) add("gid=" + std::to_string(initial_.gid.value));
  return text;
}

Result<void> TmpfsSuperblock::Remount(std::string_view options) {
  Options current = initial_;
  current.max_pages = max_pages_.load(std::memory_order_relaxed);
  current.max_inodes = max_inodes_.load(std::memory_order_relaxed);
  Options next = TRY(ParseOptions(options, current));
  // tmpfs(5): a remount may not shrink below what is in use.
  if (next.max_pages != 0 && next.max_pages < used_pages_.load(std::memory_order_relaxed))
    return Errno::kEINVAL;
  if (next.max_inodes != 0 && next.max_inodes < used_inodes_.load(std::memory_order_relaxed))
    return Errno::kEINVAL;
  max_pages_.store(next.max_pages, std::memory_order_relaxed);
  max_inodes_.store(next.max_inodes, std::memory_order_relaxed);
  return Ok();
}

Result<Ref<TmpfsInode>> TmpfsSuperblock::NewNamed(const vfs::NewNode& node) {
  if (S_ISREG(node.mode)) return Ref<TmpfsInode>(MakeRef<TmpfsRegular>(*this, node, 1));
  return Ref<TmpfsInode>(MakeRef<TmpfsSpecial>(*this, node));
}

Result<Ref<vfs::Inode>> TmpfsSuperblock::NewUnnamed(const vfs::NewNode& node) {
  if (!TakeInode()) return Errno::kENOSPC;
  return Ref<vfs::Inode>(MakeRef<TmpfsRegular>(*this, node, 0));
}

Result<Ref<vfs::Superblock>> TmpfsType::Mount(vfs::Caller& c, std::string_view,
                                              std::string_view options) {
  creds::CredRef creds = c.credentials();
  Options defaults;
  defaults.max_pages = HostPages() / 2;  // tmpfs(5): "half of your physical RAM"
  defaults.max_inodes = defaults.max_pages;
  defaults.uid = creds->fsuid;
  defaults.gid = creds->fsgid;
  Options parsed = TRY(ParseOptions(options, defaults));
  return Ref<vfs::Superblock>(MakeRef<TmpfsSuperblock>("tmpfs", parsed, memory_));
}

namespace {

Result<Ref<vfs::File>> CreateMemfd(vfs::Caller& c, const Ref<vfs::Mount>& mount,
                                   std::string_view name, const vfs::Vfs::MemfdRequest& request) {
  auto& fs = static_cast<TmpfsSuperblock&>(*mount->superblock());
  creds::CredRef creds = c.credentials();
  uint32_t mode = S_IFREG | (request.executable ? 0777 : 0666);
  Ref<vfs::Inode> inode = TRY(fs.NewUnnamed({mode, creds->fsuid, creds->fsgid, {}}));
  if (request.allow_sealing) static_cast<TmpfsRegular&>(*inode).AllowSealing(request.executable);
  Ref<vfs::Dentry> dentry =
      vfs::Dentry::MakeUnlinked(inode, nullptr, "/memfd:" + std::string(name));
  return inode->Open(c, vfs::Path(mount, std::move(dentry)), O_RDWR);
}

}  // namespace

vfs::Vfs::MemfdOpener MakeMemfdOpener(vfs::Vfs& vfs, MemoryFiles& memory) {
  Ref<vfs::Superblock> fs = MakeRef<TmpfsSuperblock>("tmpfs", Options{}, memory);
  Ref<vfs::Mount> mount = MUST(vfs.NewMount(std::move(fs), 0, "tmpfs"));  // never fails
  return [mount](vfs::Caller& c, std::string_view name, const vfs::Vfs::MemfdRequest& request) {
    return CreateMemfd(c, mount, name, request);
  };
}

}  // namespace sandboxd::tmpfs
