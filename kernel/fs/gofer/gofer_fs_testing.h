// For tests: the file system on a gofer in this process, used through the vfs as system calls do.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <thread>

#include "gofer/server/in_process_server.h"
#include "kernel/fs/gofer/superblock.h"
#include "kernel/mm/mappable.h"
#include "kernel/vfs/fd_table.h"
#include "kernel/vfs/vfs.h"
#include "kernel/wait/testing/thread_blocker.h"

namespace sandboxd::gofer_fs {
class TestCaller final : public vfs::Caller {
 public:
  explicit TestCaller(Ref<vfs::MountNamespace> ns)
      : ns_(std::move(ns)),
        creds_(creds::Credentials::Root(creds::UserNamespace::CreateInitial(),
                                        creds::CapSet::All())) {}
  creds::CredRef credentials() const override { return creds_; }
  vfs::Path root() const override { return ns_->root(); }
  vfs::Path cwd() const override { return ns_->root(); }
  Ref<vfs::MountNamespace> mount_namespace() const override { return ns_; }
  uint32_t umask() const override { return 0; }
  vfs::FdTable& files() override { return *files_; }
  mm::UserMemory memory() const override { CHECK_MSG(false, "no user memory here"); }
  wait::Blocker& blocker() override { return blocker_; }
  uint64_t file_size_limit() const override { return limit; }
  void SendSignalToSelf(int signo) override { last_signal = signo; }
  int32_t process_id() const override { return 1; }

  void Become(creds::CredRef who) { creds_ = std::move(who); }
  uint64_t limit = ~uint64_t{0};
  int last_signal = 0;

 private:
  Ref<vfs::MountNamespace> ns_;
  creds::CredRef creds_;
  Ref<vfs::FdTable> files_ = MakeRef<vfs::FdTable>();
  wait::ThreadBlocker blocker_;
};

class GoferFsTest : public ::testing::TestWithParam<Sharing> {
 protected:
  GoferFsTest() {
    ::chmod(tree_.path().c_str(), 0755);
    Start(GetParam());
  }
  ~GoferFsTest() override {
    // Everything that refers to the mount goes before the server waits for its client.
    caller_.reset();
  }

  void Start(Sharing sharing) {
    UniqueFd socket = server_.Connect();
    gofer_ = MUST(socket.Dup());
    auto superblock = MUST(Connect(std::move(socket), sharing));
    auto mount = MUST(vfs_.NewMount(std::move(superblock), 0, "root"));
    caller_ = std::make_unique<TestCaller>(MakeRef<vfs::MountNamespace>(std::move(mount)));
  }
  // From now on every request to the gofer fails.
  void LoseGofer() { ::shutdown(gofer_.get(), SHUT_RDWR); }

  TestCaller& c() { return *caller_; }
  Result<Ref<vfs::File>> Open(const std::string& path, int flags, uint32_t mode = 0644) {
    return vfs_.Open(c(), path, {}, {.flags = flags, .mode = mode});
  }
  Result<vfs::Attr> Stat(const std::string& path) {
    auto at = vfs_.Resolve(c(), path, {.follow_last = false});
    if (!at.ok()) return at.error();
    return vfs_.Stat(c(), *at);
  }
  Result<size_t> Write(vfs::File& file, const std::string& text) {
    mm::BufferSource source(std::as_bytes(std::span(text)));
    return file.Write(c(), source);
  }
  std::string ReadAll(vfs::File& file, int64_t offset = 0) {
    std::string text(1 << 16, '\0');
    mm::BufferSink sink(std::as_writable_bytes(std::span(text)));
    auto n = file.ReadAt(c(), sink, offset);
    if (!n.ok()) return ErrnoName(n.error());
    text.resize(*n);
    return text;
  }
  std::string ReadPath(const std::string& path) {
    auto file = Open(path, O_RDONLY);
    return file.ok() ? ReadAll(**file) : ErrnoName(file.error());
  }
  std::multiset<std::string> List(vfs::File& dir) {
    std::multiset<std::string> names;
    EXPECT_TRUE(dir.ReadDir(c(),
                            [&](const vfs::DirEntry& entry) {
                              names.emplace(entry.name);
                              return true;
                            })
                    .ok());
    return names;
  }

  gofer::TempTree tree_;
  gofer::InProcessServer server_{tree_.path()};
  UniqueFd gofer_;
  vfs::Vfs vfs_;
  std::unique_ptr<TestCaller> caller_;
};

}  // namespace sandboxd::gofer_fs
