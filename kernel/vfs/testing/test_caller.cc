#include "kernel/vfs/testing/test_caller.h"

namespace sandboxd::vfs {

Result<void> TestBlocker::Block(wait::Deadline deadline) {
  std::unique_lock<std::mutex> lock(mutex_);
  auto ready = [&] { return woken_ || interrupted_; };
  if (deadline) {
    if (!changed_.wait_for(lock, *deadline - wait::MonotonicNow(), ready)) return Errno::kETIMEDOUT;
  } else {
    changed_.wait(lock, ready);
  }
  if (std::exchange(interrupted_, false)) return Errno::kERESTARTSYS;
  woken_ = false;
  return Ok();
}

void TestBlocker::Wake() {
  std::lock_guard<std::mutex> lock(mutex_);
  woken_ = true;
  changed_.notify_all();
}

void TestBlocker::Interrupt() {
  std::lock_guard<std::mutex> lock(mutex_);
  interrupted_ = true;
  changed_.notify_all();
}

TestCaller::TestCaller(Vfs& vfs, Ref<Superblock> superblock)
    : ns_(MakeRef<MountNamespace>(MUST(vfs.NewMount(std::move(superblock), 0, "test")))),
      root_(ns_->root()),
      cwd_(root_),
      files_(MakeRef<FdTable>()),
      memory_(MakeRef<platform::FakeAddressSpace>()) {
  BecomeRoot();
}

TestCaller::TestCaller(const TestCaller& parent, Ref<FdTable> files)
    : creds_(parent.creds_),
      ns_(parent.ns_),
      root_(parent.root_),
      cwd_(parent.cwd_),
      files_(std::move(files)),
      memory_(parent.memory_) {}

void TestCaller::BecomeRoot() {
  creds_ = creds::Credentials::Root(creds::UserNamespace::CreateInitial(), creds::CapSet::All());
}

void TestCaller::BecomeUser(uint32_t uid, uint32_t gid) {
  auto c = creds::Credentials::Root(creds::UserNamespace::CreateInitial(), creds::CapSet{});
  c->ruid = c->euid = c->suid = c->fsuid = KUid(uid);
  c->rgid = c->egid = c->sgid = c->fsgid = KGid(gid);
  creds_ = c;
}

Result<std::string> ReadAll(Caller& c, File& file, size_t max) {
  std::string text(max, '\0');
  mm::BufferSink sink(std::as_writable_bytes(std::span(text)));
  size_t n = TRY(file.Read(c, sink));
  text.resize(n);
  return text;
}

Result<size_t> WriteString(Caller& c, File& file, std::string_view text) {
  mm::BufferSource source(std::as_bytes(std::span(text)));
  return file.Write(c, source);
}

std::vector<std::string> ListNames(Caller& c, File& directory) {
  std::vector<std::string> names;
  (void)directory.ReadDir(c, [&](const DirEntry& e) {
    names.emplace_back(e.name);
    return true;
  });
  return names;
}

}  // namespace sandboxd::vfs
