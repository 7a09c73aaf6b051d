// Building blocks of file systems whose files are made up as they are read (proc, sysfs): generated
// text, symlinks, directories from a table or from code.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/vfs/caller.h"
#include "kernel/vfs/file.h"
#include "kernel/vfs/inode.h"
#include "platform/base/ref.h"
#include "platform/base/result.h"

namespace sandboxd::pseudo {

struct NodeInfo {
  uint64_t ino = 0;
  uint32_t mode = 0;  // S_IFMT | permissions
  vfs::KUid uid;
  vfs::KGid gid;
};

// An inode with fixed attributes. O_TRUNC is let through and means nothing.
class Node : public vfs::Inode {
 public:
  Node(vfs::Superblock& superblock, const NodeInfo& info);
  Result<vfs::Attr> GetAttr() override;
  Result<void> SetAttr(const vfs::SetAttr& attr) override;

 protected:
  ~Node() override = default;
  uint32_t nlink_ = 1;

 private:
  const NodeInfo info_;
  const vfs::Time made_;
};

// The text of a file at this moment. Called without a lock held, on the reader's thread.
using Generate = std::function<Result<std::string>(vfs::Caller&)>;
// One write(2), whole. EINVAL, EPERM, ….
using Accept = std::function<Result<void>(vfs::Caller&, std::string_view text)>;
// A check when the file is opened, beyond permission bits.
using MayOpen = std::function<Result<void>(vfs::Caller&)>;

struct TextOptions {
  Generate generate;  // null: reads give EINVAL
  Accept accept;      // null: writes give EINVAL
  MayOpen may_open;   // null: no check
  bool pollable = false;
};

// A file of text. A description keeps what it generated until it is read from the start again, so
// that one pass over it is consistent.
class TextNode final : public Node {
 public:
  TextNode(vfs::Superblock& superblock, const NodeInfo& info, TextOptions options);
  Result<Ref<vfs::File>> Open(vfs::Caller& c, const vfs::Path& path, int flags) override;

 private:
  ~TextNode() override = default;
  friend class TextFile;
  const TextOptions options_;
};

// A symlink whose target depends on who looks.
class LinkNode final : public Node {
 public:
  LinkNode(vfs::Superblock& superblock, const NodeInfo& info, Generate target);
  Result<std::string> ReadLink(vfs::Caller& c) override { return target_(c); }

 private:
  ~LinkNode() override = default;
  const Generate target_;
};

// A directory. Listings are made afresh by each pass from the start.
class DirectoryNode : public Node {
 public:
  struct Entry {
    std::string name;
    uint64_t ino = 0;
    uint8_t type = 0;    // DT_*
    int64_t cookie = 0;  // place in the directory: ascending, at least 2
  };
  using Node::Node;
  Result<Ref<vfs::File>> Open(vfs::Caller& c, const vfs::Path& path, int flags) override;
  // Without "." and "..". Called without a lock held.
  virtual Result<std::vector<Entry>> List(vfs::Caller& c) = 0;

 protected:
  ~DirectoryNode() override = default;
};

// A directory with a fixed table of names, filled before anyone sees it.
class TableDirectory : public DirectoryNode {
 public:
  using DirectoryNode::DirectoryNode;
  void Add(std::string name, Ref<vfs::Inode> inode);
  // The subdirectory of that name, or null.
  vfs::Inode* Find(std::string_view name) const;
  Result<Ref<vfs::Inode>> Lookup(std::string_view name) override;
  Result<std::vector<Entry>> List(vfs::Caller& c) override;

 protected:
  ~TableDirectory() override = default;

 private:
  struct Row {
    Ref<vfs::Inode> inode;
    int64_t cookie;
  };
  std::map<std::string, Row, std::less<>> rows_;
};

// Fills tables: hands out inode numbers from `first_ino` on. Files are root's.
class Builder {
 public:
  Builder(vfs::Superblock& superblock, uint64_t first_ino)
      : superblock_(superblock), next_ino_(first_ino) {}

  Ref<TableDirectory> MakeDirectory(uint32_t permissions = 0555);
  // Each adds to `dir`; paths may have several parts, whose folders are made.
  TableDirectory& Directory(TableDirectory& dir, std::string_view path);
  void Text(TableDirectory& dir, std::string_view path, Generate generate,
            uint32_t permissions = 0444);
  void Writable(TableDirectory& dir, std::string_view path, TextOptions options,
                uint32_t permissions = 0644);
  void Constant(TableDirectory& dir, std::string_view path, std::string text,
                uint32_t permissions = 0444);
  void Link(TableDirectory& dir, std::string_view path, std::string target);

 private:
  NodeInfo Info(uint32_t mode) { return {next_ino_++, mode, creds::kRootUid, creds::kRootGid}; }
  // The folder of `path`'s last part, which is left in `path`.
  TableDirectory& Parent(TableDirectory& dir, std::string_view& path);

  vfs::Superblock& superblock_;
  uint64_t next_ino_;
};

}  // namespace sandboxd::pseudo
