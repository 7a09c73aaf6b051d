#include "kernel/boot/process_spec.h"

#include <linux/capability.h>
#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>

#include "platform/abi/process_names.h"
#include "platform/base/format.h"

namespace sandboxd::boot {
namespace {

using abi::kCapabilityNames;
using abi::RlimitName;
static_assert(std::size(kCapabilityNames) == creds::CapSet::kLast + 1);

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    size_t at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

std::optional<uint32_t> ParseId(std::string_view text) {
  uint32_t id = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return id;
}

bool ParseCapabilities(const google::protobuf::RepeatedPtrField<std::string>& names,
                       const char* set, creds::CapSet* out, Failure* failure) {
  for (const std::string& name : names) {
    auto it = std::find_if(std::begin(kCapabilityNames), std::end(kCapabilityNames),
                           [&](const char* known) { return name == known; });
    if (it == std::end(kCapabilityNames)) {
      *failure = {control::Status::INVALID_ARGUMENT, Errno::kEINVAL,
                  StrFormat("process.capabilities.%s: \"%s\" is no capability", set, name.c_str())};
      return false;
    }
    out->Add(static_cast<int>(it - std::begin(kCapabilityNames)));
  }
  return true;
}

bool MakeCredentials(const control::ProcessSpec& spec, const UserIds& user,
                     Ref<creds::UserNamespace> user_ns, creds::CredRef* out, Failure* failure) {
  creds::CapSet initial = user.uid == 0 ? DefaultCapabilities() : creds::CapSet{};
  Ref<creds::Credentials> c = creds::Credentials::Root(std::move(user_ns), initial);
  c->ruid = c->euid = c->suid = c->fsuid = creds::KUid(user.uid);
  c->rgid = c->egid = c->sgid = c->fsgid = creds::KGid(user.gid);
  c->groups.clear();
  for (uint32_t gid : user.groups) c->groups.push_back(creds::KGid(gid));
  for (uint32_t gid : spec.additional_gids()) c->groups.push_back(creds::KGid(gid));
  std::sort(c->groups.begin(), c->groups.end());
  c->groups.erase(std::unique(c->groups.begin(), c->groups.end()), c->groups.end());
  c->bounding = DefaultCapabilities();
  c->inheritable = c->ambient = creds::CapSet{};
  if (spec.has_capabilities()) {
    const control::Capabilities& caps = spec.capabilities();
    c->bounding = c->permitted = c->effective = creds::CapSet{};
    if (!ParseCapabilities(caps.bounding(), "bounding", &c->bounding, failure) ||
        !ParseCapabilities(caps.permitted(), "permitted", &c->permitted, failure) ||
        !ParseCapabilities(caps.effective(), "effective", &c->effective, failure) ||
        !ParseCapabilities(caps.inheritable(), "inheritable", &c->inheritable, failure) ||
        !ParseCapabilities(caps.ambient(), "ambient", &c->ambient, failure)) {
      return false;
    }
  }
  *out = c;
  return true;
}

}  // namespace

control::Status ToStatus(const Failure& failure) {
  control::Status status;
  status.set_reason(failure.reason);
  status.set_linux_errno(static_cast<int>(failure.error));
  status.set_message(failure.message);
  return status;
}

creds::CapSet DefaultCapabilities() {
  creds::CapSet caps;
  for (int cap : {CAP_AUDIT_WRITE, CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_KILL,
                  CAP_MKNOD, CAP_NET_BIND_SERVICE, CAP_NET_RAW, CAP_SETFCAP, CAP_SETGID,
                  CAP_SETPCAP, CAP_SETUID, CAP_SYS_CHROOT}) {
    caps.Add(cap);
  }
  return caps;
}

Result<UserIds> LookUpUser(const std::string& user, const std::string& passwd,
                           const std::string& group, std::string* message) {
  UserIds ids;
  std::string_view name = user;
  std::string_view group_name;
  if (size_t colon = name.find(':'); colon != std::string_view::npos) {
    group_name = name.substr(colon + 1);
    name = name.substr(0, colon);
  }
  std::optional<uint32_t> number = ParseId(name);
  bool found = false;
  std::string login;
  for (std::string_view line : Split(passwd, '\n')) {
    auto f = Split(line, ':');
    if (f.size() < 7) continue;
    if (f[0] != name && !(number && ParseId(f[2]) == number)) continue;
    ids.uid = ParseId(f[2]).value_or(0);
    ids.gid = ParseId(f[3]).value_or(0);
    ids.home = f[5];
    login = f[0];
    found = true;
    break;
  }
  if (!found && !number) {
    *message = StrFormat("no user \"%.*s\" in the container's /etc/passwd",
                         static_cast<int>(name.size()), name.data());
    return Errno::kENOENT;
  }
  if (!found) ids.uid = *number;
  bool group_found = group_name.empty();
  for (std::string_view line : Split(group, '\n')) {
    auto f = Split(line, ':');
    if (f.size() < 4) continue;
    std::optional<uint32_t> gid = ParseId(f[2]);
    if (!gid) continue;
    if (!group_name.empty()) {
      if (f[0] == group_name) {
        ids.gid = *gid;
        group_found = true;
      }
      continue;
    }
    auto members = Split(f[3], ',');
    if (!login.empty() && std::find(members.begin(), members.end(), login) != members.end())
      ids.groups.push_back(*gid);
  }
  if (!group_found) {
    std::optional<uint32_t> gid = ParseId(group_name);
    if (!gid) {
      *message = StrFormat("no group \"%.*s\" in the container's /etc/group",
                           static_cast<int>(group_name.size()), group_name.data());
      return Errno::kENOENT;
    }
    ids.gid = *gid;
  }
  return ids;
}

bool ReadSeccomp(const std::string& program, bool log, Ref<seccomp::Filter>* out,
                 Failure* failure) {
  if (program.empty()) return true;
  auto refuse = [failure](const char* why) {
    *failure = {control::Status::INVALID_ARGUMENT, Errno::kEINVAL,
                StrFormat("linux.seccomp: %s", why)};
    return false;
  };
  if (program.size() % sizeof(sock_filter) != 0) return refuse("the program is cut off");
  std::vector<sock_filter> code(program.size() / sizeof(sock_filter));
  std::memcpy(code.data(), program.data(), program.size());
  auto checked = seccomp::Program::Create(std::move(code));
  if (!checked.ok()) return refuse("seccomp(2) would refuse this program");
  auto filter = seccomp::Filter::Create(std::move(checked).value(), log, nullptr);
  if (!filter.ok()) return refuse("the program is too long");
  *out = std::move(filter).value();
  return true;
}

bool FillProcessRequest(const control::ProcessSpec& spec, const UserIds& user,
                        Ref<creds::UserNamespace> user_ns, task::ProcessRequest* request,
                        Failure* failure) {
  auto invalid = [&](std::string message) {
    *failure = {control::Status::INVALID_ARGUMENT, Errno::kEINVAL, std::move(message)};
    return false;
  };
  if (spec.args().empty() || spec.args(0).empty())
    return invalid("process.args: no program is named");
  if (!spec.cwd().empty() && spec.cwd()[0] != '/')
    return invalid("process.cwd: must be an absolute path");
  request->filename = spec.args(0);
  request->argv.assign(spec.args().begin(), spec.args().end());
  request->envp.assign(spec.env().begin(), spec.env().end());
  request->cwd = spec.cwd().empty() ? "/" : spec.cwd();
  request->umask = spec.has_umask() ? spec.umask() & 0777 : 0022;
  request->no_new_privs = spec.no_new_privileges();
  request->oom_score_adj = spec.oom_score_adj();
  for (const control::Rlimit& limit : spec.rlimits()) {
    auto it = std::find_if(std::begin(abi::kRlimitNames), std::end(abi::kRlimitNames),
                           [&](const RlimitName& known) { return limit.type() == known.name; });
    if (it == std::end(abi::kRlimitNames)) {
      return invalid(
          StrFormat("process.rlimits: \"%s\" is no resource limit", limit.type().c_str()));
    }
    if (limit.soft() > limit.hard()) {
      return invalid(StrFormat("process.rlimits: %s: soft is greater than hard", it->name));
    }
    request->rlimits.emplace_back(it->resource, rlimit64{limit.soft(), limit.hard()});
  }
  return MakeCredentials(spec, user, std::move(user_ns), &request->credentials, failure);
}

}  // namespace sandboxd::boot
