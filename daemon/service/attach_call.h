// ProcessService.Attach: one client connected to one process's streams.
#pragma once

#include "daemon/service/calls.h"
#include "proto/sandboxd/v1/process.grpc.pb.h"

namespace sandboxd::daemon {

grpc::ServerBidiReactor<v1::AttachRequest, v1::AttachResponse>* StartAttach(
    ServiceContext& context, grpc::CallbackServerContext* call);

}  // namespace sandboxd::daemon
