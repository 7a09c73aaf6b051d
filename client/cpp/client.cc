#include "client/cpp/client.h"

#include <cstdlib>

namespace sandboxd::client {

std::string ResolveAddress(const std::string& flag) {
  if (!flag.empty()) return flag;
  const char* environment = getenv("SANDBOXD_ADDRESS");
  return environment != nullptr && *environment != '\0' ? environment : kDefaultAddress;
}

bool AttachStream::Write(const v1::AttachRequest& frame) {
  std::lock_guard<std::mutex> lock(write_mutex_);
  return stream_->Write(frame);
}

void AttachStream::WritesDone() {
  std::lock_guard<std::mutex> lock(write_mutex_);
  stream_->WritesDone();
}

Error AttachStream::Finish() { return Error::FromStatus(stream_->Finish(), address_); }

Client::Client(const std::string& address, Timeout timeout)
    : address_(ResolveAddress(address)), timeout_(timeout) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(64 << 20);
  // A daemon that is not there is an answer; one that restarts is found again at the next call.
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  channel_ = grpc::CreateCustomChannel(address_, grpc::InsecureChannelCredentials(), arguments);
  sandboxes_ = v1::SandboxService::NewStub(channel_);
  processes_ = v1::ProcessService::NewStub(channel_);
  daemon_ = v1::DaemonService::NewStub(channel_);
}

template <typename Stub, typename Request, typename Response>
Error Client::Call(Stub& stub,
                   grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                   const Request& request, Response* response, Timeout timeout) {
  grpc::ClientContext context;
  if (timeout) context.set_deadline(std::chrono::system_clock::now() + *timeout);
  return Error::FromStatus((stub.*method)(&context, request, response), address_);
}

Error Client::Create(const v1::CreateSandboxRequest& request, v1::Sandbox* sandbox) {
  return Call(*sandboxes_, &v1::SandboxService::Stub::Create, request, sandbox, timeout_);
}

Error Client::Start(const std::string& id, v1::Sandbox* sandbox) {
  v1::StartSandboxRequest request;
  request.set_id(id);
  return Call(*sandboxes_, &v1::SandboxService::Stub::Start, request, sandbox, timeout_);
}

Error Client::Get(const std::string& id, v1::Sandbox* sandbox) {
  v1::GetSandboxRequest request;
  request.set_id(id);
  return Call(*sandboxes_, &v1::SandboxService::Stub::Get, request, sandbox, timeout_);
}

Error Client::List(v1::ListSandboxesRequest request, std::vector<v1::Sandbox>* sandboxes) {
  do {
    v1::ListSandboxesResponse page;
    if (Error e = Call(*sandboxes_, &v1::SandboxService::Stub::List, request, &page, timeout_))
      return e;
    for (auto& sandbox : *page.mutable_sandboxes()) sandboxes->push_back(std::move(sandbox));
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return {};
}

Error Client::Signal(const std::string& id, int signal, bool all) {
  v1::SignalSandboxRequest request;
  request.set_id(id);
  request.set_signal(signal);
  request.set_all(all);
  v1::SignalSandboxResponse response;
  return Call(*sandboxes_, &v1::SandboxService::Stub::Signal, request, &response, timeout_);
}

Error Client::Wait(const std::string& id, v1::WaitSandboxResponse* response, Timeout timeout) {
  v1::WaitSandboxRequest request;
  request.set_id(id);
  return Call(*sandboxes_, &v1::SandboxService::Stub::Wait, request, response, timeout);
}

Error Client::Delete(const std::string& id, bool force, bool* existed) {
  v1::DeleteSandboxRequest request;
  request.set_id(id);
  request.set_force(force);
  v1::DeleteSandboxResponse response;
  Error error = Call(*sandboxes_, &v1::SandboxService::Stub::Delete, request, &response, timeout_);
  if (existed != nullptr) *existed = response.existed();
  return error;
}

Error Client::Pause(const std::string& id, v1::Sandbox* sandbox) {
  v1::PauseSandboxRequest request;
  request.set_id(id);
  return Call(*sandboxes_, &v1::SandboxService::Stub::Pause, request, sandbox, timeout_);
}

Error Client::Resume(const std::string& id, v1::Sandbox* sandbox) {
  v1::ResumeSandboxRequest request;
  request.set_id(id);
  return Call(*sandboxes_, &v1::SandboxService::Stub::Resume, request, sandbox, timeout_);
}

Error Client::Update(const v1::UpdateSandboxRequest& request, v1::Sandbox* sandbox) {
  return Call(*sandboxes_, &v1::SandboxService::Stub::Update, request, sandbox, timeout_);
}

Error Client::Stats(const std::string& id, v1::SandboxStats* stats) {
  v1::StatsSandboxRequest request;
  request.set_id(id);
  return Call(*sandboxes_, &v1::SandboxService::Stub::Stats, request, stats, timeout_);
}

std::unique_ptr<ReadStream<v1::SandboxEvent>> Client::Watch(
    const v1::WatchSandboxesRequest& request) {
  auto stream = std::make_unique<ReadStream<v1::SandboxEvent>>();
  stream->address_ = address_;
  stream->reader_ = sandboxes_->Watch(&stream->context_, request);
  return stream;
}

Error Client::Exec(const v1::ExecRequest& request, v1::Process* process) {
  return Call(*processes_, &v1::ProcessService::Stub::Exec, request, process, timeout_);
}

Error Client::SignalProcess(const v1::SignalProcessRequest& request) {
  v1::SignalProcessResponse response;
  return Call(*processes_, &v1::ProcessService::Stub::Signal, request, &response, timeout_);
}

Error Client::WaitProcess(const v1::ProcessRef& process, v1::WaitProcessResponse* response,
                          Timeout timeout) {
  v1::WaitProcessRequest request;
  *request.mutable_process() = process;
  return Call(*processes_, &v1::ProcessService::Stub::Wait, request, response, timeout);
}

Error Client::ListProcesses(const v1::ListProcessesRequest& request,
                            v1::ListProcessesResponse* response) {
  return Call(*processes_, &v1::ProcessService::Stub::List, request, response, timeout_);
}

Error Client::DeleteProcess(const v1::ProcessRef& process) {
  v1::DeleteProcessRequest request;
  *request.mutable_process() = process;
  v1::DeleteProcessResponse response;
  return Call(*processes_, &v1::ProcessService::Stub::Delete, request, &response, timeout_);
}

std::unique_ptr<ReadStream<v1::LogChunk>> Client::Logs(const v1::LogsRequest& request) {
  auto stream = std::make_unique<ReadStream<v1::LogChunk>>();
  stream->address_ = address_;
  stream->reader_ = processes_->Logs(&stream->context_, request);
  return stream;
}

std::unique_ptr<AttachStream> Client::Attach(const v1::AttachStart& start) {
  auto stream = std::make_unique<AttachStream>();
  stream->address_ = address_;
  stream->stream_ = processes_->Attach(&stream->context_);
  v1::AttachRequest first;
  *first.mutable_start() = start;
  stream->stream_->Write(first);  // a failure shows at Read
  return stream;
}

Error Client::Version(v1::VersionResponse* response) {
  return Call(*daemon_, &v1::DaemonService::Stub::Version, v1::VersionRequest(), response,
              timeout_);
}

Error Client::Info(v1::InfoResponse* response) {
  return Call(*daemon_, &v1::DaemonService::Stub::Info, v1::InfoRequest(), response, timeout_);
}

Error Client::ListPlatforms(v1::ListPlatformsResponse* response) {
  return Call(*daemon_, &v1::DaemonService::Stub::ListPlatforms, v1::ListPlatformsRequest(),
              response, timeout_);
}

}  // namespace sandboxd::client
