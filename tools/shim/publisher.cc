#include "tools/shim/publisher.h"

#include <google/protobuf/util/time_util.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "daemon/log/log.h"
#include "tools/shim/proto/ttrpc.pb.h"
#include "tools/shim/ttrpc_frame.h"

namespace sandboxd::shim {
namespace {

constexpr size_t kMaxQueue = 2048;
constexpr int kTries = 120;
constexpr auto kPause = std::chrono::milliseconds(500);
constexpr timeval kAnswerPatience{5, 0};

std::string PathOf(const std::string& address) {
  const std::string scheme = "unix://";
  return address.rfind(scheme, 0) == 0 ? address.substr(scheme.size()) : address;
}

}  // namespace

Publisher::Publisher(std::string address, std::string name_space)
    : path_(PathOf(address)), namespace_(std::move(name_space)), thread_([this] { Run(); }) {}

Publisher::~Publisher() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void Publisher::Publish(const std::string& topic, const google::protobuf::Message& event) {
  if (path_.empty()) return;
  ForwardRequest request;
  auto& envelope = *request.mutable_envelope();
  *envelope.mutable_timestamp() = google::protobuf::util::TimeUtil::GetCurrentTime();
  envelope.set_namespace_(namespace_);
  envelope.set_topic(topic);
  // containerd's type URLs are bare names.
  envelope.mutable_event()->set_type_url(event.GetDescriptor()->full_name());
  envelope.mutable_event()->set_value(event.SerializeAsString());
  MutexLock lock(mutex_);
  if (queue_.size() >= kMaxQueue) queue_.pop_front();
  queue_.push_back(std::move(request));
  changed_.NotifyAll();
}

void Publisher::Run() {
  for (;;) {
    ForwardRequest request;
    {
      MutexLock lock(mutex_);
      while (queue_.empty() && !stopping_) changed_.Wait(mutex_);
      if (queue_.empty()) return;
      request = queue_.front();
      queue_.pop_front();
    }
    for (int i = 0; i < kTries && !Send(request); ++i) {
      socket_.Reset();
      MutexLock lock(mutex_);
      if (stopping_) return;
      changed_.WaitFor(mutex_, kPause);
    }
  }
}

bool Publisher::Connect() {
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  if (path_.size() >= sizeof to.sun_path) return false;
  memcpy(to.sun_path, path_.c_str(), path_.size() + 1);
  socket_.Reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket_.valid()) return false;
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &kAnswerPatience, sizeof kAnswerPatience);
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &kAnswerPatience, sizeof kAnswerPatience);
  next_stream_ = 1;
  return ::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0;
}

// True: containerd has it, or does not want it.
bool Publisher::Send(const ForwardRequest& forward) {
  if (!socket_.valid() && !Connect()) return false;
  ttrpc::Request request;
  request.set_service("containerd.services.events.ttrpc.v1.Events");
  request.set_method("Forward");
  request.set_payload(forward.SerializeAsString());
  const std::string bytes =
      EncodeTtrpcFrame(next_stream_, TtrpcFrame::kRequest, request.SerializeAsString());
  next_stream_ += 2;
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::send(socket_.get(), bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    done += static_cast<size_t>(n);
  }
  TtrpcReader reader;
  std::vector<TtrpcFrame> frames;
  while (frames.empty()) {
    char buffer[4096];
    const ssize_t n = ::recv(socket_.get(), buffer, sizeof buffer, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    reader.Feed(buffer, static_cast<size_t>(n), &frames);
  }
  ttrpc::Response response;
  if (!response.ParseFromString(frames[0].payload)) return false;
  if (response.status().code() != 0) {
    DAEMON_LOG(kWarning) << "containerd refused the event " << forward.envelope().topic() << ": "
                         << response.status().message();
  }
  return true;
}

}  // namespace sandboxd::shim
