#include "kernel/boot/sandbox.h"

#include <unistd.h>

#include <utility>
#include <vector>

#include "kernel/task/thread_group.h"
#include "platform/base/format.h"
#include "platform/base/log.h"

namespace sandboxd::boot {
namespace {

constexpr uint32_t kProtocolVersion = 1;

void FillExit(const task::ExitStatus& status, control::Exit* out) {
  out->set_code(status.signo == 0 ? status.code & 0xff : 0);
  out->set_signo(status.signo);
  out->set_core(status.core);
}

}  // namespace

Sandbox::Sandbox(task::Kernel& kernel, StdioRelay& relay, FilesystemFactory& filesystems,
                 ControlServer& server)
    : kernel_(kernel), relay_(relay), server_(server), environment_{kernel, relay, filesystems} {
  kernel_.set_exit_listener([this](task::ThreadGroup& group) { OnExit(group); });
}

Sandbox::~Sandbox() {
  containers_.clear();
  kernel_.set_exit_listener(nullptr);
}

control::Response Sandbox::Handle(const control::Request& request, ControlServer::Fds fds) {
  control::Response response;
  Failure failure;
  if (Dispatch(request, fds, &response, &failure)) {
    response.mutable_status()->set_reason(control::Status::OK);
  } else {
    *response.mutable_status() = ToStatus(failure);
  }
  return response;
}

bool Sandbox::Dispatch(const control::Request& request, ControlServer::Fds& fds,
                       control::Response* response, Failure* failure) {
  switch (request.op_case()) {
    case control::Request::kHello:
      return Hello(request.hello(), response->mutable_hello(), failure);
    case control::Request::kCreateContainer:
      return Create(request.create_container(), fds, failure);
    case control::Request::kStartContainer: {
      Container* c = Find(request.start_container().container_id(), failure);
      if (c == nullptr) return false;
      auto pid = c->Start(failure);
      if (pid) response->mutable_start_container()->set_pid(*pid);
      return pid.has_value();
    }
    case control::Request::kExecProcess: {
      Container* c = Find(request.exec_process().container_id(), failure);
      if (c == nullptr) return false;
      auto pid = c->Exec(request.exec_process(), fds, failure);
      if (pid) response->mutable_exec_process()->set_pid(*pid);
      return pid.has_value();
    }
    case control::Request::kSignalProcess: {
      Container* c = Find(request.signal_process().container_id(), failure);
      return c != nullptr && c->Signal(request.signal_process(), failure);
    }
    case control::Request::kListProcesses: {
      Container* c = Find(request.list_processes().container_id(), failure);
      if (c != nullptr) c->List(response->mutable_list_processes());
      return c != nullptr;
    }
    case control::Request::kResizeTerminal: {
      const auto& r = request.resize_terminal();
      Container* c = Find(r.container_id(), failure);
      return c != nullptr && c->Resize(r.process_id(), r.rows(), r.cols(), failure);
    }
    case control::Request::kAttachStdio: {
      const auto& r = request.attach_stdio();
      Container* c = Find(r.container_id(), failure);
      return c != nullptr && c->AttachStdio(r.process_id(), r.stdio(), fds, failure);
    }
    case control::Request::kCloseStdin: {
      const auto& r = request.close_stdin();
      Container* c = Find(r.container_id(), failure);
      return c != nullptr && c->CloseStdin(r.process_id(), failure);
    }
    case control::Request::kAcknowledgeExit: {
      const auto& r = request.acknowledge_exit();
      {
        MutexLock lock(mutex_);
        exits_.erase(ProcessKey(r.container_id(), r.process_id()));
      }
      auto it = containers_.find(r.container_id());
      if (it != containers_.end()) it->second->Forget(r.process_id());
      return true;
    }
    case control::Request::kDestroyContainer:
      return Destroy(request.destroy_container().container_id(), failure);
    case control::Request::kFreeze:
      if (request.freeze().frozen()) {
        kernel_.Freeze();
      } else {
        kernel_.Thaw();
      }
      return true;
    case control::Request::kSetLimits:
      kernel_.task_limit.store(request.set_limits().tasks(), std::memory_order_relaxed);
      return true;
    case control::Request::kShutdown:
      containers_.clear();
      server_.Stop();
      return true;
    case control::Request::kDebugState:
      *failure = {control::Status::UNIMPLEMENTED, Errno::kENOSYS,
                  "the debug state is not built yet"};
      return false;
    case control::Request::OP_NOT_SET:
      break;
  }
  *failure = {control::Status::UNIMPLEMENTED, Errno::kENOSYS,
              "this sandbox-kernel does not know that request"};
  return false;
}

bool Sandbox::Hello(const control::Hello& request, control::HelloResult* result, Failure* failure) {
  if (request.version() != kProtocolVersion) {
    *failure = {control::Status::INVALID_ARGUMENT, Errno::kEINVAL,
                StrFormat("this sandbox-kernel speaks version %u of the control protocol, not %u",
                          kProtocolVersion, request.version())};
    return false;
  }
  result->set_version(kProtocolVersion);
  result->set_platform(std::string(kernel_.platform().name()));
  result->set_pid(getpid());
  for (const auto& [id, container] : containers_) result->add_containers(id);
  std::vector<control::Event> drained;
  {
    MutexLock lock(mutex_);
    for (const auto& [key, record] : exits_) {
      *result->add_exited() = record.info;
      if (!record.drained) continue;
      auto* event = drained.emplace_back().mutable_stdio_drained();
      event->set_container_id(record.info.container_id());
      event->set_process_id(record.info.process_id());
    }
  }
  for (control::Event& event : drained) server_.SendEvent(std::move(event));
  return true;
}

bool Sandbox::Create(const control::CreateContainer& request, ControlServer::Fds& fds,
                     Failure* failure) {
  if (containers_.contains(request.container_id())) {
    *failure = {control::Status::ALREADY_EXISTS, Errno::kEEXIST,
                StrFormat("container \"%s\" exists already", request.container_id().c_str())};
    return false;
  }
  auto container = Container::Create(environment_, request, fds, failure);
  if (container == nullptr) return false;
  containers_.emplace(request.container_id(), std::move(container));
  return true;
}

bool Sandbox::Destroy(const std::string& container_id, Failure* failure) {
  if (Find(container_id, failure) == nullptr) return false;
  containers_.erase(container_id);
  return true;
}

Container* Sandbox::Find(const std::string& container_id, Failure* failure) {
  auto it = containers_.find(container_id);
  if (it != containers_.end()) return it->second.get();
  *failure = {control::Status::NOT_FOUND, Errno::kESRCH,
              StrFormat("there is no container \"%s\"", container_id.c_str())};
  return nullptr;
}

void Sandbox::OnExit(task::ThreadGroup& group) {
  if (group.container_id.empty()) return;
  auto status = group.exit_status();
  if (!status) return;
  control::Event event;
  control::ProcessInfo* info = event.mutable_process_exited();
  info->set_container_id(group.container_id);
  info->set_process_id(group.process_id);
  info->set_pid(group.tgid().value);
  info->set_state("Z");
  FillExit(*status, info->mutable_exit());
  auto usage = group.SelfUsage();
  info->set_cpu_time_us(
      std::chrono::duration_cast<std::chrono::microseconds>(usage.user + usage.system).count());
  std::string key = ProcessKey(group.container_id, group.process_id);
  {
    MutexLock lock(mutex_);
    exits_[key] = {*info, false};
  }
  server_.SendEvent(std::move(event));
  relay_.WhenDrained(key, [this, container = group.container_id, process = group.process_id] {
    OnDrained(container, process);
  });
}

void Sandbox::OnDrained(const std::string& container_id, const std::string& process_id) {
  {
    MutexLock lock(mutex_);
    auto it = exits_.find(ProcessKey(container_id, process_id));
    if (it != exits_.end()) it->second.drained = true;
  }
  control::Event event;
  event.mutable_stdio_drained()->set_container_id(container_id);
  event.mutable_stdio_drained()->set_process_id(process_id);
  server_.SendEvent(std::move(event));
}

}  // namespace sandboxd::boot
