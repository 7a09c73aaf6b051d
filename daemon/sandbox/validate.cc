#include <algorithm>
#include <random>

#include "daemon/oci/spec.h"
#include "daemon/sandbox/resolve.h"

namespace sandboxd::daemon {
namespace {

constexpr size_t kMaxLabels = 64;
constexpr size_t kMaxLabelBytes = 256;
constexpr size_t kMaxAnnotationBytes = 256 << 10;
constexpr size_t kMaxHostname = 63;

// Collects what is wrong.
class Checker {
 public:
  void Require(bool right, const std::string& field, const std::string& description) {
    if (!right) wrong_.push_back({field, description});
  }
  void Unsupported(bool asked, const std::string& field, const std::string& description) {
    if (asked) unsupported_.push_back({field, description});
  }
  Outcome<void> Result() {
    if (wrong_.empty() && unsupported_.empty()) return {};
    const auto reason =
        wrong_.empty() ? v1::ERROR_REASON_FEATURE_UNSUPPORTED : v1::ERROR_REASON_INVALID_FIELD;
    wrong_.insert(wrong_.end(), unsupported_.begin(), unsupported_.end());
    return Error::Fields(std::move(wrong_), reason);
  }

 private:
  std::vector<FieldViolation> wrong_;
  std::vector<FieldViolation> unsupported_;
};

bool HasZeroByte(const std::string& text) { return text.find('\0') != std::string::npos; }

void CheckAbsolute(Checker& c, const std::string& path, const std::string& field) {
  c.Require(!path.empty() && path[0] == '/' && !HasZeroByte(path), field,
            "must be an absolute path, not \"" + path + "\"");
}

void CheckCapabilities(Checker& c, const google::protobuf::RepeatedPtrField<std::string>& names,
                       const std::string& field) {
  for (int i = 0; i < names.size(); ++i) {
    c.Require(oci::IsCapability(names[i]), field + "[" + std::to_string(i) + "]",
              "unknown capability \"" + names[i] + "\"");
  }
}

void CheckProcess(Checker& c, const v1::ProcessSpec& p, const std::string& field,
                  bool args_required) {
  c.Require(!args_required || p.args_size() > 0, field + ".args", "must name the program to run");
  c.Require(p.args_size() == 0 || !p.args(0).empty(), field + ".args[0]", "must not be empty");
  for (int i = 0; i < p.args_size(); ++i) {
    c.Require(!HasZeroByte(p.args(i)), field + ".args[" + std::to_string(i) + "]",
              "must not contain a zero byte");
  }
  for (int i = 0; i < p.env_size(); ++i) {
    const std::string& entry = p.env(i);
    c.Require(!HasZeroByte(entry) && entry.find('=') != std::string::npos && entry[0] != '=',
              field + ".env[" + std::to_string(i) + "]", "must be KEY=value");
  }
  if (!p.cwd().empty()) CheckAbsolute(c, p.cwd(), field + ".cwd");
  CheckCapabilities(c, p.capabilities().bounding(), field + ".capabilities.bounding");
  CheckCapabilities(c, p.capabilities().effective(), field + ".capabilities.effective");
  CheckCapabilities(c, p.capabilities().inheritable(), field + ".capabilities.inheritable");
  CheckCapabilities(c, p.capabilities().permitted(), field + ".capabilities.permitted");
  CheckCapabilities(c, p.capabilities().ambient(), field + ".capabilities.ambient");
  for (int i = 0; i < p.rlimits_size(); ++i) {
    const std::string at = field + ".rlimits[" + std::to_string(i) + "]";
    c.Require(oci::IsRlimit(p.rlimits(i).type()), at + ".type",
              "unknown limit \"" + p.rlimits(i).type() + "\"");
    c.Require(p.rlimits(i).soft() <= p.rlimits(i).hard(), at + ".soft", "is above hard");
  }
  const v1::User& user = p.user();
  c.Require(user.name().empty() || (user.uid() == 0 && user.gid() == 0), field + ".user.name",
            "can't be given together with uid or gid");
  c.Require(user.umask() <= 0777, field + ".user.umask", "must be at most 0777");
  c.Require(p.oom_score_adj() >= -1000 && p.oom_score_adj() <= 1000, field + ".oom_score_adj",
            "must be from -1000 to 1000");
  c.Require(p.terminal_size().rows() <= 65535 && p.terminal_size().cols() <= 65535,
            field + ".terminal_size", "must be at most 65535 by 65535");
}

void CheckStdio(Checker& c, const v1::StdioSpec& stdio, const std::string& field) {
  c.Require(v1::StdioSpec::Output_IsValid(stdio.output()), field + ".output", "unknown value");
  c.Require(stdio.log_max_bytes() == 0 || stdio.log_max_bytes() >= 4096, field + ".log_max_bytes",
            "must be at least 4096");
  c.Require(stdio.log_max_files() <= 100, field + ".log_max_files", "must be at most 100");
}

void CheckMount(Checker& c, const v1::Mount& mount, const std::string& field) {
  CheckAbsolute(c, mount.destination(), field + ".destination");
  const std::string type = mount.type().empty() ? "bind" : mount.type();
  c.Require(oci::IsMountType(type), field + ".type", "unknown file system \"" + type + "\"");
  if (type == "bind") CheckAbsolute(c, mount.source(), field + ".source");
  for (int i = 0; i < mount.options_size(); ++i) {
    c.Require(oci::IsMountOption(mount.options(i)), field + ".options[" + std::to_string(i) + "]",
              "unknown mount option \"" + mount.options(i) + "\"");
  }
}

void CheckResources(Checker& c, const v1::Resources& r, const std::string& field) {
  c.Require(r.cpu_weight() <= 10000, field + ".cpu_weight", "must be from 1 to 10000");
  c.Require(r.cpu_shares() == 0 || (r.cpu_shares() >= 2 && r.cpu_shares() <= 262144),
            field + ".cpu_shares", "must be from 2 to 262144");
  c.Require(r.cpu_weight() == 0 || r.cpu_shares() == 0, field + ".cpu_shares",
            "can't be given together with cpu_weight");
  c.Require(r.cpu_period_us() == 0 || (r.cpu_period_us() >= 1000 && r.cpu_period_us() <= 1000000),
            field + ".cpu_period_us", "must be from 1000 to 1000000");
  c.Require(r.memory_swap_bytes() == 0 || r.memory_swap_bytes() >= r.memory_limit_bytes(),
            field + ".memory_swap_bytes",
            "is memory and swap together, so it can't be below memory_limit_bytes");
  constexpr uint64_t kMost = uint64_t{1} << 60;
  for (uint64_t bytes :
       {r.memory_limit_bytes(), r.memory_reservation_bytes(), r.memory_swap_bytes()}) {
    c.Require(bytes <= kMost, field, "more bytes than there can be");
  }
  c.Require(r.cpu_limit_millis() <= 10'000'000, field + ".cpu_limit_millis",
            "must be at most 10000000");
  c.Require(r.pids_limit() <= (1u << 22), field + ".pids_limit", "must be at most 4194304");
  for (const std::string* list : {&r.cpuset_cpus(), &r.cpuset_mems()}) {
    c.Require(list->find_first_not_of("0123456789,-") == std::string::npos, field + ".cpuset",
              "must be a list like 0-3,7");
  }
}

void CheckContainer(Checker& c, const v1::ContainerSpec& spec, const std::string& field) {
  c.Require(spec.name().empty() || IsValidId(spec.name()), field + ".name",
            "must be up to 128 letters, digits, \"_\", \".\" and \"-\", beginning with a letter or "
            "digit");
  switch (spec.source_case()) {
    case v1::ContainerSpec::kBundlePath:
      CheckAbsolute(c, spec.bundle_path(), field + ".bundle_path");
      break;
    case v1::ContainerSpec::kRootfs:
      CheckAbsolute(c, spec.rootfs().path(), field + ".rootfs.path");
      break;
    case v1::ContainerSpec::kImage:
      c.Unsupported(true, field + ".image", "images are not supported yet");
      break;
    case v1::ContainerSpec::kLayers:
      c.Unsupported(true, field + ".layers", "layers are not supported yet");
      break;
    default:
      c.Require(false, field, "needs bundle_path or rootfs");
  }
  CheckProcess(c, spec.process(), field + ".process", !spec.has_bundle_path());
  CheckStdio(c, spec.stdio(), field + ".stdio");
  for (int i = 0; i < spec.mounts_size(); ++i) {
    CheckMount(c, spec.mounts(i), field + ".mounts[" + std::to_string(i) + "]");
  }
  c.Require(spec.hostname().size() <= kMaxHostname && !HasZeroByte(spec.hostname()),
            field + ".hostname", "must be at most 63 bytes");
  c.Require(spec.domainname().size() <= kMaxHostname && !HasZeroByte(spec.domainname()),
            field + ".domainname", "must be at most 63 bytes");
  for (int i = 0; i < spec.masked_paths_size(); ++i) {
    CheckAbsolute(c, spec.masked_paths(i), field + ".masked_paths[" + std::to_string(i) + "]");
  }
  for (int i = 0; i < spec.readonly_paths_size(); ++i) {
    CheckAbsolute(c, spec.readonly_paths(i), field + ".readonly_paths[" + std::to_string(i) + "]");
  }
}

}  // namespace

bool IsValidId(const std::string& id) {
  const auto alnum = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  return !id.empty() && id.size() <= 128 && alnum(id[0]) &&
         std::all_of(id.begin(), id.end(),
                     [&](char c) { return alnum(c) || c == '_' || c == '.' || c == '-'; });
}

std::string GenerateId() {
  constexpr char kDigits[] = "0123456789abcdef";
  std::random_device random;
  std::string id;
  for (int i = 0; i < 3; ++i) {
    unsigned bits = random();
    for (int j = 0; j < 4; ++j, bits >>= 4) id.push_back(kDigits[bits & 15]);
  }
  return id;
}

bool IsValidSignal(int signo) { return signo >= 1 && signo <= 64; }

Outcome<void> ValidateCreate(const v1::CreateSandboxRequest& request) {
  Checker c;
  c.Require(request.id().empty() || IsValidId(request.id()), "id",
            "must be up to 128 letters, digits, \"_\", \".\" and \"-\", beginning with a letter or "
            "digit");
  c.Require(request.labels().size() <= kMaxLabels, "labels", "more than 64 of them");
  for (const auto& [key, value] : request.labels()) {
    c.Require(!key.empty() && key.size() <= kMaxLabelBytes && value.size() <= kMaxLabelBytes,
              "labels[\"" + key.substr(0, 32) + "\"]", "keys and values have at most 256 bytes");
  }
  size_t annotation_bytes = 0;
  for (const auto& [key, value] : request.annotations()) {
    annotation_bytes += key.size() + value.size();
    c.Require(!key.empty() && key.size() <= kMaxLabelBytes, "annotations",
              "keys have 1 to 256 bytes");
  }
  c.Require(annotation_bytes <= kMaxAnnotationBytes, "annotations", "more than 256 KiB in all");
  const v1::SandboxSpec& spec = request.spec();
  c.Require(spec.containers_size() > 0, "spec.containers", "needs one");
  c.Unsupported(spec.containers_size() > 1, "spec.containers",
                "more than one container is not supported yet");
  CheckResources(c, spec.resources(), "spec.resources");
  const std::string& cgroup = spec.cgroups_path();
  c.Require(cgroup.empty() || (cgroup[0] == '/' && !HasZeroByte(cgroup) &&
                               (cgroup + "/").find("/../") == std::string::npos),
            "spec.cgroups_path", "must begin with \"/\" and have no \"..\"");
  for (int i = 0; i < spec.containers_size(); ++i) {
    CheckContainer(c, spec.containers(i), "spec.containers[" + std::to_string(i) + "]");
  }
  return c.Result();
}

Outcome<void> ValidateResources(const v1::Resources& resources) {
  Checker c;
  CheckResources(c, resources, "resources");
  return c.Result();
}

Outcome<void> ValidateExec(const v1::ExecRequest& request) {
  Checker c;
  c.Require(request.process_id().empty() || IsValidId(request.process_id()), "process_id",
            "must be up to 128 letters, digits, \"_\", \".\" and \"-\", beginning with a letter or "
            "digit");
  CheckProcess(c, request.process(), "process", true);
  CheckStdio(c, request.stdio(), "stdio");
  return c.Result();
}

}  // namespace sandboxd::daemon
