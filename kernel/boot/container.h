// Container: one tree of mounts, one pid namespace, one hostname, and the processes that the
// control channel started in it. Used by the control thread only, but for what says otherwise.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernel/boot/control_server.h"
#include "kernel/boot/kernel_caller.h"
#include "kernel/boot/process_spec.h"
#include "kernel/boot/stdio_relay.h"
#include "kernel/task/clone.h"
#include "kernel/task/kernel.h"
#include "platform/base/result.h"
#include "proto/control/control.pb.h"

namespace sandboxd::boot {

class FilesystemFactory;

// What containers stand on.
struct Environment {
  task::Kernel& kernel;
  StdioRelay& relay;
  FilesystemFactory& filesystems;
};

// The relay's and the exit table's name for a process.
std::string ProcessKey(const std::string& container_id, const std::string& process_id);

class Container {
 public:
  // Mounts everything and loads the init process; no application code runs yet. Null: `failure`
  // says why, and nothing is left.
  static std::unique_ptr<Container> Create(const Environment& environment,
                                           const control::CreateContainer& spec,
                                           ControlServer::Fds& fds, Failure* failure);
  ~Container();

  const std::string& id() const { return id_; }
  bool started() const { return started_; }
  // Has the init process ended?
  bool stopped() const;

  // Runs the init process. The pid inside.
  std::optional<int32_t> Start(Failure* failure);
  std::optional<int32_t> Exec(const control::ExecProcess& request, ControlServer::Fds& fds,
                              Failure* failure);
  bool Signal(const control::SignalProcess& request, Failure* failure);
  bool Resize(const std::string& process_id, uint32_t rows, uint32_t cols, Failure* failure);
  bool AttachStdio(const std::string& process_id, const control::Stdio& stdio,
                   ControlServer::Fds& fds, Failure* failure);
  bool CloseStdin(const std::string& process_id, Failure* failure);
  void List(control::ListProcessesResult* out);
  // Forgets an exec'ed process that has ended.
  void Forget(const std::string& process_id);
  // Kills all its processes and waits until they are gone.
  void KillAll();

 private:
  struct Process {
    Ref<task::ThreadGroup> group;
    Ref<RefCounted> terminal;  // pts::Terminal, or null
  };
  // The parts of a process that is being made.
  struct Prepared {
    std::unique_ptr<task::StartedProcess> started;
    Process process;
  };

  Container(const Environment& environment, std::string id);
  bool MountAll(const control::CreateContainer& spec, ControlServer::Fds& fds, Failure* failure);
  std::optional<Prepared> Prepare(const std::string& process_id, const control::ProcessSpec& spec,
                                  const control::Stdio& stdio, ControlServer::Fds& fds,
                                  Failure* failure);
  bool SetUpStdio(const std::string& process_id, const control::ProcessSpec& spec, creds::KUid user,
                  const control::Stdio& stdio, ControlServer::Fds& fds, vfs::FdTable& files,
                  Ref<RefCounted>* terminal, Failure* failure);
  Process* Find(const std::string& process_id, Failure* failure);
  std::string ReadSmallFile(const std::string& path);

  Environment env_;
  const std::string id_;
  Ref<vfs::MountNamespace> mounts_;
  std::optional<KernelCaller> caller_;
  Ref<task::UtsNamespace> uts_;
  Ref<task::PidNamespace> pid_ns_;
  Ref<seccomp::Filter> seccomp_;                // of all its processes; null: none
  std::unique_ptr<task::StartedProcess> init_;  // between Create and Start
  bool started_ = false;
  std::map<std::string, Process> processes_;  // by process id; the init process has the container's
};

}  // namespace sandboxd::boot
