#include <algorithm>

#include "daemon/oci/readers.h"

namespace sandboxd::daemon::oci {
namespace {

using nlohmann::json;

constexpr uint64_t kDefaultPeriodUs = 100'000;

// Nothing but zeros, empty texts and empty lists, however deep: how engines write "no limit".
bool SaysNothing(const json& value) {
  if (value.is_null()) return true;
  if (value.is_boolean()) return !value.get<bool>();
  if (value.is_number()) return value.get<double>() == 0;
  if (value.is_string()) return value.get_ref<const std::string&>().empty();
  for (const json& element : value) {
    if (!SaysNothing(element)) return false;
  }
  return true;
}

void Refuse(ObjectReader& in, const char* name, const char* why) {
  const json* value = in.Take(name);
  if (value != nullptr && !SaysNothing(*value)) {
    in.findings().unsupported.push_back({in.PathOf(name), why});
  }
}

// 0 and -1 say "no limit"; both become 0.
uint64_t Limit(ObjectReader& in, const char* name) {
  const int64_t value = in.Int(name, -1, INT64_MAX).value_or(0);
  return value > 0 ? static_cast<uint64_t>(value) : 0;
}

void ReadMemory(ObjectReader& in, v1::Resources& out) {
  out.set_memory_limit_bytes(Limit(in, "limit"));
  out.set_memory_reservation_bytes(Limit(in, "reservation"));
  out.set_memory_swap_bytes(Limit(in, "swap"));
  if (out.memory_swap_bytes() != 0 && out.memory_swap_bytes() < out.memory_limit_bytes()) {
    in.Wrong("swap", "is memory and swap together, so it can't be below limit");
  }
  Refuse(in, "kernel", "limits of kernel memory are not supported");
  Refuse(in, "kernelTCP", "limits of kernel memory are not supported");
  Refuse(in, "disableOOMKiller", "the out-of-memory killer can't be disabled");
  in.Note("swappiness", "has no effect");
  in.Note("useHierarchy", "has no effect");
  in.Note("checkBeforeUpdate", "has no effect");
}

void ReadCpu(ObjectReader& in, v1::Resources& out) {
  out.set_cpu_shares(in.Unsigned("shares").value_or(0));
  const uint64_t quota = Limit(in, "quota");
  const uint64_t period = in.Unsigned("period").value_or(0);
  if (quota != 0) {
    const uint64_t over = period != 0 ? period : kDefaultPeriodUs;
    out.set_cpu_limit_millis(std::max<uint64_t>((quota * 1000 + over / 2) / over, 1));
    out.set_cpu_period_us(period);
  }
  out.set_cpuset_cpus(in.String("cpus").value_or(""));
  out.set_cpuset_mems(in.String("mems").value_or(""));
  Refuse(in, "burst", "is not supported");
  Refuse(in, "idle", "is not supported");
  Refuse(in, "realtimeRuntime", "real-time scheduling is not supported");
  Refuse(in, "realtimePeriod", "real-time scheduling is not supported");
}

}  // namespace

void ReadResources(ObjectReader& in, v1::Resources& out) {
  in.Note("devices", "a sandbox has no host devices to allow or deny");
  in.Object("memory", [&](ObjectReader& memory) { ReadMemory(memory, out); });
  in.Object("cpu", [&](ObjectReader& cpu) { ReadCpu(cpu, out); });
  in.Object("pids", [&](ObjectReader& pids) { out.set_pids_limit(Limit(pids, "limit")); });
  Refuse(in, "blockIO", "limits of block devices are not supported");
  Refuse(in, "hugepageLimits", "limits of huge pages are not supported");
  Refuse(in, "network", "is not supported: the network of a sandbox is its own");
  Refuse(in, "rdma", "is not supported");
  Refuse(in, "unified", "files of cgroup version 2 can't be named");
}

std::vector<std::string> FieldsOfResources(const std::string& resources_json) {
  const json resources = json::parse(resources_json, nullptr, /*allow_exceptions=*/false);
  if (!resources.is_object()) return {};
  static const struct {
    const char *group, *member, *field;
  } kFields[] = {{"memory", "limit", "memory_limit_bytes"},
                 {"memory", "reservation", "memory_reservation_bytes"},
                 {"memory", "swap", "memory_swap_bytes"},
                 {"cpu", "shares", "cpu_shares"},
                 {"cpu", "quota", "cpu_limit_millis"},
                 {"cpu", "period", "cpu_period_us"},
                 {"cpu", "cpus", "cpuset_cpus"},
                 {"cpu", "mems", "cpuset_mems"},
                 {"pids", "limit", "pids_limit"}};
  std::vector<std::string> out;
  for (const auto& known : kFields) {
    if (!resources.contains(known.group)) continue;
    const json& group = resources.at(known.group);
    if (!group.is_object() || !group.contains(known.member)) continue;
    const json& value = group.at(known.member);
    // Engines write zero for what they don't mean to change.
    const bool nothing = value.is_null() || (value.is_number() && value.get<double>() == 0) ||
                         (value.is_string() && value.get_ref<const std::string&>().empty());
    if (!nothing) out.push_back(known.field);
  }
  return out;
}

}  // namespace sandboxd::daemon::oci
