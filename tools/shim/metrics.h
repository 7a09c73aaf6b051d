// A sandbox's figures as containerd takes them.
#pragma once

#include <google/protobuf/any.pb.h>

#include "proto/sandboxd/v1/sandbox.pb.h"

namespace sandboxd::shim {

bool HostHasCgroupV1();
// io.containerd.cgroups.v1.Metrics or v2.Metrics.
google::protobuf::Any MetricsOf(const v1::SandboxStats& stats, bool cgroup_v1);

}  // namespace sandboxd::shim
