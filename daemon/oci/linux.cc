#include "daemon/oci/readers.h"
#include "daemon/oci/seccomp.h"

namespace sandboxd::daemon::oci {
namespace {

using nlohmann::json;

// Devices that every container has anyway (OCI runtime spec, "Default Devices").
const std::set<std::string> kDefaultDevices = {
    "/dev/null",    "/dev/zero", "/dev/full",    "/dev/random",
    "/dev/urandom", "/dev/tty",  "/dev/console", "/dev/ptmx",
};

void ReadNamespaces(ObjectReader& in, Spec& out) {
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
    if (type == "network") {
      out.network_namespace_path = ns.String("path").value_or("");
    } else {
      ns.Unsupported("path", "a sandbox can't join a namespace of the host");
    }
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

// "/a/b", or "a/b"; what the systemd driver takes has colons.
void ReadCgroupsPath(ObjectReader& in, Spec& out) {
  const std::string path = in.String("cgroupsPath").value_or("");
  if (path.empty()) return;
  if (path.find(':') != std::string::npos) {
    in.findings().unsupported.push_back(
        {in.PathOf("cgroupsPath"), "only the cgroupfs driver is supported, not systemd's slices"});
  } else if (("/" + path + "/").find("/../") != std::string::npos) {
    in.Wrong("cgroupsPath", "must not contain \"..\"");
  } else {
    out.cgroups_path = path[0] == '/' ? path : "/" + path;
  }
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
  ReadNamespaces(in, out);
  ReadDevices(in);
  in.Object("resources", [&](ObjectReader& r) { ReadResources(r, out.resources); });
  ReadCgroupsPath(in, out);
  ReadPersonality(in);
  in.Object("seccomp", [&](ObjectReader& seccomp) {
    SeccompProfile profile = ReadSeccomp(seccomp);
    out.seccomp_program = std::move(profile.program);
    out.seccomp_log = profile.log;
  });
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
