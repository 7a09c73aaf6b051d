#include "daemon/spawn/cgroup.h"

#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <sstream>

#include "daemon/log/log.h"
#include "daemon/spawn/cgroup_files.h"

namespace sandboxd::daemon {
namespace {

// How long a cgroup may stay busy with processes that are ending.
constexpr int kRemoveTries = 200;
constexpr timespec kRemovePause{0, 5'000'000};

std::vector<std::string> Split(const std::string& text, char separator) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, separator);) {
    if (!part.empty()) out.push_back(part);
  }
  return out;
}

// A new cpuset has no CPU and no memory node, and takes no process without.
int InheritCpuset(const std::string& folder, const std::string& parent) {
  for (const char* name : {"/cpuset.cpus", "/cpuset.mems"}) {
    const auto own = ReadCgroupFile(folder + name);
    if (!own || !own->empty()) continue;
    const auto theirs = ReadCgroupFile(parent + name);
    if (theirs && !theirs->empty()) {
      if (const int error = WriteCgroupFile(folder + name, *theirs)) return error;
    }
  }
  return 0;
}

// In v2 a controller must be handed down at every step.
void EnableControllers(const std::string& parent) {
  const auto there = ReadCgroupFile(parent + "/cgroup.controllers");
  if (!there) return;
  for (const std::string& name : Split(*there, ' ')) {
    (void)WriteCgroupFile(parent + "/cgroup.subtree_control", "+" + name);
  }
}

// Makes `path` below the mount step by step. What is new is added to `made`.
Outcome<void> MakeFolders(const CgroupHierarchy& hierarchy, const std::string& path,
                          std::vector<std::string>* made) {
  std::string folder = hierarchy.mount;
  for (const std::string& step : Split(path, '/')) {
    const std::string parent = folder;
    folder += "/" + step;
    if (hierarchy.v2) EnableControllers(parent);
    if (::mkdir(folder.c_str(), 0755) == 0) {
      made->push_back(folder);
    } else if (errno != EEXIST) {
      return Error(v1::ERROR_REASON_FEATURE_UNSUPPORTED,
                   ErrnoText("the cgroup " + folder + " can't be made", errno));
    }
    if (!hierarchy.v2 && hierarchy.controllers.count("cpuset") != 0) {
      if (const int error = InheritCpuset(folder, parent)) {
        return Error::Internal(ErrnoText("the cgroup " + folder + " can't be prepared", error));
      }
    }
  }
  return {};
}

}  // namespace

std::vector<CgroupHierarchy> FindCgroupHierarchies(const std::string& mountinfo) {
  static const std::set<std::string> kV1 = {"cpu",     "cpuacct", "cpuset",   "memory",
                                            "devices", "freezer", "blkio",    "pids",
                                            "hugetlb", "net_cls", "net_prio", "perf_event"};
  std::vector<CgroupHierarchy> out;
  std::istringstream in(mountinfo);
  for (std::string line; std::getline(in, line);) {
    // "36 35 98:0 / /mnt rw,noatime master:1 - cgroup cgroup rw,cpu": proc(5).
    const size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    const auto front = Split(line.substr(0, dash), ' ');
    const auto back = Split(line.substr(dash + 3), ' ');
    if (front.size() < 5 || back.size() < 3) continue;
    CgroupHierarchy hierarchy;
    hierarchy.mount = front[4];
    hierarchy.v2 = back[0] == "cgroup2";
    if (back[0] != "cgroup" && !hierarchy.v2) continue;
    if (hierarchy.v2) {
      const auto controllers = ReadCgroupFile(hierarchy.mount + "/cgroup.controllers");
      for (const std::string& name : Split(controllers.value_or(""), ' ')) {
        hierarchy.controllers.insert(name);
      }
    } else {
      for (const std::string& option : Split(back[2], ',')) {
        if (kV1.count(option) != 0 || option.rfind("name=", 0) == 0) {
          hierarchy.controllers.insert(option);
        }
      }
    }
    const bool again = std::any_of(out.begin(), out.end(), [&](const CgroupHierarchy& h) {
      return h.v2 == hierarchy.v2 && h.controllers == hierarchy.controllers;
    });
    // The part of v2 in a hybrid system: without cpu or memory it limits nothing of ours.
    const bool bare = hierarchy.v2 && hierarchy.controllers.count("memory") == 0 &&
                      hierarchy.controllers.count("cpu") == 0;
    if (!again && !bare && !hierarchy.controllers.empty()) out.push_back(std::move(hierarchy));
  }
  return out;
}

std::vector<CgroupHierarchy> FindCgroupHierarchies() {
  return FindCgroupHierarchies(ReadCgroupFile("/proc/self/mountinfo").value_or(""));
}

Outcome<Cgroup> Cgroup::Create(const std::vector<CgroupHierarchy>& hierarchies,
                               const std::string& path) {
  Cgroup cgroup;
  if (hierarchies.empty()) {
    return Error(v1::ERROR_REASON_FEATURE_UNSUPPORTED, "this host has no cgroups mounted");
  }
  for (const CgroupHierarchy& hierarchy : hierarchies) {
    if (auto made = MakeFolders(hierarchy, path, &cgroup.made_); !made.ok()) {
      cgroup.Remove();
      return made.error();
    }
    cgroup.folders_.push_back(hierarchy.mount + path);
  }
  cgroup.FindPlaces(hierarchies);
  return cgroup;
}

Cgroup Cgroup::Adopt(const std::vector<CgroupHierarchy>& hierarchies,
                     std::vector<std::string> folders, std::vector<std::string> made) {
  Cgroup cgroup;
  cgroup.folders_ = std::move(folders);
  cgroup.made_ = std::move(made);
  cgroup.FindPlaces(hierarchies);
  return cgroup;
}

void Cgroup::FindPlaces(const std::vector<CgroupHierarchy>& hierarchies) {
  for (const std::string& folder : folders_) {
    for (const CgroupHierarchy& hierarchy : hierarchies) {
      if (folder.rfind(hierarchy.mount + "/", 0) != 0) continue;
      places_.push_back({folder, hierarchy.controllers, hierarchy.v2});
    }
  }
}

const Cgroup::Place* Cgroup::Find(const std::string& controller) const {
  for (const Place& place : places_) {
    if (place.controllers.count(controller) != 0) return &place;
  }
  return nullptr;
}

Outcome<void> Cgroup::Add(pid_t pid) const {
  for (const std::string& folder : folders_) {
    if (const int error = WriteCgroupFile(folder + "/cgroup.procs", std::to_string(pid))) {
      return Error::Internal(ErrnoText("a process can't be put into the cgroup " + folder, error));
    }
  }
  return {};
}

void Cgroup::Remove() const {
  for (auto folder = made_.rbegin(); folder != made_.rend(); ++folder) {
    // A folder that others use by now stays; one that our processes are just leaving is waited for.
    const bool leaf = std::find(folders_.begin(), folders_.end(), *folder) != folders_.end();
    for (int i = 0; i < (leaf ? kRemoveTries : 1); ++i) {
      if (::rmdir(folder->c_str()) == 0 || errno != EBUSY) break;
      if (leaf) ::nanosleep(&kRemovePause, nullptr);
      if (leaf && i == kRemoveTries - 1) {
        DAEMON_LOG(kWarning) << "the cgroup " << *folder << " is in use and stays";
      }
    }
  }
}

}  // namespace sandboxd::daemon
