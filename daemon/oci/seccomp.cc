#include "daemon/oci/seccomp.h"

#include <seccomp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

namespace sandboxd::daemon::oci {
namespace {

using Context = std::unique_ptr<void, decltype(&seccomp_release)>;

struct Rule {
  std::vector<std::string> names;
  uint32_t action = SCMP_ACT_ALLOW;
  std::vector<scmp_arg_cmp> conditions;
};

// The action's value; nullopt, and said so, if it is none.
std::optional<uint32_t> ReadAction(ObjectReader& in, const char* name,
                                   std::optional<uint64_t> errno_ret) {
  const uint32_t number = static_cast<uint32_t>(errno_ret.value_or(EPERM));
  const std::string text = in.String(name).value_or("");
  static const std::map<std::string, uint32_t> kFixed = {
      {"SCMP_ACT_KILL", SCMP_ACT_KILL},
      {"SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD},
      {"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS},
      {"SCMP_ACT_TRAP", SCMP_ACT_TRAP},
      {"SCMP_ACT_LOG", SCMP_ACT_LOG},
      {"SCMP_ACT_ALLOW", SCMP_ACT_ALLOW},
  };
  if (auto it = kFixed.find(text); it != kFixed.end()) return it->second;
  if (text == "SCMP_ACT_ERRNO") return SCMP_ACT_ERRNO(number);
  if (text == "SCMP_ACT_TRACE") return SCMP_ACT_TRACE(number);
  if (text == "SCMP_ACT_NOTIFY") {
    in.findings().unsupported.push_back(
        {in.PathOf(name), "a supervisor outside the sandbox can't be asked yet"});
  } else {
    in.Wrong(name, "is no action of seccomp: SCMP_ACT_ALLOW, SCMP_ACT_ERRNO, …");
  }
  return std::nullopt;
}

std::optional<scmp_arg_cmp> ReadCondition(ObjectReader& in) {
  static const std::map<std::string, scmp_compare> kOperators = {
      {"SCMP_CMP_NE", SCMP_CMP_NE},
      {"SCMP_CMP_LT", SCMP_CMP_LT},
      {"SCMP_CMP_LE", SCMP_CMP_LE},
      {"SCMP_CMP_EQ", SCMP_CMP_EQ},
      {"SCMP_CMP_GE", SCMP_CMP_GE},
      {"SCMP_CMP_GT", SCMP_CMP_GT},
      {"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ}};
  constexpr uint64_t kLastArgument = 5;
  const auto index = in.Unsigned("index", kLastArgument);
  const uint64_t value = in.Unsigned("value").value_or(0);
  const uint64_t second = in.Unsigned("valueTwo").value_or(0);
  const std::string op = in.String("op").value_or("");
  auto it = kOperators.find(op);
  if (it == kOperators.end()) {
    in.Wrong("op", "is no comparison of seccomp: SCMP_CMP_EQ, …");
    return std::nullopt;
  }
  if (!index) return std::nullopt;
  // "masked equal": valueTwo is what must remain under the mask `value`.
  return scmp_arg_cmp{static_cast<unsigned>(*index), it->second, value, second};
}

std::optional<Rule> ReadRule(ObjectReader& in) {
  Rule rule;
  rule.names = in.Strings("names");
  if (rule.names.empty()) in.Wrong("names", "must name a system call");
  const auto errno_ret = in.Unsigned("errnoRet", UINT16_MAX);
  auto action = ReadAction(in, "action", errno_ret);
  bool ok = action.has_value();
  in.Array("args", [&](const nlohmann::json& value, std::string path) {
    ObjectReader condition(value, std::move(path), in.findings());
    auto read = ReadCondition(condition);
    condition.Done();
    if (read) rule.conditions.push_back(*read);
    ok = ok && read.has_value();
  });
  if (!ok) return std::nullopt;
  rule.action = *action;
  return rule;
}

// Two conditions on one argument can't be one rule of libseccomp's: then any of them is enough, as
// runc has it.
int AddRule(scmp_filter_ctx context, int number, const Rule& rule) {
  std::set<unsigned> arguments;
  for (const scmp_arg_cmp& c : rule.conditions) arguments.insert(c.arg);
  if (arguments.size() == rule.conditions.size()) {
    return seccomp_rule_add_array(context, rule.action, number,
                                  static_cast<unsigned>(rule.conditions.size()),
                                  rule.conditions.data());
  }
  for (const scmp_arg_cmp& c : rule.conditions) {
    if (int r = seccomp_rule_add_array(context, rule.action, number, 1, &c); r != 0) return r;
  }
  return 0;
}

std::optional<std::string> Export(scmp_filter_ctx context) {
  int fd = memfd_create("seccomp", MFD_CLOEXEC);
  if (fd < 0) return std::nullopt;
  std::string program;
  bool ok = seccomp_export_bpf(context, fd) == 0;
  off_t size = lseek(fd, 0, SEEK_END);
  if (ok && size > 0) {
    program.resize(static_cast<size_t>(size));
    ok = pread(fd, program.data(), program.size(), 0) == size;
  }
  close(fd);
  return ok ? std::optional(program) : std::nullopt;
}

std::optional<std::string> Compile(uint32_t default_action, const std::vector<Rule>& rules,
                                   std::string* problem) {
  Context context(seccomp_init(default_action), &seccomp_release);
  if (context == nullptr) {
    *problem = "libseccomp refuses the default action";
    return std::nullopt;
  }
  // A binary tree rather than a list of hundreds of comparisons (libseccomp 2.5).
  seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);
  for (const Rule& rule : rules) {
    if (rule.action == default_action) continue;
    for (const std::string& name : rule.names) {
      const int number = seccomp_syscall_resolve_name(name.c_str());
      // Below zero: unknown, or a call that x86-64 doesn't have.
      if (number < 0) continue;
      if (AddRule(context.get(), number, rule) != 0) {
        *problem = "libseccomp refuses the rule for " + name;
        return std::nullopt;
      }
    }
  }
  auto program = Export(context.get());
  if (!program) *problem = "the filter could not be compiled";
  return program;
}

bool ReadFlags(ObjectReader& in) {
  bool log = false;
  for (const std::string& flag : in.Strings("flags")) {
    if (flag == "SECCOMP_FILTER_FLAG_LOG") {
      log = true;
    } else if (flag != "SECCOMP_FILTER_FLAG_TSYNC" && flag != "SECCOMP_FILTER_FLAG_SPEC_ALLOW") {
      in.findings().unsupported.push_back({in.PathOf("flags"), flag + " is not supported"});
    }
  }
  return log;
}

}  // namespace

SeccompProfile ReadSeccomp(ObjectReader& in) {
  const auto default_errno = in.Unsigned("defaultErrnoRet", UINT16_MAX);
  auto default_action = ReadAction(in, "defaultAction", default_errno);
  in.Strings("architectures");  // a sandbox has x86-64 calls only
  SeccompProfile profile;
  profile.log = ReadFlags(in);
  in.Unsupported("listenerPath");
  in.Unsupported("listenerMetadata");
  std::vector<Rule> rules;
  bool ok = default_action.has_value();
  in.Array("syscalls", [&](const nlohmann::json& value, std::string path) {
    ObjectReader reader(value, std::move(path), in.findings());
    auto rule = ReadRule(reader);
    reader.Done();
    ok = ok && rule.has_value();
    if (rule) rules.push_back(std::move(*rule));
  });
  if (!ok) return profile;
  std::string problem;
  auto program = Compile(*default_action, rules, &problem);
  if (program) {
    profile.program = std::move(*program);
  } else {
    in.Wrong("syscalls", problem);
  }
  return profile;
}

}  // namespace sandboxd::daemon::oci
