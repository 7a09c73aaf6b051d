#include "daemon/service/sandbox_service.h"

#include "daemon/service/wait_call.h"
#include "daemon/service/watch_call.h"

namespace sandboxd::daemon {

using Unary = grpc::ServerUnaryReactor;

Unary* SandboxServiceImpl::Create(Call* call, const v1::CreateSandboxRequest* request,
                                  v1::Sandbox* response) {
  return UnaryCall<v1::CreateSandboxRequest, v1::Sandbox>::Run(
      context_, *call, request, response,
      [this](CallContext& context, const Caller& caller, const auto& request,
             auto* response) -> Outcome<void> {
        *response = TRY(context_.manager.Create(context, request, caller));
        return {};
      });
}

Unary* SandboxServiceImpl::Start(Call* call, const v1::StartSandboxRequest* request,
                                 v1::Sandbox* response) {
  return UnaryCall<v1::StartSandboxRequest, v1::Sandbox>::Run(
      context_, *call, request, response,
      [this](CallContext& context, const Caller&, const auto& request,
             auto* response) -> Outcome<void> {
        Ref<Sandbox> sandbox = TRY(context_.manager.Find(request.id()));
        TRY(sandbox->Start(context));
        *response = sandbox->Snapshot();
        return {};
      });
}

Unary* SandboxServiceImpl::Get(Call* call, const v1::GetSandboxRequest* request,
                               v1::Sandbox* response) {
  return UnaryCall<v1::GetSandboxRequest, v1::Sandbox>::Run(
      context_, *call, request, response,
      [this](CallContext&, const Caller&, const auto& request, auto* response) -> Outcome<void> {
        *response = TRY(context_.manager.Find(request.id()))->Snapshot();
        return {};
      });
}

Unary* SandboxServiceImpl::List(Call* call, const v1::ListSandboxesRequest* request,
                                v1::ListSandboxesResponse* response) {
  return UnaryCall<v1::ListSandboxesRequest, v1::ListSandboxesResponse>::Run(
      context_, *call, request, response,
      [this](CallContext&, const Caller&, const auto& request, auto* response) -> Outcome<void> {
        *response = TRY(context_.manager.List(request));
        return {};
      });
}

Unary* SandboxServiceImpl::Signal(Call* call, const v1::SignalSandboxRequest* request,
                                  v1::SignalSandboxResponse* response) {
  return UnaryCall<v1::SignalSandboxRequest, v1::SignalSandboxResponse>::Run(
      context_, *call, request, response,
      [this](CallContext& context, const Caller&, const auto& request, auto*) -> Outcome<void> {
        if (!IsValidSignal(request.signal())) {
          return Error::Fields({{"signal", "must be from 1 to 64"}});
        }
        control::SignalProcess signal;
        signal.set_signo(request.signal());
        signal.set_all(request.all());
        return TRY(context_.manager.Find(request.id()))->Signal(context, std::move(signal));
      });
}

Unary* SandboxServiceImpl::Wait(Call* call, const v1::WaitSandboxRequest* request,
                                v1::WaitSandboxResponse* response) {
  v1::ProcessRef process;
  process.set_sandbox_id(request->id());
  return StartWait(context_, *call, process, [response](const v1::WaitProcessResponse& exited) {
    *response->mutable_exit() = exited.exit();
    *response->mutable_stop_time() = exited.exit_time();
  });
}

Unary* SandboxServiceImpl::Delete(Call* call, const v1::DeleteSandboxRequest* request,
                                  v1::DeleteSandboxResponse* response) {
  return UnaryCall<v1::DeleteSandboxRequest, v1::DeleteSandboxResponse>::Run(
      context_, *call, request, response,
      [this](CallContext& context, const Caller&, const auto& request,
             auto* response) -> Outcome<void> {
        response->set_existed(TRY(context_.manager.Delete(context, request.id(), request.force())));
        return {};
      });
}

grpc::ServerWriteReactor<v1::SandboxEvent>* SandboxServiceImpl::Watch(
    Call* call, const v1::WatchSandboxesRequest* request) {
  return StartWatch(context_, *call, *request);
}

Unary* SandboxServiceImpl::Pause(Call* call, const v1::PauseSandboxRequest* request,
                                 v1::Sandbox* response) {
  return UnaryCall<v1::PauseSandboxRequest, v1::Sandbox>::Run(
      context_, *call, request, response,
      [this](CallContext& context, const Caller&, const auto& request,
             auto* response) -> Outcome<void> {
        Ref<Sandbox> sandbox = TRY(context_.manager.Find(request.id()));
        TRY(sandbox->Pause(context));
        *response = sandbox->Snapshot();
        return {};
      });
}

Unary* SandboxServiceImpl::Resume(Call* call, const v1::ResumeSandboxRequest* request,
                                  v1::Sandbox* response) {
  return UnaryCall<v1::ResumeSandboxRequest, v1::Sandbox>::Run(
      context_, *call, request, response,
      [this](CallContext& context, const Caller&, const auto& request,
             auto* response) -> Outcome<void> {
        Ref<Sandbox> sandbox = TRY(context_.manager.Find(request.id()));
        TRY(sandbox->Resume(context));
        *response = sandbox->Snapshot();
        return {};
      });
}

Unary* SandboxServiceImpl::Update(Call* call, const v1::UpdateSandboxRequest* request,
                                  v1::Sandbox* response) {
  return UnaryCall<v1::UpdateSandboxRequest, v1::Sandbox>::Run(
      context_, *call, request, response,
      [this](CallContext& context, const Caller&, const auto& request,
             auto* response) -> Outcome<void> {
        Ref<Sandbox> sandbox = TRY(context_.manager.Find(request.id()));
        TRY(sandbox->Update(context, request));
        *response = sandbox->Snapshot();
        return {};
      });
}

Unary* SandboxServiceImpl::Stats(Call* call, const v1::StatsSandboxRequest* request,
                                 v1::SandboxStats* response) {
  return UnaryCall<v1::StatsSandboxRequest, v1::SandboxStats>::Run(
      context_, *call, request, response,
      [this](CallContext& context, const Caller&, const auto& request,
             auto* response) -> Outcome<void> {
        *response = TRY(TRY(context_.manager.Find(request.id()))->Stats(context));
        return {};
      });
}

Unary* SandboxServiceImpl::Clone(Call* call, const v1::CloneSandboxRequest*, v1::Sandbox*) {
  return Refuse(call, NotImplemented("Clone"));
}

}  // namespace sandboxd::daemon
