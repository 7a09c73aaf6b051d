#include "daemon/oci/readers.h"

namespace sandboxd::daemon::oci {
namespace {

using nlohmann::json;

// Devices that every container has anyway (OCI runtime spec, "Default Devices").
const std::set<std::string> kDefaultDevices = {
    "/dev/null",    "/dev/zero", "/dev/full",    "/dev/random",
    "/dev/urandom", "/dev/tty",  "/dev/console", "/dev/ptmx",
};

void ReadNamespaces(ObjectReader& in) {
  static const std::set<std::string> kKnown = {"pid", "network", "mount",  "ipc",
                                               "uts", "user",    "cgroup", "time"};
  std::set<std::string> seen;
  in.Array("namespaces", [&](const json& element, const std::string& path) {
    ObjectReader ns(element, path, in.findings());
    ns.Require("type");
    const std::string type = ns.String("type").value_or("");
    if (!type.empty() && kKnown.count(type) == 0) {
      ns.Wrong("type", "unknown namespace \"" + type + "\"");
    }
    if (!type.empty() && !seen.insert(type).second) ns.Wrong("type", "is given twice");
    ns.Unsupported("path", "a sandbox can't join a namespace of the host");
    ns.Done();
  });
  if (in.Has("namespaces") && seen.count("network") == 0) {
    in.findings().notes.push_back(
        in.PathOf("namespaces") +
        ": has no network namespace, but a sandbox never uses the host's");
  }
}

void ReadDevices(ObjectReader& in) {
  in.Array("devices", [&](const json& element, const std::string& path) {
    ObjectReader device(element, path, in.findings());
    device.Require("type");
    device.Require("path");
    const std::string name = device.String("path").value_or("");
    device.String("type");
    for (const char* number : {"major", "minor"}) device.Int(number, -1, UINT32_MAX);
    for (const char* number : {"fileMode", "uid", "gid"}) device.Unsigned(number, UINT32_MAX);
    if (!name.empty() && kDefaultDevices.count(name) == 0) {
      in.findings().unsupported.push_back({path, "devices of the host are not supported: " + name});
    }
    device.Done();
  });
}

// A limit that would not be enforced is refused; -1 and 0 say "no limit".
void RefuseLimits(ObjectReader& in, const char* object, const std::vector<const char*>& limits,
                  const std::vector<const char*>& notes) {
  in.Object(object, [&](ObjectReader& group) {
    for (const char* name : limits) {
      const json* value = group.Take(name);
      if (value == nullptr) continue;
      if (value->is_number() && value->get<double>() <= 0) continue;
      if (value->is_boolean() && !value->get<bool>()) continue;
      if (value->is_string() && value->get_ref<const std::string&>().empty()) continue;
      in.findings().unsupported.push_back({group.PathOf(name), "limits are not supported yet"});
    }
    for (const char* name : notes) group.Note(name, "has no effect");
  });
}

void ReadResources(ObjectReader& in) {
  in.Object("resources", [](ObjectReader& r) {
    r.Note("devices", "a sandbox has no host devices to allow or deny");
    RefuseLimits(r, "memory", {"limit", "reservation", "swap", "kernel", "kernelTCP"},
                 {"swappiness", "disableOOMKiller", "useHierarchy", "checkBeforeUpdate"});
    RefuseLimits(r, "cpu", {"quota", "realtimeRuntime", "cpus", "mems", "burst", "idle"},
                 {"shares", "period", "realtimePeriod"});
    RefuseLimits(r, "pids", {"limit"}, {});
    r.Unsupported("blockIO", "limits are not supported yet");
    r.Unsupported("hugepageLimits", "limits are not supported yet");
    r.Unsupported("network", "limits are not supported yet");
    r.Unsupported("rdma", "limits are not supported yet");
    r.Unsupported("unified", "limits are not supported yet");
  });
}

void ReadPersonality(ObjectReader& in) {
  in.Object("personality", [](ObjectReader& p) {
    const std::string domain = p.String("domain").value_or("");
    if (domain == "LINUX32") {
      p.findings().unsupported.push_back({p.PathOf("domain"), "only LINUX is supported"});
    } else if (domain != "LINUX") {
      p.Wrong("domain", "must be LINUX or LINUX32");
    }
    p.Unsupported("flags");
  });
}

}  // namespace

void ReadLinux(ObjectReader& in, Spec& out) {
  for (auto& [key, value] : in.StringMap("sysctl")) out.sysctl[key] = value;
  out.masked_paths = in.Strings("maskedPaths");
  out.readonly_paths = in.Strings("readonlyPaths");
  ReadNamespaces(in);
  ReadDevices(in);
  ReadResources(in);
  ReadPersonality(in);
  in.Note("seccomp",
          "the application kernel answers every call itself; no filter is put before it");
  in.Note("cgroupsPath", "sandboxes are not put into cgroups yet");
  in.Note("rootfsPropagation", "mounts of a sandbox are its own");
  in.Note("mountLabel", "host labels do not apply inside a sandbox");
  in.Unsupported("uidMappings", "ids are not mapped yet");
  in.Unsupported("gidMappings", "ids are not mapped yet");
  in.Unsupported("intelRdt");
  in.Unsupported("memoryPolicy");
  in.Unsupported("netDevices");
  in.Unsupported("timeOffsets");
}

}  // namespace sandboxd::daemon::oci
