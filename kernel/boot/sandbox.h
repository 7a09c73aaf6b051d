// Sandbox: answers the requests of the control channel.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "kernel/boot/container.h"
#include "kernel/boot/control_server.h"
#include "kernel/boot/stdio_relay.h"
#include "kernel/task/kernel.h"
#include "platform/base/mutex.h"

namespace sandboxd::boot {

class Sandbox {
 public:
  Sandbox(task::Kernel& kernel, StdioRelay& relay, FilesystemFactory& filesystems,
          ControlServer& server);
  ~Sandbox();

  // On the control thread.
  control::Response Handle(const control::Request& request, ControlServer::Fds fds);

 private:
  struct ExitRecord {
    control::ProcessInfo info;
    bool drained = false;
  };

  bool Dispatch(const control::Request& request, ControlServer::Fds& fds,
                control::Response* response, Failure* failure);
  bool Hello(const control::Hello& request, control::HelloResult* result, Failure* failure);
  bool Create(const control::CreateContainer& request, ControlServer::Fds& fds, Failure* failure);
  bool Destroy(const std::string& container_id, Failure* failure);
  Container* Find(const std::string& container_id, Failure* failure);
  // Any thread: a process that the control channel started has ended.
  void OnExit(task::ThreadGroup& group);
  void OnDrained(const std::string& container_id, const std::string& process_id);

  task::Kernel& kernel_;
  StdioRelay& relay_;
  ControlServer& server_;
  Environment environment_;
  std::map<std::string, std::unique_ptr<Container>> containers_;  // control thread only
  Mutex mutex_{LockRank::kLeaf};
  std::map<std::string, ExitRecord> exits_ GUARDED_BY(mutex_);  // by ProcessKey, until acknowledged
};

}  // namespace sandboxd::boot
