// Sends a task's events to containerd, in order, from a thread of its own; connects again when
// containerd was restarted.
#pragma once

#include <google/protobuf/message.h>

#include <deque>
#include <string>
#include <thread>

#include "platform/base/mutex.h"
#include "platform/base/unique_fd.h"
#include "tools/shim/proto/forward.pb.h"

namespace sandboxd::shim {

class Publisher {
 public:
  // `address`: TTRPC_ADDRESS, a path or unix:// path. Empty: events go nowhere.
  Publisher(std::string address, std::string name_space);
  // Sends what is left, but waits for nobody who does not answer.
  ~Publisher();
  // "/tasks/start".
  void Publish(const std::string& topic, const google::protobuf::Message& event);

 private:
  using ForwardRequest = containerd::services::events::ttrpc::v1::ForwardRequest;
  void Run();
  bool Send(const ForwardRequest& request);
  bool Connect();

  const std::string path_;
  const std::string namespace_;
  Mutex mutex_{LockRank::kDaemonLeaf};
  CondVar changed_;
  std::deque<ForwardRequest> queue_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  UniqueFd socket_;  // the thread's
  uint32_t next_stream_ = 1;
  std::thread thread_;
};

}  // namespace sandboxd::shim
