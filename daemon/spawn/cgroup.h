// Cgroup: one cgroup of the host in every hierarchy that is mounted (cgroups(7)): version 1,
// version 2, or both beside each other (hybrid; the second one then counts only if it has
// controllers). By plain files, as the "cgroupfs" driver of other runtimes.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "daemon/error/error.h"
#include "proto/sandboxd/v1/sandbox.pb.h"
#include "proto/sandboxd/v1/types.pb.h"

namespace sandboxd::daemon {

// One mounted hierarchy.
struct CgroupHierarchy {
  std::string mount;
  std::set<std::string> controllers;  // "cpu", "memory", "name=systemd"
  bool v2 = false;
};

// From the text of /proc/self/mountinfo (proc(5)). Controllers of v2 are read from its mount.
std::vector<CgroupHierarchy> FindCgroupHierarchies(const std::string& mountinfo);
// Of this host.
std::vector<CgroupHierarchy> FindCgroupHierarchies();

class Cgroup {
 public:
  Cgroup() = default;
  // Makes `path` ("/a/b") below every mount. On failure nothing is left of it.
  static Outcome<Cgroup> Create(const std::vector<CgroupHierarchy>& hierarchies,
                                const std::string& path);
  // One that an earlier daemon made.
  static Cgroup Adopt(const std::vector<CgroupHierarchy>& hierarchies,
                      std::vector<std::string> folders, std::vector<std::string> made);

  bool valid() const { return !folders_.empty(); }
  // Of the cgroup itself, one in each hierarchy.
  const std::vector<std::string>& folders() const { return folders_; }
  // Those that did not exist before, parents first.
  const std::vector<std::string>& made() const { return made_; }

  // Sets what is set in `resources`; with `previous`, what is unset now and was set there gets its
  // default again. FEATURE_UNSUPPORTED if a limit's controller is missing; the kernel's refusal of
  // a value names the file.
  Outcome<void> Apply(const v1::Resources& resources,
                      const v1::Resources* previous = nullptr) const;
  Outcome<void> Add(pid_t pid) const;
  // Everything but id and time. What can't be read stays unset.
  void ReadStats(v1::SandboxStats* out) const;
  uint64_t OomKills() const;
  // Removes what was made, as far as it is empty. Waits a moment for processes that are ending.
  void Remove() const;

 private:
  struct Place {
    std::string folder;
    std::set<std::string> controllers;
    bool v2 = false;
  };
  const Place* Find(const std::string& controller) const;
  void FindPlaces(const std::vector<CgroupHierarchy>& hierarchies);

  std::vector<std::string> folders_;
  std::vector<std::string> made_;
  std::vector<Place> places_;
};

}  // namespace sandboxd::daemon
