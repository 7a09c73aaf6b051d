#include "kernel/fs/pseudo/node.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "kernel/vfs/mount.h"

namespace sandboxd::pseudo {
namespace {

// The most that one write may hand over.
constexpr size_t kMaxWrite = 64 << 10;

uint8_t TypeOf(uint32_t mode) { return static_cast<uint8_t>(IFTODT(mode)); }

}  // namespace

Node::Node(vfs::Superblock& superblock, const NodeInfo& info)
    : Inode(superblock, info.ino, info.mode), info_(info), made_(vfs::Time::NowCoarse()) {
  if (IsDirectory()) nlink_ = 2;
}

Result<vfs::Attr> Node::GetAttr() {
  vfs::Attr a;
  a.ino = info_.ino;
  a.mode = info_.mode;
  a.nlink = nlink_;
  a.uid = info_.uid;
  a.gid = info_.gid;
  a.blksize = 1024;
  a.atime = a.mtime = a.ctime = made_;
  return a;
}

Result<void> Node::SetAttr(const vfs::SetAttr& attr) {
  if (attr.mode || attr.uid || attr.gid) return Errno::kEPERM;
  return Ok();
}

class TextFile final : public vfs::File {
 public:
  TextFile(Ref<TextNode> node, const vfs::Path& path, int flags)
      : File(path, flags), node_(std::move(node)) {}

  bool seekable() const override { return true; }
  bool pollable() const override { return node_->options_.pollable; }

  // Text is made before the position's lock is taken: making it may need any lock.
  Result<size_t> Read(vfs::Caller& c, mm::IoSink& dst) override {
    TRY(Prepare(c, position()));
    MutexLock lock(position_mutex_);
    size_t n = TRY(Copy(dst, position()));
    position_.store(position() + static_cast<int64_t>(n), std::memory_order_relaxed);
    return n;
  }
  Result<size_t> ReadAt(vfs::Caller& c, mm::IoSink& dst, int64_t offset) override {
    TRY(Prepare(c, offset));
    return Copy(dst, offset);
  }
  Result<size_t> Write(vfs::Caller& c, mm::IoSource& src,
                       const vfs::ReadWriteOptions& options) override {
    size_t n = TRY(WriteAt(c, src, 0, options));
    MutexLock lock(position_mutex_);
    position_.store(position() + static_cast<int64_t>(n), std::memory_order_relaxed);
    return n;
  }
  Result<size_t> WriteAt(vfs::Caller& c, mm::IoSource& src, int64_t,
                         const vfs::ReadWriteOptions&) override {
    if (!node_->options_.accept) return Errno::kEINVAL;
    std::string text(std::min(src.remaining(), kMaxWrite), '\0');
    size_t n = TRY(src.Get(std::as_writable_bytes(std::span(text.data(), text.size()))));
    text.resize(n);
    TRY(node_->options_.accept(c, text));
    return n;
  }

 private:
  ~TextFile() override = default;

  Result<void> Prepare(vfs::Caller& c, int64_t offset) {
    {
      MutexLock lock(text_mutex_);
      if (offset != 0 && made_) return Ok();
    }
    if (!node_->options_.generate) return Errno::kEINVAL;
    std::string text = TRY(node_->options_.generate(c));
    MutexLock lock(text_mutex_);
    text_ = std::move(text);
    made_ = true;
    return Ok();
  }
  Result<size_t> Copy(mm::IoSink& dst, int64_t offset) {
    std::string piece;
    {
      MutexLock lock(text_mutex_);
      if (static_cast<uint64_t>(offset) >= text_.size()) return size_t{0};
      piece = text_.substr(static_cast<size_t>(offset), dst.remaining());
    }
    return dst.Put(std::as_bytes(std::span(piece.data(), piece.size())));
  }

  const Ref<TextNode> node_;
  Mutex text_mutex_{LockRank::kLeaf};
  std::string text_ GUARDED_BY(text_mutex_);
  bool made_ GUARDED_BY(text_mutex_) = false;
};

TextNode::TextNode(vfs::Superblock& superblock, const NodeInfo& info, TextOptions options)
    : Node(superblock, info), options_(std::move(options)) {}

Result<Ref<vfs::File>> TextNode::Open(vfs::Caller& c, const vfs::Path& path, int flags) {
  if (options_.may_open) TRY(options_.may_open(c));
  return Ref<vfs::File>(MakeRef<TextFile>(Ref<TextNode>(this), path, flags));
}

LinkNode::LinkNode(vfs::Superblock& superblock, const NodeInfo& info, Generate target)
    : Node(superblock, info), target_(std::move(target)) {}

namespace {

class DirectoryFile final : public vfs::File {
 public:
  DirectoryFile(Ref<DirectoryNode> node, const vfs::Path& path, int flags)
      : File(path, flags), node_(std::move(node)) {}

  bool seekable() const override { return true; }

  Result<void> ReadDir(vfs::Caller& c, const vfs::DirSink& sink) override {
    std::vector<DirectoryNode::Entry> entries = TRY(node_->List(c));
    uint64_t up = node_->ino();
    if (Ref<vfs::Dentry> parent = path().dentry->parent()) {
      if (parent->inode() != nullptr) up = parent->inode()->ino();
    }
    MutexLock lock(position_mutex_);
    int64_t at = position();
    auto offer = [&](std::string_view name, uint64_t ino, uint8_t type, int64_t cookie) {
      if (cookie < at) return true;
      if (!sink({name, ino, type, cookie + 1})) return false;
      at = cookie + 1;
      return true;
    };
    bool room = offer(".", node_->ino(), DT_DIR, 0) && offer("..", up, DT_DIR, 1);
    for (const auto& e : entries) room = room && offer(e.name, e.ino, e.type, e.cookie);
    position_.store(at, std::memory_order_relaxed);
    return Ok();
  }

 private:
  ~DirectoryFile() override = default;
  const Ref<DirectoryNode> node_;
};

}  // namespace

Result<Ref<vfs::File>> DirectoryNode::Open(vfs::Caller&, const vfs::Path& path, int flags) {
  return Ref<vfs::File>(MakeRef<DirectoryFile>(Ref<DirectoryNode>(this), path, flags));
}

void TableDirectory::Add(std::string name, Ref<vfs::Inode> inode) {
  if (inode->IsDirectory()) nlink_++;
  int64_t cookie = static_cast<int64_t>(rows_.size()) + 2;
  rows_.emplace(std::move(name), Row{std::move(inode), cookie});
}

vfs::Inode* TableDirectory::Find(std::string_view name) const {
  auto it = rows_.find(name);
  return it == rows_.end() ? nullptr : it->second.inode.get();
}

Result<Ref<vfs::Inode>> TableDirectory::Lookup(std::string_view name) {
  vfs::Inode* found = Find(name);
  if (found == nullptr) return Errno::kENOENT;
  return Ref<vfs::Inode>(found);
}

Result<std::vector<DirectoryNode::Entry>> TableDirectory::List(vfs::Caller&) {
  std::vector<Entry> all;
  all.reserve(rows_.size());
  for (const auto& [name, row] : rows_) {
    all.push_back({name, row.inode->ino(), TypeOf(row.inode->type()), row.cookie});
  }
  std::sort(all.begin(), all.end(),
            [](const Entry& a, const Entry& b) { return a.cookie < b.cookie; });
  return all;
}

Ref<TableDirectory> Builder::MakeDirectory(uint32_t permissions) {
  return MakeRef<TableDirectory>(superblock_, Info(S_IFDIR | permissions));
}

TableDirectory& Builder::Directory(TableDirectory& dir, std::string_view path) {
  size_t slash = path.find('/');
  std::string_view name = path.substr(0, slash);
  vfs::Inode* next = dir.Find(name);
  if (next == nullptr) {
    Ref<TableDirectory> made = MakeDirectory();
    next = made.get();
    dir.Add(std::string(name), std::move(made));
  }
  // What this builder makes at a folder's place is a table.
  auto& table = static_cast<TableDirectory&>(*next);
  return slash == std::string_view::npos ? table : Directory(table, path.substr(slash + 1));
}

TableDirectory& Builder::Parent(TableDirectory& dir, std::string_view& path) {
  size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return dir;
  TableDirectory& parent = Directory(dir, path.substr(0, slash));
  path.remove_prefix(slash + 1);
  return parent;
}

void Builder::Text(TableDirectory& dir, std::string_view path, Generate generate,
                   uint32_t permissions) {
  TextOptions options;
  options.generate = std::move(generate);
  Writable(dir, path, std::move(options), permissions);
}

void Builder::Writable(TableDirectory& dir, std::string_view path, TextOptions options,
                       uint32_t permissions) {
  TableDirectory& parent = Parent(dir, path);
  parent.Add(std::string(path),
             MakeRef<TextNode>(superblock_, Info(S_IFREG | permissions), std::move(options)));
}

void Builder::Constant(TableDirectory& dir, std::string_view path, std::string text,
                       uint32_t permissions) {
  Text(
      dir, path, [text = std::move(text)](vfs::Caller&) -> Result<std::string> { return text; },
      permissions);
}

void Builder::Link(TableDirectory& dir, std::string_view path, std::string target) {
  TableDirectory& parent = Parent(dir, path);
  auto read = [target = std::move(target)](vfs::Caller&) -> Result<std::string> { return target; };
  parent.Add(std::string(path), MakeRef<LinkNode>(superblock_, Info(S_IFLNK | 0777), read));
}

}  // namespace sandboxd::pseudo
