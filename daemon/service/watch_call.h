// SandboxService.Watch.
#pragma once

#include "daemon/service/calls.h"

namespace sandboxd::daemon {

grpc::ServerWriteReactor<v1::SandboxEvent>* StartWatch(ServiceContext& context,
                                                       const grpc::CallbackServerContext& call,
                                                       const v1::WatchSandboxesRequest& request);

}  // namespace sandboxd::daemon
