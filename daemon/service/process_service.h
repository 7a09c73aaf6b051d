// ProcessService: thin; the work is Sandbox's.
#pragma once

#include "daemon/service/calls.h"
#include "proto/sandboxd/v1/process.grpc.pb.h"

namespace sandboxd::daemon {

class ProcessServiceImpl final : public v1::ProcessService::CallbackService {
 public:
  explicit ProcessServiceImpl(ServiceContext context) : context_(context) {}

  using Call = grpc::CallbackServerContext;
  using Unary = grpc::ServerUnaryReactor;
  Unary* Exec(Call*, const v1::ExecRequest*, v1::Process*) override;
  grpc::ServerBidiReactor<v1::AttachRequest, v1::AttachResponse>* Attach(Call*) override;
  Unary* Signal(Call*, const v1::SignalProcessRequest*, v1::SignalProcessResponse*) override;
  Unary* Wait(Call*, const v1::WaitProcessRequest*, v1::WaitProcessResponse*) override;
  Unary* List(Call*, const v1::ListProcessesRequest*, v1::ListProcessesResponse*) override;
  grpc::ServerWriteReactor<v1::LogChunk>* Logs(Call*, const v1::LogsRequest*) override;
  Unary* Delete(Call*, const v1::DeleteProcessRequest*, v1::DeleteProcessResponse*) override;

 private:
  ServiceContext context_;
};

}  // namespace sandboxd::daemon
