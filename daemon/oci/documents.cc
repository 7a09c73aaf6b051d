#include "daemon/oci/documents.h"

#include <nlohmann/json.hpp>

#include "platform/abi/process_names.h"

namespace sandboxd::daemon::oci {
namespace {

using nlohmann::ordered_json;

ordered_json Mount(const char* where, const char* type, std::vector<std::string> options) {
  return {
      {"destination", where}, {"type", type}, {"source", type}, {"options", std::move(options)}};
}

}  // namespace

std::string SpecTemplate() {
  const std::vector<std::string> caps = {"CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"};
  ordered_json spec;
  spec["ociVersion"] = "1.1.0";
  spec["process"] = {
      {"terminal", true},
      {"user", {{"uid", 0}, {"gid", 0}}},
      {"args", {"sh"}},
      {"env", {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"}},
      {"cwd", "/"},
      {"capabilities", {{"bounding", caps}, {"effective", caps}, {"permitted", caps}}},
      {"rlimits",
       ordered_json::array({{{"type", "RLIMIT_NOFILE"}, {"hard", 1024}, {"soft", 1024}}})},
      {"noNewPrivileges", true}};
  spec["root"] = {{"path", "rootfs"}, {"readonly", true}};
  spec["hostname"] = "sandboxd";
  spec["mounts"] = {
      Mount("/proc", "proc", {"nosuid", "noexec", "nodev"}),
      Mount("/dev", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}),
      Mount("/dev/pts", "devpts",
            {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}),
      Mount("/dev/shm", "tmpfs", {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}),
      Mount("/sys", "sysfs", {"nosuid", "noexec", "nodev", "ro"}),
  };
  ordered_json namespaces = ordered_json::array();
  for (const char* type : {"pid", "network", "ipc", "uts", "mount"}) {
    namespaces.push_back({{"type", type}});
  }
  spec["linux"] = {{"namespaces", namespaces},
                   {"maskedPaths", {"/proc/kcore", "/proc/keys", "/sys/firmware"}},
                   {"readonlyPaths", {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"}}};
  return spec.dump(2) + "\n";
}

std::string FeaturesDocument() {
  ordered_json capabilities = ordered_json::array();
  for (const char* name : abi::kCapabilityNames) capabilities.push_back(name);
  ordered_json features;
  features["ociVersionMin"] = "1.0.0";
  features["ociVersionMax"] = "1.2.0";
  features["hooks"] = {"prestart", "createRuntime", "createContainer", "poststart", "poststop"};
  features["mountOptions"] = {"bind",        "dev",      "exec",   "noatime",     "nodev",
                              "nodiratime",  "noexec",   "nosuid", "nosymfollow", "private",
                              "rbind",       "relatime", "ro",     "rprivate",    "rw",
                              "strictatime", "suid"};
  features["linux"] = {
      {"namespaces", {"cgroup", "ipc", "mount", "network", "pid", "uts"}},
      {"capabilities", capabilities},
      {"cgroup", {{"v1", true}, {"v2", true}, {"systemd", false}, {"systemdUser", false}}},
      {"seccomp", {{"enabled", false}}},
      {"apparmor", {{"enabled", false}}},
      {"selinux", {{"enabled", false}}},
      {"intelRdt", {{"enabled", false}}}};
  features["annotations"] = {{"dev.sandboxd.kernel", "application"}};
  return features.dump(2) + "\n";
}

}  // namespace sandboxd::daemon::oci
