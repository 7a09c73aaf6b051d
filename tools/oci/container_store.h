// What sandboxd-oci keeps of one container under --root: ROOT/ID/state.json, replaced as a whole.
// Everything else about it is the daemon's to say.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "daemon/error/error.h"
#include "platform/base/unique_fd.h"

namespace sandboxd::oci {

using daemon::Error;
using daemon::Outcome;

struct ContainerRecord {
  std::string id;
  std::string oci_version;
  std::string bundle;   // absolute
  std::string address;  // of the daemon that has the sandbox
  std::string created;  // RFC 3339
  // The process that stands for the container on the host (monitor.h), and when it started.
  pid_t monitor_pid = 0;
  uint64_t monitor_start = 0;
  std::map<std::string, std::string> annotations;
  // The bundle's `hooks` object as text: the bundle may be gone when they are needed.
  std::string hooks;

  bool MonitorAlive() const;
};

class ContainerStore {
 public:
  explicit ContainerStore(std::string root) : root_(std::move(root)) {}
  const std::string& root() const { return root_; }
  // Held while containers are made and removed, and while a daemon is started.
  Outcome<UniqueFd> Lock() const;
  bool Exists(const std::string& id) const;
  Outcome<void> Save(const ContainerRecord& record) const;
  // "container does not exist" if there is none: callers of OCI runtimes look for these words.
  Outcome<ContainerRecord> Load(const std::string& id) const;
  std::vector<ContainerRecord> List() const;
  void Remove(const std::string& id) const;

 private:
  std::string Folder(const std::string& id) const { return root_ + "/" + id; }
  const std::string root_;
};

// Letters, digits and "_+-." , not "." or "..".
Outcome<void> CheckContainerId(const std::string& id);
Outcome<std::string> ReadWholeFile(const std::string& path);
// Written beside it and renamed.
Outcome<void> ReplaceFile(const std::string& path, const std::string& content);

}  // namespace sandboxd::oci
