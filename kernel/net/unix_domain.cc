#include "kernel/net/unix_domain.h"

#include "kernel/net/unix_socket.h"
#include "kernel/vfs/inode.h"
#include "platform/base/format.h"

namespace sandboxd::net {
namespace {

// Drops files one after another even where each one's end drops the next: a chain of sockets that
// hold each other in their queues can be longer than a stack.
thread_local std::vector<Ref<vfs::File>>* underway = nullptr;

void DropFiles(std::vector<Ref<vfs::File>> files) {
  if (underway != nullptr) {
    for (auto& file : files) underway->push_back(std::move(file));
    return;
  }
  underway = &files;
  while (!files.empty()) {
    Ref<vfs::File> last = std::move(files.back());
    files.pop_back();
    last.Reset();
  }
  underway = nullptr;
}

}  // namespace

// --- names ---

Result<void> UnixDomain::ClaimName(const std::string& name, UnixEndpoint& endpoint) {
  MutexLock lock(mutex_);
  if (!names_.try_emplace({endpoint.network(), name}, &endpoint).second) return Errno::kEADDRINUSE;
  return Ok();
}

void UnixDomain::ReleaseName(const std::string& name, UnixEndpoint& endpoint) {
  MutexLock lock(mutex_);
  auto found = names_.find({endpoint.network(), name});
  if (found != names_.end() && found->second == &endpoint) names_.erase(found);
}

Ref<UnixEndpoint> UnixDomain::FindName(const std::string& name, uint64_t network) {
  MutexLock lock(mutex_);
  auto found = names_.find({network, name});
  // An endpoint leaves the table before it goes, under this mutex.
  if (found == names_.end() || !found->second->TryIncRef()) return nullptr;
  return Ref<UnixEndpoint>::Adopt(found->second);
}

Result<std::string> UnixDomain::ClaimAnyName(UnixEndpoint& endpoint) {
  constexpr uint32_t kNames = 1 << 20;
  MutexLock lock(mutex_);
  for (uint32_t tries = 0; tries < kNames; tries++) {
    std::string name(1, '\0');
    name += StrFormat("%05x", next_auto_name_++ % kNames);
    if (names_.try_emplace({endpoint.network(), name}, &endpoint).second) return name;
  }
  return Errno::kENOSPC;
}

// --- endpoints and files ---

void UnixDomain::Register(UnixEndpoint& endpoint) {
  MutexLock lock(mutex_);
  endpoints_.insert(&endpoint);
}

void UnixDomain::Unregister(UnixEndpoint& endpoint) {
  MutexLock lock(mutex_);
  endpoints_.erase(&endpoint);
}

void UnixDomain::AddFile(UnixSocket& file) {
  MutexLock lock(mutex_);
  files_[&file] = &file.endpoint();
}

void UnixDomain::RemoveFile(UnixSocket& file) {
  MutexLock lock(mutex_);
  files_.erase(&file);
}

// --- files in flight ---

bool UnixDomain::IsSocketOf(vfs::File& file) {
  auto* socket = vfs::FileAs<Socket>(file);
  return socket != nullptr && socket->family() == AF_UNIX;
}

size_t UnixDomain::CountSockets(const std::vector<Ref<vfs::File>>& files) {
  size_t n = 0;
  for (const auto& file : files) n += IsSocketOf(*file) ? 1 : 0;
  return n;
}

Result<size_t> UnixDomain::WithFilesInFlight(const std::vector<Ref<vfs::File>>& files,
                                             const std::function<Result<size_t>()>& deliver) {
  const size_t sockets = CountSockets(files);  // `deliver` moves them away
  MutexLock lock(inflight_mutex_);
  size_t n = TRY(deliver());
  inflight_sockets_ += sockets;
  return n;
}

Result<Received> UnixDomain::WithFilesLanding(const std::function<Result<Received>()>& take,
                                              bool copies) {
  MutexLock lock(inflight_mutex_);
  Result<Received> r = take();
  if (r.ok() && !copies) inflight_sockets_ -= CountSockets(r->ancillary.files);
  return r;
}

void UnixDomain::DropQueues(UnixEndpoint& endpoint) {
  std::vector<Ref<vfs::File>> files;
  {
    MutexLock lock(inflight_mutex_);
    endpoint.Purge(files);
    inflight_sockets_ -= CountSockets(files);
  }
  DropFiles(std::move(files));
}

std::vector<Ref<UnixEndpoint>> UnixDomain::FindGarbage(std::vector<Ref<vfs::File>>& nodes) {
  std::map<vfs::File*, UnixEndpoint*> sockets;
  {
    MutexLock lock(mutex_);
    for (auto [file, endpoint] : files_) {
      // A file on its way out waits for mutex_ to leave the table.
      if (!file->TryIncRef()) continue;
      nodes.push_back(Ref<vfs::File>::Adopt(file));
      sockets.emplace(file, endpoint);
    }
  }
  std::map<vfs::File*, size_t> in_queues;
  for (auto [file, endpoint] : sockets) {
    endpoint->ForEachQueuedFile([&](vfs::File& f) { in_queues[&f]++; });
  }
  // Who has a reference that is neither a queue's nor ours is reachable; and so is what its queue
  // holds.
  std::vector<vfs::File*> reachable;
  for (auto [file, endpoint] : sockets) {
    if (file->ref_count_hint() - 1 > in_queues[file]) reachable.push_back(file);
  }
  std::set<vfs::File*> seen(reachable.begin(), reachable.end());
  while (!reachable.empty()) {
    UnixEndpoint* endpoint = sockets[reachable.back()];
    reachable.pop_back();
    endpoint->ForEachQueuedFile([&](vfs::File& f) {
      if (sockets.contains(&f) && seen.insert(&f).second) reachable.push_back(&f);
    });
  }
  std::vector<Ref<UnixEndpoint>> garbage;
  for (auto [file, endpoint] : sockets) {
    if (in_queues[file] > 0 && !seen.contains(file)) garbage.emplace_back(endpoint);
  }
  return garbage;
}

void UnixDomain::Collect() {
  // The socket whose end began all this collects when the others are gone.
  if (underway != nullptr) return;
  std::vector<Ref<vfs::File>> nodes;
  std::vector<Ref<UnixEndpoint>> garbage;
  {
    MutexLock lock(inflight_mutex_);
    if (inflight_sockets_ == 0) return;
    garbage = FindGarbage(nodes);
  }
  for (auto& endpoint : garbage) DropQueues(*endpoint);
  DropFiles(std::move(nodes));
}

std::string UnixDomain::ProcText() {
  std::vector<Ref<UnixEndpoint>> endpoints;
  std::map<UnixEndpoint*, uint64_t> inodes;
  {
    MutexLock lock(mutex_);
    for (UnixEndpoint* e : endpoints_) {
      if (e->TryIncRef()) endpoints.push_back(Ref<UnixEndpoint>::Adopt(e));
    }
    for (auto [file, endpoint] : files_) inodes[endpoint] = file->inode()->ino();
  }
  std::string text = "Num       RefCount Protocol Flags    Type St Inode Path\n";
  for (const auto& e : endpoints) {
    UnixEndpoint::State state = e->state();
    if (state == UnixEndpoint::State::kClosed) continue;
    const bool listening = state == UnixEndpoint::State::kListening;
    const bool connected = state == UnixEndpoint::State::kConnected;
    std::string name = e->name();
    for (char& c : name) c = c == '\0' ? '@' : c;
    // SO_ACCEPTCON; SS_CONNECTED 3, SS_UNCONNECTED 1.
    text +=
        StrFormat("%016x: %08X %08X %08X %04X %02X %5llu%s%s\n", 0, 2, 0, listening ? 0x10000 : 0,
                  e->type(), connected ? 3 : 1, static_cast<unsigned long long>(inodes[e.get()]),
                  name.empty() ? "" : " ", name.c_str());
  }
  return text;
}

}  // namespace sandboxd::net
