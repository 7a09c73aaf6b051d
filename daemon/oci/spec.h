// The OCI runtime specification (v1.0 to v1.2) as typed values.
//
// Nothing is ignored: a field is honoured, or refused by name, or accepted without effect and then
// listed in `notes`.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "daemon/error/error.h"
#include "proto/sandboxd/v1/sandbox.pb.h"

namespace sandboxd::daemon::oci {

struct Spec {
  std::string oci_version;
  v1::ProcessSpec process;
  bool has_process = false;
  std::string root_path;  // as written: absolute, or relative to the bundle
  bool root_readonly = false;
  std::vector<v1::Mount> mounts;
  std::string hostname;
  std::string domainname;
  std::map<std::string, std::string> annotations;
  std::map<std::string, std::string> sysctl;
  std::vector<std::string> masked_paths;
  std::vector<std::string> readonly_paths;
  v1::Resources resources;
  std::string cgroups_path;  // "/a/b", or empty
  // Of the host, to be joined; empty: none is named.
  std::string network_namespace_path;
  // Kinds of hooks that are there: "prestart". Whoever runs the bundle runs them (tools/oci).
  std::vector<std::string> hooks;
  // linux.seccomp: a classic BPF program (struct sock_filter[] as bytes) for the application kernel
  // to run before the calls of the container's processes; empty: none.
  std::string seccomp_program;
  bool seccomp_log = false;
  // Accepted without effect: "linux.rootfsPropagation: …".
  std::vector<std::string> notes;
};

// The text of a bundle's config.json. Errors: BUNDLE_INVALID, or FEATURE_UNSUPPORTED if nothing is
// wrong but something is not supported; with one violation for every such field,
// "config.json:linux.devices[0].path".
Outcome<Spec> ParseSpec(const std::string& config_json);

// The `process` object alone, as `exec --process FILE` of OCI runtimes has it.
Outcome<v1::ProcessSpec> ParseProcess(const std::string& process_json,
                                      std::vector<std::string>* notes);

// `linux.resources` alone, as `update` of OCI runtimes has it.
Outcome<v1::Resources> ParseResources(const std::string& resources_json,
                                      std::vector<std::string>* notes);

// Which fields of Resources such a text says something about, by their names in the proto. Engines
// write zero for what they don't mean to change.
std::vector<std::string> FieldsOfResources(const std::string& resources_json);

// Names of capabilities(7) up to Linux 6.1, of setrlimit(2), and what mounts may be.
bool IsCapability(const std::string& name);
bool IsRlimit(const std::string& name);
bool IsMountType(const std::string& type);
// Known in mount(8) or in the manual of one of these file systems.
bool IsMountOption(const std::string& option);

}  // namespace sandboxd::daemon::oci
