#include "daemon/service/process_service.h"

#include "daemon/service/attach_call.h"
#include "daemon/service/logs_call.h"
#include "daemon/service/wait_call.h"

namespace sandboxd::daemon {

using Unary = grpc::ServerUnaryReactor;

Unary* ProcessServiceImpl::Exec(Call* call, const v1::ExecRequest* request, v1::Process* response) {
  return UnaryCall<v1::ExecRequest, v1::Process>::Run(
      context_, *call, request, response,
      [this](CallContext& context, const Caller&, const auto& request,
             auto* response) -> Outcome<void> {
        Ref<Sandbox> sandbox = TRY(context_.manager.Find(request.sandbox_id()));
        *response = TRY(sandbox->Exec(context, request));
        return {};
      });
}

grpc::ServerBidiReactor<v1::AttachRequest, v1::AttachResponse>* ProcessServiceImpl::Attach(
    Call* call) {
  return StartAttach(context_, call);
}

Unary* ProcessServiceImpl::Signal(Call* call, const v1::SignalProcessRequest* request,
                                  v1::SignalProcessResponse* response) {
  return UnaryCall<v1::SignalProcessRequest, v1::SignalProcessResponse>::Run(
      context_, *call, request, response,
      [this](CallContext& context, const Caller&, const auto& request, auto*) -> Outcome<void> {
        if (!IsValidSignal(request.signal())) {
          return Error::Fields({{"signal", "must be from 1 to 64"}});
        }
        control::SignalProcess signal;
        signal.set_signo(request.signal());
        signal.set_process_id(request.process().process_id());
        signal.set_pid(request.pid());
        Ref<Sandbox> sandbox = TRY(context_.manager.Find(request.process().sandbox_id()));
        return sandbox->Signal(context, std::move(signal));
      });
}

Unary* ProcessServiceImpl::Wait(Call* call, const v1::WaitProcessRequest* request,
                                v1::WaitProcessResponse* response) {
  return StartWait(context_, *call, request->process(),
                   [response](const v1::WaitProcessResponse& exited) { *response = exited; });
}

Unary* ProcessServiceImpl::List(Call* call, const v1::ListProcessesRequest* request,
                                v1::ListProcessesResponse* response) {
  return UnaryCall<v1::ListProcessesRequest, v1::ListProcessesResponse>::Run(
      context_, *call, request, response,
      [this](CallContext& context, const Caller&, const auto& request,
             auto* response) -> Outcome<void> {
        Ref<Sandbox> sandbox = TRY(context_.manager.Find(request.sandbox_id()));
        for (v1::Process& process : TRY(sandbox->ListProcesses(context))) {
          *response->add_processes() = std::move(process);
        }
        return {};
      });
}

grpc::ServerWriteReactor<v1::LogChunk>* ProcessServiceImpl::Logs(Call* call,
                                                                 const v1::LogsRequest* request) {
  return StartLogs(context_, *call, *request);
}

Unary* ProcessServiceImpl::Delete(Call* call, const v1::DeleteProcessRequest* request,
                                  v1::DeleteProcessResponse* response) {
  return UnaryCall<v1::DeleteProcessRequest, v1::DeleteProcessResponse>::Run(
      context_, *call, request, response,
      [this](CallContext& context, const Caller&, const auto& request,
             auto* response) -> Outcome<void> {
        bool existed = false;
        Ref<Sandbox> sandbox = TRY(context_.manager.Find(request.process().sandbox_id()));
        TRY(sandbox->DeleteProcess(context, request.process(), &existed));
        response->set_existed(existed);
        return {};
      });
}

}  // namespace sandboxd::daemon
