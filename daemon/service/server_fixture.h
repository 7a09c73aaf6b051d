// The whole daemon but its main, through gRPC, with the fake kernel and gofer in real namespaces.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "daemon/error/fault_point.h"
#include "daemon/service/server.h"
#include "proto/google/rpc/error_details.pb.h"
#include "proto/google/rpc/status.pb.h"
#include "proto/sandboxd/v1/daemon.grpc.pb.h"
#include "proto/sandboxd/v1/process.grpc.pb.h"
#include "proto/sandboxd/v1/sandbox.grpc.pb.h"

namespace sandboxd::daemon {

using grpc::ClientContext;
using grpc::StatusCode;

// Children of this process, zombies too.
inline std::vector<pid_t> Children() {
  std::vector<pid_t> out;
  std::ifstream in("/proc/self/task/" + std::to_string(getpid()) + "/children");
  for (pid_t pid; in >> pid;) out.push_back(pid);
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream more(task.path() / "children");
    for (pid_t pid; more >> pid;) out.push_back(pid);
  }
  return out;
}

inline std::string ReasonOf(const grpc::Status& status) {
  google::rpc::Status details;
  details.ParseFromString(status.error_details());
  for (const auto& any : details.details()) {
    google::rpc::ErrorInfo info;
    if (any.UnpackTo(&info)) return info.reason();
  }
  return "";
}

class ServerTest : public testing::Test {
 protected:
  void SetUp() override {
    signal(SIGPIPE, SIG_IGN);
    char name[] = "/tmp/sandboxd-test-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
    std::filesystem::create_directory(dir_ + "/rootfs");
    StartServer();
  }
  void TearDown() override {
    SetFaultHook(nullptr);
    if (server_) {
      v1::ListSandboxesResponse all;
      ClientContext list_context;
      sandboxes_->List(&list_context, {}, &all);
      for (const auto& s : all.sandboxes()) EXPECT_TRUE(Delete(s.id(), true).ok());
      StopServer();
    }
    EXPECT_TRUE(Children().empty()) << "a process was left behind";
    std::filesystem::remove_all(dir_);
  }

  void StartServer() {
    ServerOptions options;
    options.state_dir = dir_ + "/state";
    options.listen = {"unix://" + dir_ + "/sock"};
    options.settings.kernel_binary =
        UniqueFd(open("daemon/testing/fake_kernel", O_PATH | O_CLOEXEC));
    options.settings.gofer_binary = UniqueFd(open("daemon/testing/fake_gofer", O_PATH | O_CLOEXEC));
    options.settings.default_platform = "fake";
    options.settings.rootless = geteuid() != 0;
    auto server = Server::Start(std::move(options));
    ASSERT_TRUE(server.ok()) << server.error().message();
    server_ = std::move(*server);
    grpc::ChannelArguments args;
    args.SetInt("grpc.use_local_subchannel_pool", 1);
    auto channel = grpc::CreateCustomChannel("unix://" + dir_ + "/sock",
                                             grpc::InsecureChannelCredentials(), args);
    sandboxes_ = v1::SandboxService::NewStub(channel);
    processes_ = v1::ProcessService::NewStub(channel);
    daemon_ = v1::DaemonService::NewStub(channel);
  }
  void StopServer() {
    sandboxes_.reset();
    processes_.reset();
    daemon_.reset();
    server_.reset();
  }

  v1::CreateSandboxRequest Request(const std::string& id, std::vector<std::string> args) {
    v1::CreateSandboxRequest request;
    request.set_id(id);
    auto& container = *request.mutable_spec()->add_containers();
    container.mutable_rootfs()->set_path(dir_ + "/rootfs");
    for (auto& arg : args) container.mutable_process()->add_args(arg);
    return request;
  }
  grpc::Status Create(const v1::CreateSandboxRequest& request, v1::Sandbox* out = nullptr) {
    ClientContext context;
    v1::Sandbox ignored;
    return sandboxes_->Create(&context, request, out ? out : &ignored);
  }
  grpc::Status Start(const std::string& id) {
    ClientContext context;
    v1::StartSandboxRequest request;
    request.set_id(id);
    v1::Sandbox ignored;
    return sandboxes_->Start(&context, request, &ignored);
  }
  grpc::Status Delete(const std::string& id, bool force) {
    ClientContext context;
    v1::DeleteSandboxRequest request;
    request.set_id(id);
    request.set_force(force);
    v1::DeleteSandboxResponse ignored;
    return sandboxes_->Delete(&context, request, &ignored);
  }
  v1::Sandbox Get(const std::string& id) {
    ClientContext context;
    v1::GetSandboxRequest request;
    request.set_id(id);
    v1::Sandbox out;
    EXPECT_TRUE(sandboxes_->Get(&context, request, &out).ok());
    return out;
  }
  v1::ExitStatus Wait(const std::string& id) {
    ClientContext context;
    v1::WaitSandboxRequest request;
    request.set_id(id);
    v1::WaitSandboxResponse out;
    const auto status = sandboxes_->Wait(&context, request, &out);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return out.exit();
  }
  grpc::Status Signal(const std::string& id, int signo) {
    ClientContext context;
    v1::SignalSandboxRequest request;
    request.set_id(id);
    request.set_signal(signo);
    v1::SignalSandboxResponse ignored;
    return sandboxes_->Signal(&context, request, &ignored);
  }
  void RunDetached(const std::string& id, std::vector<std::string> args) {
    auto status = Create(Request(id, std::move(args)));
    ASSERT_TRUE(status.ok()) << status.error_message();
    status = Start(id);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  std::string Logs(const std::string& id, bool follow, const std::string& process = "") {
    ClientContext context;
    v1::LogsRequest request;
    request.mutable_process()->set_sandbox_id(id);
    request.mutable_process()->set_process_id(process);
    request.set_follow(follow);
    auto reader = processes_->Logs(&context, request);
    std::string out;
    for (v1::LogChunk chunk; reader->Read(&chunk);) out += chunk.data();
    const auto status = reader->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    return out;
  }
  // Until the sandbox has no host process any more.
  void AwaitIdle() {
    while (!Children().empty()) std::this_thread::yield();
  }
  bool StateFolderHas(const std::string& id) {
    return std::filesystem::exists(dir_ + "/state/sandboxes/" + id);
  }

  struct Attachment {
    ClientContext context;
    std::unique_ptr<grpc::ClientReaderWriter<v1::AttachRequest, v1::AttachResponse>> stream;
    std::string out, err;
    std::optional<v1::ExitStatus> exit;
    bool detached = false;

    bool Next() {
      v1::AttachResponse frame;
      if (!stream->Read(&frame)) return false;
      out += frame.stdout();
      err += frame.stderr();
      if (frame.has_exit()) exit = frame.exit();
      if (frame.has_detached()) detached = true;
      return true;
    }
    grpc::Status Drain() {
      while (Next()) {
      }
      return stream->Finish();
    }
    void Send(const std::string& bytes) {
      v1::AttachRequest frame;
      frame.set_stdin(bytes);
      stream->Write(frame);
    }
    void CloseStdin() {
      v1::AttachRequest frame;
      frame.mutable_close_stdin();
      stream->Write(frame);
    }
  };
  std::unique_ptr<Attachment> Attach(const std::string& id, v1::AttachStart start = {}) {
    auto a = std::make_unique<Attachment>();
    a->stream = processes_->Attach(&a->context);
    start.mutable_process()->set_sandbox_id(id);
    v1::AttachRequest frame;
    *frame.mutable_start() = start;
    a->stream->Write(frame);
    return a;
  }
  v1::CreateSandboxRequest Streaming(const std::string& id, std::vector<std::string> args) {
    auto request = Request(id, std::move(args));
    auto& stdio = *request.mutable_spec()->mutable_containers(0)->mutable_stdio();
    stdio.set_output(v1::StdioSpec::OUTPUT_STREAM);
    stdio.set_stdin(true);
    return request;
  }

  std::string dir_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<v1::SandboxService::Stub> sandboxes_;
  std::unique_ptr<v1::ProcessService::Stub> processes_;
  std::unique_ptr<v1::DaemonService::Stub> daemon_;
};

}  // namespace sandboxd::daemon
