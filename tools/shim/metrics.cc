#include "tools/shim/metrics.h"

#include <google/protobuf/util/time_util.h>
#include <unistd.h>

#include "tools/shim/proto/metrics_v1.pb.h"
#include "tools/shim/proto/metrics_v2.pb.h"

namespace sandboxd::shim {
namespace {

namespace cg1 = io::containerd::cgroups::v1;
namespace cg2 = io::containerd::cgroups::v2;
using google::protobuf::util::TimeUtil;

uint64_t Ns(const google::protobuf::Duration& d) {
  return static_cast<uint64_t>(TimeUtil::DurationToNanoseconds(d));
}
uint64_t Us(const google::protobuf::Duration& d) { return Ns(d) / 1000; }

cg1::Metrics V1(const v1::SandboxStats& s) {
  cg1::Metrics m;
  m.mutable_pids()->set_current(s.processes());
  m.mutable_pids()->set_limit(s.processes_limit());
  auto& usage = *m.mutable_cpu()->mutable_usage();
  usage.set_total(Ns(s.cpu_time()));
  usage.set_kernel(Ns(s.cpu_system_time()));
  usage.set_user(Ns(s.cpu_user_time()));
  auto& throttling = *m.mutable_cpu()->mutable_throttling();
  throttling.set_periods(s.cpu_periods());
  throttling.set_throttled_periods(s.cpu_throttled_periods());
  throttling.set_throttled_time(Ns(s.cpu_throttled_time()));
  auto& memory = *m.mutable_memory();
  memory.set_cache(s.memory_cache_bytes());
  memory.set_rss(s.memory_rss_bytes());
  memory.set_total_cache(s.memory_cache_bytes());
  memory.set_total_rss(s.memory_rss_bytes());
  memory.set_total_inactive_file(s.memory_inactive_file_bytes());
  memory.set_hierarchical_memory_limit(s.memory_limit_bytes());
  memory.mutable_usage()->set_usage(s.memory_bytes());
  memory.mutable_usage()->set_limit(s.memory_limit_bytes());
  memory.mutable_usage()->set_max(s.memory_peak_bytes());
  memory.mutable_usage()->set_failcnt(s.memory_limit_hits());
  m.mutable_memory_oom_control()->set_oom_kill(s.oom_kills());
  return m;
}

cg2::Metrics V2(const v1::SandboxStats& s) {
  cg2::Metrics m;
  m.mutable_pids()->set_current(s.processes());
  m.mutable_pids()->set_limit(s.processes_limit());
  auto& cpu = *m.mutable_cpu();
  cpu.set_usage_usec(Us(s.cpu_time()));
  cpu.set_user_usec(Us(s.cpu_user_time()));
  cpu.set_system_usec(Us(s.cpu_system_time()));
  cpu.set_nr_periods(s.cpu_periods());
  cpu.set_nr_throttled(s.cpu_throttled_periods());
  cpu.set_throttled_usec(Us(s.cpu_throttled_time()));
  auto& memory = *m.mutable_memory();
  memory.set_anon(s.memory_rss_bytes());
  memory.set_file(s.memory_cache_bytes());
  memory.set_inactive_file(s.memory_inactive_file_bytes());
  memory.set_usage(s.memory_bytes());
  memory.set_usage_limit(s.memory_limit_bytes());
  m.mutable_memory_events()->set_max(s.memory_limit_hits());
  m.mutable_memory_events()->set_oom_kill(s.oom_kills());
  return m;
}

google::protobuf::Any Pack(const google::protobuf::Message& message) {
  google::protobuf::Any any;
  any.set_type_url(message.GetDescriptor()->full_name());  // bare, as containerd's are
  any.set_value(message.SerializeAsString());
  return any;
}

}  // namespace

bool HostHasCgroupV1() { return ::access("/sys/fs/cgroup/cgroup.controllers", F_OK) != 0; }

google::protobuf::Any MetricsOf(const v1::SandboxStats& stats, bool cgroup_v1) {
  if (cgroup_v1) return Pack(V1(stats));
  return Pack(V2(stats));
}

}  // namespace sandboxd::shim
