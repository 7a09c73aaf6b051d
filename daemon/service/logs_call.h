// ProcessService.Logs.
#pragma once

#include "daemon/service/calls.h"
#include "proto/sandboxd/v1/process.grpc.pb.h"

namespace sandboxd::daemon {

grpc::ServerWriteReactor<v1::LogChunk>* StartLogs(ServiceContext& context,
                                                  const grpc::CallbackServerContext& call,
                                                  const v1::LogsRequest& request);

}  // namespace sandboxd::daemon
