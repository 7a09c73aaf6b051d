// The kinds of namespaces that are not a subsystem of their own: ipc, net, cgroup and time
// (ipc_namespaces(7), network_namespaces(7), cgroup_namespaces(7), time_namespaces(7)).
#pragma once

#include <memory>
#include <string>

#include "kernel/creds/credentials.h"
#include "kernel/creds/namespace.h"
#include "platform/base/mutex.h"
#include "platform/base/result.h"
#include "platform/base/types.h"

namespace sandboxd::ipc {
struct SysvIpc;
}
namespace sandboxd::net {
class Network;
}
namespace sandboxd::vfs {
class Vfs;
}

namespace sandboxd::task {

// A namespace with an owner that never changes.
class OwnedNamespace : public creds::Namespace {
 public:
  const Ref<creds::UserNamespace>& user_ns() const { return owner_; }
  const creds::UserNamespace* owner_ns() const override { return owner_.get(); }

 protected:
  OwnedNamespace(int kind, Ref<creds::UserNamespace> owner)
      : Namespace(kind), owner_(std::move(owner)) {}

 private:
  const Ref<creds::UserNamespace> owner_;
};

class IpcNamespace final : public OwnedNamespace {
 public:
  explicit IpcNamespace(Ref<creds::UserNamespace> owner);
  ipc::SysvIpc& sysv() { return *sysv_; }

 private:
  ~IpcNamespace() override;
  const std::unique_ptr<ipc::SysvIpc> sysv_;
};

// A network of its own. Sockets hold it (net::Socket::set_network_namespace).
class NetNamespace final : public OwnedNamespace {
 public:
  // The sandbox's first network, which outlives us.
  NetNamespace(net::Network& first, Ref<creds::UserNamespace> owner);
  // A fresh one, with nothing but a loopback interface; pathname sockets are shared with `first`.
  NetNamespace(vfs::Vfs& vfs, net::Network& first, Ref<creds::UserNamespace> owner);
  net::Network& network() { return network_; }

 private:
  ~NetNamespace() override;
  const std::unique_ptr<net::Network> own_;  // null for the first
  net::Network& network_;
};

// There are no control groups to hide; it can be made, entered and told apart.
class CgroupNamespace final : public OwnedNamespace {
 public:
  explicit CgroupNamespace(Ref<creds::UserNamespace> owner);
};

// Offsets of CLOCK_MONOTONIC and CLOCK_BOOTTIME. They can be set until the first process is in it.
class TimeNamespace final : public OwnedNamespace {
 public:
  explicit TimeNamespace(Ref<creds::UserNamespace> owner, Nanos monotonic = Nanos(0),
                         Nanos boottime = Nanos(0));
  Nanos monotonic_offset() const;
  Nanos boottime_offset() const;
  // `clock`: CLOCK_MONOTONIC or CLOCK_BOOTTIME. EACCES once a process is in it.
  Result<void> SetOffset(clockid_t clock, Nanos offset);
  void Freeze();  // a process has entered
  Ref<TimeNamespace> Clone(Ref<creds::UserNamespace> owner) const;

 private:
  mutable Mutex mutex_{LockRank::kLeaf};
  Nanos monotonic_ GUARDED_BY(mutex_);
  Nanos boottime_ GUARDED_BY(mutex_);
  bool frozen_ GUARDED_BY(mutex_) = false;
};

}  // namespace sandboxd::task
