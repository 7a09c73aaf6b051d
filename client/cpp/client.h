// Client: the public API (proto/sandboxd/v1) from C++, synchronously.
//
//   client::Client client;                       // SANDBOXD_ADDRESS or the default socket
//   v1::Sandbox sandbox;
//   if (auto error = client.Create(request, &sandbox)) { … error.message() … }
//
// Thread-safe: one Client may be used from many threads. A Stream belongs to one reader and one
// writer at a time.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "client/cpp/error.h"
#include "proto/sandboxd/v1/daemon.grpc.pb.h"
#include "proto/sandboxd/v1/process.grpc.pb.h"
#include "proto/sandboxd/v1/sandbox.grpc.pb.h"

namespace sandboxd::client {

inline constexpr char kDefaultAddress[] = "unix:///run/sandboxd/sandboxd.sock";
// `flag` if not empty, else SANDBOXD_ADDRESS, else kDefaultAddress.
std::string ResolveAddress(const std::string& flag);

// How long a call may take; nullopt: as long as it needs. Waiting calls ignore the client's
// default.
using Timeout = std::optional<std::chrono::milliseconds>;

// A process's standard streams (ProcessService.Attach). Read and Write may run on two threads.
class AttachStream {
 public:
  // False: the stream has ended; see Finish().
  bool Read(v1::AttachResponse* frame) { return stream_->Read(frame); }
  // False: the stream is broken; Finish() says why. Any thread.
  bool Write(const v1::AttachRequest& frame);
  // No more frames from us. Any thread, once.
  void WritesDone();
  // After Read returned false.
  Error Finish();
  // Ends the stream now. Any thread.
  void Cancel() { context_.TryCancel(); }

 private:
  friend class Client;
  std::string address_;
  grpc::ClientContext context_;
  std::mutex write_mutex_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::AttachRequest, v1::AttachResponse>> stream_;
};

// A stream of messages from the daemon.
template <typename Message>
class ReadStream {
 public:
  bool Read(Message* message) { return reader_->Read(message); }
  Error Finish() { return Error::FromStatus(reader_->Finish(), address_); }
  void Cancel() { context_.TryCancel(); }

 private:
  friend class Client;
  std::string address_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<Message>> reader_;
};

class Client {
 public:
  explicit Client(const std::string& address = "", Timeout timeout = std::chrono::seconds(60));
  const std::string& address() const { return address_; }

  Error Create(const v1::CreateSandboxRequest& request, v1::Sandbox* sandbox);
  Error Start(const std::string& id, v1::Sandbox* sandbox);
  Error Get(const std::string& id, v1::Sandbox* sandbox);
  // All pages.
  Error List(v1::ListSandboxesRequest request, std::vector<v1::Sandbox>* sandboxes);
  Error Signal(const std::string& id, int signal, bool all);
  Error Wait(const std::string& id, v1::WaitSandboxResponse* response,
             Timeout timeout = std::nullopt);
  Error Delete(const std::string& id, bool force, bool* existed = nullptr);
  Error Pause(const std::string& id, v1::Sandbox* sandbox);
  Error Resume(const std::string& id, v1::Sandbox* sandbox);
  Error Update(const v1::UpdateSandboxRequest& request, v1::Sandbox* sandbox);
  Error Stats(const std::string& id, v1::SandboxStats* stats);
  std::unique_ptr<ReadStream<v1::SandboxEvent>> Watch(const v1::WatchSandboxesRequest& request);

  Error Exec(const v1::ExecRequest& request, v1::Process* process);
  Error SignalProcess(const v1::SignalProcessRequest& request);
  Error WaitProcess(const v1::ProcessRef& process, v1::WaitProcessResponse* response,
                    Timeout timeout = std::nullopt);
  Error ListProcesses(const v1::ListProcessesRequest& request, v1::ListProcessesResponse* response);
  Error DeleteProcess(const v1::ProcessRef& process);
  std::unique_ptr<ReadStream<v1::LogChunk>> Logs(const v1::LogsRequest& request);
  // Sends the first frame. Errors show at Read and Finish.
  std::unique_ptr<AttachStream> Attach(const v1::AttachStart& start);

  Error Version(v1::VersionResponse* response);
  Error Info(v1::InfoResponse* response);
  Error ListPlatforms(v1::ListPlatformsResponse* response);

 private:
  template <typename Stub, typename Request, typename Response>
  Error Call(Stub& stub,
             grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
             const Request& request, Response* response, Timeout timeout);

  const std::string address_;
  const Timeout timeout_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::SandboxService::Stub> sandboxes_;
  std::unique_ptr<v1::ProcessService::Stub> processes_;
  std::unique_ptr<v1::DaemonService::Stub> daemon_;
};

}  // namespace sandboxd::client
