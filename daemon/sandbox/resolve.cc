#include "daemon/sandbox/resolve.h"

#include <algorithm>
#include <filesystem>

#include "daemon/oci/spec.h"

namespace sandboxd::daemon {
namespace {

constexpr size_t kMaxConfigBytes = 4 << 20;
constexpr char kDefaultPath[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr size_t kMaxHostname = 63;

bool HasEnv(const v1::ProcessSpec& spec, const std::string& key) {
  return std::any_of(spec.env().begin(), spec.env().end(), [&](const std::string& entry) {
    return entry.compare(0, key.size(), key) == 0 && entry.size() > key.size() &&
           entry[key.size()] == '=';
  });
}

void AddDefaultEnv(v1::ProcessSpec& spec) {
  if (!HasEnv(spec, "PATH")) spec.add_env(kDefaultPath);
  if (spec.terminal() && !HasEnv(spec, "TERM")) spec.add_env("TERM=xterm");
  if (!HasEnv(spec, "HOME") && spec.user().uid() == 0 && spec.user().name().empty()) {
    spec.add_env("HOME=/root");
  }
}

// Fields that are set in `over` replace those of `base`.
void Override(v1::ProcessSpec& base, const v1::ProcessSpec& over) {
  if (over.args_size() > 0) *base.mutable_args() = over.args();
  if (over.env_size() > 0) *base.mutable_env() = over.env();
  if (!over.cwd().empty()) base.set_cwd(over.cwd());
  if (over.has_user()) *base.mutable_user() = over.user();
  if (over.has_capabilities()) *base.mutable_capabilities() = over.capabilities();
  if (over.rlimits_size() > 0) *base.mutable_rlimits() = over.rlimits();
  if (over.no_new_privileges()) base.set_no_new_privileges(true);
  if (over.has_oom_score_adj()) base.set_oom_score_adj(over.oom_score_adj());
  if (over.terminal()) base.set_terminal(true);
  if (over.has_terminal_size()) *base.mutable_terminal_size() = over.terminal_size();
}

bool HasOption(const v1::Mount& mount, const std::string& name) {
  return std::find(mount.options().begin(), mount.options().end(), name) != mount.options().end();
}

// Adds a mount to `out`; a bind mount becomes one of the gofer's.
Outcome<void> AddMount(const v1::Mount& mount, const Caller& caller, ResolvedContainer& out) {
  if (mount.type() == "cgroup") {
    // Told rather than refused: every engine asks for it.
    out.warnings.push_back("mounts: " + mount.destination() +
                           ": there is no cgroup file system inside; it is left out");
    return {};
  }
  control::Mount& m = *out.create.add_mounts();
  m.set_destination(mount.destination());
  m.set_source(mount.source());
  for (const std::string& option : mount.options()) {
    if (option != "bind" && option != "rbind") m.add_options(option);
  }
  const bool bind = mount.type().empty() || mount.type() == "bind";
  m.set_type(bind ? "gofer" : mount.type());
  if (!bind) return {};
  TRY(CheckPath(caller, mount.source(), "the mount source", PathKind::kAny,
                v1::ERROR_REASON_MOUNT_SOURCE_NOT_FOUND));
  out.binds.push_back({mount.source(), HasOption(mount, "ro"), out.create.mounts_size() - 1});
  return {};
}

Outcome<oci::Spec> ReadBundle(const std::string& bundle, const Caller& caller) {
  TRY(CheckPath(caller, bundle, "the bundle", PathKind::kFolder,
                v1::ERROR_REASON_BUNDLE_NOT_FOUND));
  const std::string text = TRY(ReadFileAs(caller, bundle + "/config.json", "the bundle's",
                                          kMaxConfigBytes, v1::ERROR_REASON_BUNDLE_NOT_FOUND));
  return oci::ParseSpec(text);
}

Outcome<void> ApplyBundle(const v1::ContainerSpec& spec, const Caller& caller,
                          ResolvedContainer& out) {
  oci::Spec bundle = TRY(ReadBundle(spec.bundle_path(), caller));
  if (!bundle.has_process && spec.process().args_size() == 0) {
    return Error::Fields({{"config.json:process", "is missing, and the request names no program"}},
                         v1::ERROR_REASON_BUNDLE_INVALID);
  }
  if (!bundle.hooks.empty() && !spec.hooks_by_caller()) {
    return Error::Fields(
        {{"config.json:hooks." + bundle.hooks[0],
          "the daemon runs no program of a caller's; sandboxd-oci runs hooks, or a "
          "client that says hooks_by_caller"}},
        v1::ERROR_REASON_FEATURE_UNSUPPORTED);
  }
  out.init_spec = std::move(bundle.process);
  out.root.path =
      bundle.root_path[0] == '/' ? bundle.root_path : spec.bundle_path() + "/" + bundle.root_path;
  out.root.readonly = bundle.root_readonly;
  out.warnings = std::move(bundle.notes);
  out.resources = std::move(bundle.resources);
  out.cgroups_path = std::move(bundle.cgroups_path);
  if (!bundle.network_namespace_path.empty()) {
    out.warnings.push_back(
        "linux.namespaces: the network namespace " + bundle.network_namespace_path +
        " is not joined: the sandbox has a loopback of its own and nothing else");
  }
  out.create.set_hostname(bundle.hostname);
  out.create.set_domainname(bundle.domainname);
  for (const auto& [key, value] : bundle.sysctl) (*out.create.mutable_sysctl())[key] = value;
  for (const auto& [key, value] : bundle.annotations) {
    (*out.create.mutable_annotations())[key] = value;
  }
  for (const auto& path : bundle.masked_paths) out.create.add_masked_paths(path);
  for (const auto& path : bundle.readonly_paths) out.create.add_readonly_paths(path);
  out.create.set_seccomp_program(bundle.seccomp_program);
  out.create.set_seccomp_log(bundle.seccomp_log);
  for (v1::Mount& mount : bundle.mounts) {
    // The runtime specification: a relative source is relative to the bundle.
    if (mount.type() == "bind" && !mount.source().empty() && mount.source()[0] != '/') {
      mount.set_source(spec.bundle_path() + "/" + mount.source());
    }
    TRY(AddMount(mount, caller, out));
  }
  return {};
}

// The application kernel lets none be set but the two names.
void TellOfSysctl(ResolvedContainer& out) {
  auto& sysctl = *out.create.mutable_sysctl();
  if (sysctl.count("kernel.hostname") != 0) out.create.set_hostname(sysctl["kernel.hostname"]);
  if (sysctl.count("kernel.domainname") != 0)
    out.create.set_domainname(sysctl["kernel.domainname"]);
  for (const auto& [key, value] : sysctl) {
    if (key == "kernel.hostname" || key == "kernel.domainname") continue;
    out.warnings.push_back("sysctl: " + key + " is not set: the application kernel has it fixed");
  }
  sysctl.clear();
}

}  // namespace

Outcome<ResolvedContainer> ResolveContainer(const v1::CreateSandboxRequest& request,
                                            const std::string& sandbox_id, const Caller& caller) {
  const v1::ContainerSpec& spec = request.spec().containers(0);
  ResolvedContainer out;
  out.name = spec.name().empty() ? sandbox_id : spec.name();
  out.create.set_container_id(out.name);
  if (spec.has_bundle_path()) {
    TRY(ApplyBundle(spec, caller, out));
  } else {
    out.root.path = spec.rootfs().path();
    out.root.readonly = spec.rootfs().readonly();
    out.create.set_exclusive_root(spec.rootfs().exclusive());
  }
  TRY(CheckPath(caller, out.root.path, "the root file system", PathKind::kFolder,
                v1::ERROR_REASON_ROOTFS_NOT_FOUND));
  Override(out.init_spec, spec.process());
  AddDefaultEnv(out.init_spec);
  for (const v1::Mount& mount : spec.mounts()) TRY(AddMount(mount, caller, out));

  if (!spec.hostname().empty()) out.create.set_hostname(spec.hostname());
  if (out.create.hostname().empty()) out.create.set_hostname(sandbox_id.substr(0, kMaxHostname));
  if (!spec.domainname().empty()) out.create.set_domainname(spec.domainname());
  for (const auto& [key, value] : spec.sysctl()) (*out.create.mutable_sysctl())[key] = value;
  for (const auto& path : spec.masked_paths()) out.create.add_masked_paths(path);
  for (const auto& path : spec.readonly_paths()) out.create.add_readonly_paths(path);
  for (const auto& [key, value] : request.annotations()) {
    (*out.create.mutable_annotations())[key] = value;
  }
  TellOfSysctl(out);
  out.resources.MergeFrom(request.spec().resources());
  if (!request.spec().cgroups_path().empty()) out.cgroups_path = request.spec().cgroups_path();
  out.create.set_root_readonly(out.root.readonly);
  out.stdio = EffectiveStdio(spec.stdio(), out.init_spec.terminal());
  *out.create.mutable_process() = ToControl(out.init_spec);
  return out;
}

v1::StdioSpec EffectiveStdio(const v1::StdioSpec& stdio, bool terminal) {
  v1::StdioSpec out = stdio;
  if (out.output() == v1::StdioSpec::OUTPUT_UNSPECIFIED) out.set_output(v1::StdioSpec::OUTPUT_LOG);
  if (terminal) out.set_stdin(true);
  return out;
}

v1::ProcessSpec CompleteExec(const v1::ExecRequest& request, const v1::ProcessSpec& init_spec) {
  v1::ProcessSpec spec = request.process();
  if (!request.exact()) {
    v1::ProcessSpec base = init_spec;
    base.clear_args();
    base.clear_terminal();
    base.clear_terminal_size();
    // The environment is added to, entry by entry; the others are replaced as a whole.
    for (const std::string& entry : spec.env()) {
      const std::string key = entry.substr(0, entry.find('=') + 1);
      auto& env = *base.mutable_env();
      env.erase(std::remove_if(env.begin(), env.end(),
                               [&](const std::string& e) { return e.rfind(key, 0) == 0; }),
                env.end());
      base.add_env(entry);
    }
    *spec.mutable_env() = base.env();
    Override(base, spec);
    spec = std::move(base);
  }
  AddDefaultEnv(spec);
  return spec;
}

control::ProcessSpec ToControl(const v1::ProcessSpec& spec) {
  control::ProcessSpec out;
  *out.mutable_args() = spec.args();
  *out.mutable_env() = spec.env();
  out.set_cwd(spec.cwd());
  out.set_uid(spec.user().uid());
  out.set_gid(spec.user().gid());
  *out.mutable_additional_gids() = spec.user().additional_gids();
  out.set_user_name(spec.user().name());
  if (spec.user().has_umask()) out.set_umask(spec.user().umask());
  if (spec.has_capabilities()) {
    const v1::Capabilities& from = spec.capabilities();
    control::Capabilities& to = *out.mutable_capabilities();
    *to.mutable_bounding() = from.bounding();
    *to.mutable_effective() = from.effective();
    *to.mutable_inheritable() = from.inheritable();
    *to.mutable_permitted() = from.permitted();
    *to.mutable_ambient() = from.ambient();
  }
  for (const v1::Rlimit& limit : spec.rlimits()) {
    control::Rlimit& to = *out.add_rlimits();
    to.set_type(limit.type());
    to.set_soft(limit.soft());
    to.set_hard(limit.hard());
  }
  out.set_no_new_privileges(spec.no_new_privileges());
  out.set_oom_score_adj(spec.oom_score_adj());
  out.set_terminal(spec.terminal());
  out.set_terminal_rows(spec.terminal_size().rows());
  out.set_terminal_cols(spec.terminal_size().cols());
  return out;
}

}  // namespace sandboxd::daemon
