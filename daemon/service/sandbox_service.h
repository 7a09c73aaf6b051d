// SandboxService: thin; the work is Manager's and Sandbox's.
#pragma once

#include "daemon/service/calls.h"
#include "proto/sandboxd/v1/sandbox.grpc.pb.h"

namespace sandboxd::daemon {

class SandboxServiceImpl final : public v1::SandboxService::CallbackService {
 public:
  explicit SandboxServiceImpl(ServiceContext context) : context_(context) {}

  using Call = grpc::CallbackServerContext;
  using Unary = grpc::ServerUnaryReactor;
  Unary* Create(Call*, const v1::CreateSandboxRequest*, v1::Sandbox*) override;
  Unary* Start(Call*, const v1::StartSandboxRequest*, v1::Sandbox*) override;
  Unary* Get(Call*, const v1::GetSandboxRequest*, v1::Sandbox*) override;
  Unary* List(Call*, const v1::ListSandboxesRequest*, v1::ListSandboxesResponse*) override;
  Unary* Signal(Call*, const v1::SignalSandboxRequest*, v1::SignalSandboxResponse*) override;
  Unary* Wait(Call*, const v1::WaitSandboxRequest*, v1::WaitSandboxResponse*) override;
  Unary* Delete(Call*, const v1::DeleteSandboxRequest*, v1::DeleteSandboxResponse*) override;
  grpc::ServerWriteReactor<v1::SandboxEvent>* Watch(Call*,
                                                    const v1::WatchSandboxesRequest*) override;

  Unary* Pause(Call*, const v1::PauseSandboxRequest*, v1::Sandbox*) override;
  Unary* Resume(Call*, const v1::ResumeSandboxRequest*, v1::Sandbox*) override;
  Unary* Update(Call*, const v1::UpdateSandboxRequest*, v1::Sandbox*) override;
  Unary* Stats(Call*, const v1::StatsSandboxRequest*, v1::SandboxStats*) override;
  Unary* Clone(Call*, const v1::CloneSandboxRequest*, v1::Sandbox*) override;

 private:
  ServiceContext context_;
};

}  // namespace sandboxd::daemon
