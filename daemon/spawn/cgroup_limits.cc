// Limits and figures of a cgroup, in the words of either version
// (Documentation/admin-guide/cgroup-v1, cgroup-v2.rst).
#include <google/protobuf/util/time_util.h>
#include <unistd.h>

#include <algorithm>

#include "daemon/spawn/cgroup.h"
#include "daemon/spawn/cgroup_files.h"

namespace sandboxd::daemon {
namespace {

using google::protobuf::util::TimeUtil;

constexpr uint64_t kDefaultPeriodUs = 100'000;
constexpr uint64_t kDefaultShares = 1024;
constexpr uint64_t kDefaultWeight = 100;
// Above this v1 says "no limit" (the largest multiple of a page).
constexpr uint64_t kNoLimit = 1ull << 62;
// Host threads for one task of the application (its stub's and its kernel thread), and those that
// every sandbox has.
constexpr uint64_t kHostTasksPerTask = 2;
constexpr uint64_t kHostTasksOwn = 64;

// How v2's weight and v1's shares say the same.
uint64_t WeightOf(uint64_t shares) {
  return 1 + (std::clamp<uint64_t>(shares, 2, 262144) - 2) * 9999 / 262142;
}
uint64_t SharesOf(uint64_t weight) {
  return 2 + (std::clamp<uint64_t>(weight, 1, 10000) - 1) * 262142 / 9999;
}

std::string OrMax(uint64_t value, bool v2) {
  if (value != 0) return std::to_string(value);
  return v2 ? "max" : "-1";
}

// One file to be written.
struct Setting {
  const char* controller;
  const char* field;  // of v1::Resources
  std::string v1_file, v1_value;
  std::string v2_file, v2_value;
};

std::vector<Setting> CpuSettings(const v1::Resources& r, const v1::Resources& before) {
  std::vector<Setting> out;
  if (r.cpu_limit_millis() != 0 || before.cpu_limit_millis() != 0) {
    const uint64_t period = r.cpu_period_us() != 0 ? r.cpu_period_us() : kDefaultPeriodUs;
    const uint64_t quota = r.cpu_limit_millis() == 0
                               ? 0
                               : std::max<uint64_t>(r.cpu_limit_millis() * period / 1000, 1000);
    out.push_back({"cpu", "cpu_limit_millis", "cpu.cfs_period_us", std::to_string(period), "", ""});
    out.push_back({"cpu", "cpu_limit_millis", "cpu.cfs_quota_us", OrMax(quota, false), "cpu.max",
                   OrMax(quota, true) + " " + std::to_string(period)});
  }
  if (r.cpu_weight() != 0 || r.cpu_shares() != 0 || before.cpu_weight() != 0 ||
      before.cpu_shares() != 0) {
    uint64_t shares = kDefaultShares, weight = kDefaultWeight;
    if (r.cpu_weight() != 0) weight = r.cpu_weight(), shares = SharesOf(weight);
    if (r.cpu_shares() != 0) shares = r.cpu_shares(), weight = WeightOf(shares);
    out.push_back({"cpu", "cpu_weight", "cpu.shares", std::to_string(shares), "cpu.weight",
                   std::to_string(weight)});
  }
  if (!r.cpuset_cpus().empty()) {
    out.push_back(
        {"cpuset", "cpuset_cpus", "cpuset.cpus", r.cpuset_cpus(), "cpuset.cpus", r.cpuset_cpus()});
  }
  if (!r.cpuset_mems().empty()) {
    out.push_back(
        {"cpuset", "cpuset_mems", "cpuset.mems", r.cpuset_mems(), "cpuset.mems", r.cpuset_mems()});
  }
  return out;
}

std::vector<Setting> MemorySettings(const v1::Resources& r, const v1::Resources& before) {
  std::vector<Setting> out;
  const Setting memory = {"memory",
                          "memory_limit_bytes",
                          "memory.limit_in_bytes",
                          OrMax(r.memory_limit_bytes(), false),
                          "memory.max",
                          OrMax(r.memory_limit_bytes(), true)};
  if (r.memory_limit_bytes() != 0 || before.memory_limit_bytes() != 0) out.push_back(memory);
  if (r.memory_swap_bytes() != 0 || before.memory_swap_bytes() != 0) {
    const uint64_t swap =
        r.memory_swap_bytes() - std::min(r.memory_swap_bytes(), r.memory_limit_bytes());
    out.push_back({"memory", "memory_swap_bytes", "memory.memsw.limit_in_bytes",
                   OrMax(r.memory_swap_bytes(), false), "memory.swap.max",
                   r.memory_swap_bytes() == 0 ? "max" : std::to_string(swap)});
    // v1 keeps the first at or below the second at every moment: the order depends on whether they
    // rise or fall, so the first is tried on either side.
    if (r.memory_limit_bytes() != 0) out.push_back(memory);
  }
  if (r.memory_reservation_bytes() != 0 || before.memory_reservation_bytes() != 0) {
    out.push_back({"memory", "memory_reservation_bytes", "memory.soft_limit_in_bytes",
                   OrMax(r.memory_reservation_bytes(), false), "memory.low",
                   std::to_string(r.memory_reservation_bytes())});
  }
  return out;
}

std::vector<Setting> SettingsOf(const v1::Resources& r, const v1::Resources& before) {
  std::vector<Setting> out = MemorySettings(r, before);
  for (Setting& s : CpuSettings(r, before)) out.push_back(std::move(s));
  if (r.pids_limit() != 0 || before.pids_limit() != 0) {
    // The application kernel keeps the limit itself; this one bounds the host processes behind it.
    const std::string limit =
        r.pids_limit() == 0 ? "max"
                            : std::to_string(r.pids_limit() * kHostTasksPerTask + kHostTasksOwn);
    out.push_back({"pids", "pids_limit", "pids.max", limit, "pids.max", limit});
  }
  return out;
}

}  // namespace

Outcome<void> Cgroup::Apply(const v1::Resources& resources, const v1::Resources* previous) const {
  const auto settings = SettingsOf(resources, previous != nullptr ? *previous : v1::Resources());
  for (size_t i = 0; i < settings.size(); ++i) {
    const Setting& s = settings[i];
    const Place* place = Find(s.controller);
    if (place == nullptr) {
      return Error::Fields(
          {{std::string("resources.") + s.field,
            std::string("this host has no cgroup controller \"") + s.controller + "\""}},
          v1::ERROR_REASON_FEATURE_UNSUPPORTED);
    }
    const std::string& file = place->v2 ? s.v2_file : s.v1_file;
    const std::string& value = place->v2 ? s.v2_value : s.v1_value;
    if (file.empty()) continue;
    const int error = WriteCgroupFile(place->folder + "/" + file, value);
    if (error == 0) continue;
    const bool again =
        std::any_of(settings.begin() + static_cast<ptrdiff_t>(i) + 1, settings.end(),
                    [&](const Setting& later) { return later.v1_file == s.v1_file; });
    if (again) continue;
    return Error::Fields(
        {{std::string("resources.") + s.field,
          ErrnoText(place->folder + "/" + file + " does not take " + value, error)}},
        error == ENOENT ? v1::ERROR_REASON_FEATURE_UNSUPPORTED : v1::ERROR_REASON_INVALID_FIELD);
  }
  return {};
}

uint64_t Cgroup::OomKills() const {
  const Place* memory = Find("memory");
  if (memory == nullptr) return 0;
  return ReadCgroupKey(memory->folder + (memory->v2 ? "/memory.events" : "/memory.oom_control"),
                       "oom_kill")
      .value_or(0);
}

void Cgroup::ReadStats(v1::SandboxStats* out) const {
  if (const Place* p = Find("memory")) {
    const auto number = [&](const char* v1_file, const char* v2_file) {
      const uint64_t value =
          ReadCgroupNumber(p->folder + "/" + (p->v2 ? v2_file : v1_file)).value_or(0);
      return value >= kNoLimit ? 0 : value;
    };
    const auto stat = [&](const char* v1_key, const char* v2_key) {
      return ReadCgroupKey(p->folder + "/memory.stat", p->v2 ? v2_key : v1_key).value_or(0);
    };
    out->set_memory_bytes(number("memory.usage_in_bytes", "memory.current"));
    out->set_memory_peak_bytes(number("memory.max_usage_in_bytes", "memory.peak"));
    out->set_memory_limit_bytes(number("memory.limit_in_bytes", "memory.max"));
    out->set_memory_rss_bytes(stat("total_rss", "anon"));
    out->set_memory_cache_bytes(stat("total_cache", "file"));
    out->set_memory_inactive_file_bytes(stat("total_inactive_file", "inactive_file"));
    out->set_memory_limit_hits(p->v2
                                   ? ReadCgroupKey(p->folder + "/memory.events", "max").value_or(0)
                                   : ReadCgroupNumber(p->folder + "/memory.failcnt").value_or(0));
    out->set_oom_kills(OomKills());
  }
  if (const Place* p = Find("cpuacct"); p != nullptr && !p->v2) {
    const auto ns = [&](const char* file) {
      return TimeUtil::NanosecondsToDuration(
          static_cast<int64_t>(ReadCgroupNumber(p->folder + "/" + file).value_or(0)));
    };
    *out->mutable_cpu_time() = ns("cpuacct.usage");
    *out->mutable_cpu_user_time() = ns("cpuacct.usage_user");
    *out->mutable_cpu_system_time() = ns("cpuacct.usage_sys");
  }
  const Place* cpu = Find("cpu");
  if (cpu == nullptr) return;
  const auto stat = [&](const char* key) {
    return ReadCgroupKey(cpu->folder + "/cpu.stat", key).value_or(0);
  };
  if (cpu->v2) {
    const auto us = [&](const char* key) {
      return TimeUtil::MicrosecondsToDuration(static_cast<int64_t>(stat(key)));
    };
    *out->mutable_cpu_time() = us("usage_usec");
    *out->mutable_cpu_user_time() = us("user_usec");
    *out->mutable_cpu_system_time() = us("system_usec");
    *out->mutable_cpu_throttled_time() = us("throttled_usec");
  } else {
    *out->mutable_cpu_throttled_time() =
        TimeUtil::NanosecondsToDuration(static_cast<int64_t>(stat("throttled_time")));
  }
  out->set_cpu_periods(stat("nr_periods"));
  out->set_cpu_throttled_periods(stat("nr_throttled"));
}

}  // namespace sandboxd::daemon
