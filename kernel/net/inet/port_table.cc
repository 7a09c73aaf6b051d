#include "kernel/net/inet/port_table.h"

#include <sys/random.h>

#include <algorithm>

namespace sandboxd::net {
namespace {

// Do the two local addresses have an address in common?
bool Overlap(const PortBinding& a, const InetAddress& local, const PortBinding& b) {
  const bool a_v4 = local.is_v4(), b_v4 = b.local.is_v4();
  if (a_v4 == b_v4) return local.is_any() || b.local.is_any() || local.SameIp(b.local);
  // "::" stands for every IPv4 address too, unless IPV6_V6ONLY.
  return a_v4 ? b.local.is_any() && !b.v6_only : local.is_any() && !a.v6_only;
}

// Does a datagram or connection to `to` reach a socket bound to `b.local`?
bool Reaches(const PortBinding& b, const InetAddress& to) {
  if (b.local.SameIp(to)) return true;
  if (!b.local.is_any()) return false;
  return b.local.is_v4() == to.is_v4() || (to.is_v4() && !b.v6_only);
}

size_t HashOf(const InetAddress& a, const InetAddress& b) {
  size_t h = 14695981039346656037u;
  auto mix = [&](uint8_t byte) { h = (h ^ byte) * 1099511628211u; };
  for (uint8_t byte : a.ip) mix(byte);
  for (uint8_t byte : b.ip) mix(byte);
  for (uint16_t p : {a.port, b.port}) {
    mix(static_cast<uint8_t>(p));
    mix(static_cast<uint8_t>(p >> 8));
  }
  return h ^ (h >> 29);
}

}  // namespace

bool PortTable::Lingers(uint16_t port) const {
  return std::ranges::any_of(lingering_,
                             [&](const Lingering& l) { return l.binding.local.port == port; });
}

void PortTable::DropExpired() {
  const Nanos now = wait::MonotonicNow();
  std::erase_if(lingering_, [&](const Lingering& l) { return l.until <= now; });
}

void PortTable::KeepTaken(const PortBinding& binding, Nanos time) {
  MutexLock lock(mutex_);
  if (binding.local.port == 0) return;
  if (lingering_.size() == kMaxLingering) lingering_.pop_front();
  lingering_.push_back({binding, wait::MonotonicNow() + time});
}

bool PortTable::Conflicts(const PortBinding& a, const InetAddress& local) const {
  for (const Lingering& l : lingering_) {
    if (l.binding.local.port != local.port || !Overlap(a, local, l.binding)) continue;
    if (!a.reuse_address || !l.binding.reuse_address) return true;
  }
  auto found = ports_.find(local.port);
  if (found == ports_.end()) return false;
  auto conflicts = [&](const PortBinding* b) {
    if (b == &a || !Overlap(a, local, *b)) return false;
    if (a.reuse_port && b->reuse_port && a.uid == b->uid) return false;
    if (!a.reuse_address || !b->reuse_address) return true;
    return protocol_ == Protocol::kTcp && b->listening;
  };
  return std::ranges::any_of(found->second.bound, conflicts) ||
         std::ranges::any_of(found->second.accepted, conflicts);
}

void PortTable::Insert(PortBinding& binding) {
  Bindings& list = ports_[binding.local.port].ListOf(binding);
  binding.index = list.size();
  list.push_back(&binding);
}

Result<InetAddress> PortTable::Bind(PortBinding& binding, const InetAddress& local,
                                    bool for_connect) {
  MutexLock lock(mutex_);
  CHECK(binding.local.port == 0);
  if (!for_connect) DropExpired();
  InetAddress chosen = local;
  if (local.port == 0) {
    constexpr uint16_t kCount = kLastEphemeral - kFirstEphemeral + 1;
    if (next_ephemeral_ == 0) {
      if (getrandom(&next_ephemeral_, sizeof(next_ephemeral_), GRND_NONBLOCK) < 0) {
        next_ephemeral_ = 1;
      }
    }
    for (uint16_t tries = 0; chosen.port == 0; tries++) {
      if (tries == kCount) return for_connect ? Errno::kEADDRNOTAVAIL : Errno::kEADDRINUSE;
      auto port = static_cast<uint16_t>(kFirstEphemeral + next_ephemeral_++ % kCount);
      if (!ports_.contains(port) && (for_connect || !Lingers(port))) chosen.port = port;
    }
  } else if (Conflicts(binding, local)) {
    return Errno::kEADDRINUSE;
  }
  binding.local = chosen;
  Insert(binding);
  return chosen;
}

void PortTable::Share(PortBinding& binding, const PortBinding& listener, const InetAddress& local) {
  MutexLock lock(mutex_);
  binding.v6 = listener.v6;
  binding.v6_only = listener.v6_only;
  binding.reuse_address = listener.reuse_address;
  binding.reuse_port = listener.reuse_port;
  binding.uid = listener.uid;
  binding.local = local;
  binding.accepted = true;
  Insert(binding);
}

void PortTable::Release(PortBinding& binding) {
  MutexLock lock(mutex_);
  auto found = ports_.find(binding.local.port);
  if (binding.local.port == 0 || found == ports_.end()) return;
  Bindings& list = found->second.ListOf(binding);
  list.back()->index = binding.index;
  list[binding.index] = list.back();
  list.pop_back();
  if (found->second.bound.empty() && found->second.accepted.empty()) ports_.erase(found);
  binding.local = {};
  binding.remote = {};
  binding.listening = binding.accepted = false;
}

void PortTable::SetReuse(PortBinding& binding, bool address, bool port) {
  MutexLock lock(mutex_);
  binding.reuse_address = address;
  binding.reuse_port = port;
}

void PortTable::SetLocal(PortBinding& binding, const InetAddress& local) {
  MutexLock lock(mutex_);
  CHECK(local.port == binding.local.port);
  binding.local = local;
}

void PortTable::SetRemote(PortBinding& binding, const InetAddress& remote) {
  MutexLock lock(mutex_);
  binding.remote = remote;
}

Result<void> PortTable::SetListening(PortBinding& binding, bool listening) {
  MutexLock lock(mutex_);
  if (listening && !binding.listening) {
    for (const PortBinding* b : ports_[binding.local.port].bound) {
      if (b == &binding || !b->listening || !Overlap(binding, binding.local, *b)) continue;
      if (!binding.reuse_port || !b->reuse_port || binding.uid != b->uid) {
        return Errno::kEADDRINUSE;
      }
    }
  }
  binding.listening = listening;
  return Ok();
}

int PortTable::Score(const PortBinding& b, const InetAddress& from, const InetAddress& to) const {
  if (protocol_ == Protocol::kTcp && !b.listening) return 0;
  if (!b.v6 && !to.is_v4()) return 0;
  if (!Reaches(b, to)) return 0;
  int score = 1;
  if (b.remote.port != 0) {
    if (!b.remote.SameIp(from) || b.remote.port != from.port) return 0;
    score += 8;
  }
  if (!b.local.is_any()) score += 4;
  if (b.v6 != to.is_v4()) score += 2;  // a socket of the address's own family
  return score;
}

Ref<RefCounted> PortTable::Find(const InetAddress& from, const InetAddress& to) const {
  MutexLock lock(mutex_);
  auto found = ports_.find(to.port);
  if (found == ports_.end()) return nullptr;
  PortBinding* best = nullptr;
  int best_score = 0;
  size_t equals = 0;
  for (PortBinding* b : found->second.bound) {
    int score = Score(*b, from, to);
    if (score > best_score) {
      best = b;
      best_score = score;
      equals = 1;
    } else if (score != 0 && score == best_score) {
      equals++;
      // The youngest without SO_REUSEPORT; one of the group with it.
      if (!b->reuse_port) best = b;
    }
  }
  if (best == nullptr) return nullptr;
  if (equals > 1 && best->reuse_port) {
    size_t pick = HashOf(from, to) % equals;
    for (PortBinding* b : found->second.bound) {
      if (Score(*b, from, to) == best_score && pick-- == 0) best = b;
    }
  }
  // On its way out it waits for mutex_ in Release.
  if (!best->owner->TryIncRef()) return nullptr;
  return Ref<RefCounted>::Adopt(best->owner);
}

std::vector<Ref<RefCounted>> PortTable::FindAll(const InetAddress& from,
                                                const InetAddress& to) const {
  MutexLock lock(mutex_);
  std::vector<Ref<RefCounted>> all;
  auto found = ports_.find(to.port);
  if (found == ports_.end()) return all;
  for (PortBinding* b : found->second.bound) {
    if (Score(*b, from, to) == 0 || !b->owner->TryIncRef()) continue;
    all.push_back(Ref<RefCounted>::Adopt(b->owner));
  }
  return all;
}

}  // namespace sandboxd::net
