#include "platform/host/seccomp_list.h"

#include <seccomp.h>

#include <cstdlib>
#include <cstring>
#include <utility>

#include "platform/base/format.h"
#include "platform/base/log.h"

namespace sandboxd::host {
namespace {

// libseccomp returns negative errno values.
Result<void> Check(int result, const char* what) {
  if (result == 0) return Ok();
  LOG_ERROR("seccomp: %s failed with error %d", what, -result);
  return FromHostErrno(-result);
}

class Filter {
 public:
  Filter() : context_(seccomp_init(SCMP_ACT_KILL_PROCESS)) {}
  ~Filter() {
    if (context_ != nullptr) seccomp_release(context_);
  }
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;

  Result<void> Configure(SeccompList::Scope scope) {
    if (context_ == nullptr) return Errno::kENOMEM;
    TRY(Set(SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS));
    TRY(Set(SCMP_FLTATR_CTL_NNP, 1));
    TRY(Set(SCMP_FLTATR_CTL_OPTIMIZE, 2));
    return Set(SCMP_FLTATR_CTL_TSYNC, scope == SeccompList::Scope::kAllThreads ? 1 : 0);
  }
  Result<void> Add(const SeccompList::Rule& rule) {
    std::vector<scmp_arg_cmp> compare;
    for (const SeccompArg& a : rule.args) {
      compare.push_back({a.index, SCMP_CMP_MASKED_EQ, a.mask, a.value});
    }
    uint32_t action = rule.refusal == 0 ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(rule.refusal);
    return Check(seccomp_rule_add_array(context_, action, rule.number,
                                        static_cast<unsigned>(compare.size()), compare.data()),
                 "adding a rule");
  }
  Result<void> Load() { return Check(seccomp_load(context_), "loading the list"); }

 private:
  Result<void> Set(scmp_filter_attr attribute, uint32_t value) {
    return Check(seccomp_attr_set(context_, attribute, value), "setting an attribute");
  }
  scmp_filter_ctx context_;
};

}  // namespace

void SeccompList::Allow(int number, const char* reason, std::vector<SeccompArg> args) {
  rules_.push_back({number, reason, std::move(args)});
}

void SeccompList::Refuse(int number, int error, const char* reason) {
  rules_.push_back({number, reason, {}, error});
}

Result<void> SeccompList::Load(Scope scope) const {
  Filter filter;
  TRY(filter.Configure(scope));
  for (const Rule& rule : rules_) TRY(filter.Add(rule));
  return filter.Load();
}

std::string SeccompList::ToString() const {
  std::string out;
  for (const Rule& rule : rules_) {
    char* name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, rule.number);
    out += name != nullptr ? name : StrFormat("%d", rule.number);
    std::free(name);
    const char* separator = "(";
    for (const SeccompArg& a : rule.args) {
      out += a.mask == ~uint64_t{0}
                 ? StrFormat("%sarg%u == %#jx", separator, a.index, static_cast<uintmax_t>(a.value))
                 : StrFormat("%sarg%u & %#jx == %#jx", separator, a.index,
                             static_cast<uintmax_t>(a.mask), static_cast<uintmax_t>(a.value));
      separator = ", ";
    }
    if (!rule.args.empty()) out += ")";
    if (rule.refusal != 0) out += StrFormat(" fails with %s", strerrorname_np(rule.refusal));
    out += std::string("  ") + rule.reason + "\n";
  }
  return out;
}

}  // namespace sandboxd::host
