// A stand-in for sandbox-kernel: it speaks proto/control/control.proto and pretends to run
// programs, so that the daemon can be tested without a platform. One thread, one poll loop.
//
// Programs (args[0]): echo TEXT…, err TEXT, exit N, die SIGNO, cat, sleep, trap, flood BYTES, env,
// sizes, abort. Anything with a slash is "not found". --platform picks a fault: "refuse" ends with
// a line in the log, "mute" never answers, "garbage" answers with what is no packet.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "platform/base/unique_fd.h"
#include "proto/control/control.pb.h"

namespace sandboxd::daemon {
namespace {

using Fds = std::vector<UniqueFd>;

struct Output {
  UniqueFd fd;
  std::string waiting;
};

struct Process {
  control::ProcessSpec spec;
  int pid = 0;
  UniqueFd in;
  Output out, err;
  bool close_in = false;
  bool started = false;
  size_t flood_left = 0;
  size_t flooded = 0;
  bool exit_wanted = false;  // once `out` is empty
  control::Exit exit;
  bool exited = false;
  bool drained = false;

  bool Is(const char* program) const { return spec.args_size() > 0 && spec.args(0) == program; }
  std::string Rest() const {
    std::string out;
    for (int i = 1; i < spec.args_size(); ++i) out += (i > 1 ? " " : "") + spec.args(i);
    return out;
  }
};

class FakeKernel {
 public:
  FakeKernel(int listener, std::string platform)
      : listener_(listener), platform_(std::move(platform)) {}

  [[noreturn]] void Run() {
    for (;;) {
      Step();
      Poll();
    }
  }

 private:
  // What the processes can do without waiting.
  void Step() {
    for (auto& [id, p] : processes_) {
      if (p.started && !p.exited) Advance(p);
      Flush(p.out);
      Flush(p.err);
      if (p.exit_wanted && !p.exited && p.flood_left == 0) ReportExit(id, p);
      if (p.exited && !p.drained && p.out.waiting.empty() && p.err.waiting.empty()) {
        p.drained = true;
        SendDrained(id);
      }
    }
  }

  static void Advance(Process& p) {
    constexpr size_t kPart = 4096;
    while (p.flood_left > 0 && p.out.waiting.size() < 64 << 10) {
      std::string part(std::min(p.flood_left, kPart), '\0');
      for (char& c : part) c = static_cast<char>('a' + (p.flooded++ % 26));
      p.flood_left -= part.size();
      p.out.waiting += part;
      Flush(p.out);
    }
    if (!p.in.valid() || (!p.Is("cat") && !p.spec.terminal())) return;
    char buffer[4096];
    ssize_t n = 1;
    while (n > 0 && p.out.waiting.size() < 64 << 10) {
      n = read(p.in.get(), buffer, sizeof buffer);
      if (n > 0 && p.Is("cat")) p.out.waiting.append(buffer, static_cast<size_t>(n));
    }
    if (n > 0) return;
    if (n == 0 && p.spec.terminal()) {
      p.in.Reset();
      p.out.fd.Reset();
    } else if (n < 0 && errno == EAGAIN && p.close_in) {
      p.in.Reset();
      p.exit_wanted = p.exit_wanted || p.Is("cat");
    }
  }

  static void Flush(Output& out) {
    while (!out.waiting.empty() && out.fd.valid()) {
      const ssize_t n = write(out.fd.get(), out.waiting.data(), out.waiting.size());
      if (n <= 0) return;
      out.waiting.erase(0, static_cast<size_t>(n));
    }
  }

  void Poll() {
    std::vector<pollfd> fds = {{listener_, POLLIN, 0}};
    if (connection_.valid()) fds.push_back({connection_.get(), POLLIN, 0});
    for (auto& [id, p] : processes_) {
      const bool wants_input = p.started && !p.exited && (p.Is("cat") || p.spec.terminal()) &&
                               p.out.waiting.size() < 64 << 10;
      if (p.in.valid() && wants_input) fds.push_back({p.in.get(), POLLIN, 0});
      const bool has_output = !p.out.waiting.empty() || p.flood_left > 0;
      if (p.out.fd.valid() && has_output) fds.push_back({p.out.fd.get(), POLLOUT, 0});
      if (p.err.fd.valid() && !p.err.waiting.empty()) fds.push_back({p.err.fd.get(), POLLOUT, 0});
    }
    if (poll(fds.data(), fds.size(), -1) < 0) return;
    if (connection_.valid() && fds[1].revents != 0) Receive();
    if (fds[0].revents != 0) {
      UniqueFd accepted(accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC));
      if (accepted.valid()) connection_ = std::move(accepted);
    }
  }

  void Receive() {
    std::string buffer(128 << 10, '\0');
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 64)];
    iovec iov{buffer.data(), buffer.size()};
    msghdr msg{};
    msg.msg_iov = &iov;
    msg.msg_iovlen = 1;
    msg.msg_control = control;
    msg.msg_controllen = sizeof control;
    const ssize_t n = recvmsg(connection_.get(), &msg, MSG_CMSG_CLOEXEC);
    Fds fds;
    for (cmsghdr* c = CMSG_FIRSTHDR(&msg); n > 0 && c != nullptr; c = CMSG_NXTHDR(&msg, c)) {
      const auto* numbers = reinterpret_cast<const int*>(CMSG_DATA(c));
      for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); ++i) {
        fds.emplace_back(numbers[i]);
      }
    }
    control::Packet packet;
    if (n <= 0 || !packet.ParseFromArray(buffer.data(), static_cast<int>(n))) {
      connection_.Reset();
      return;
    }
    if (packet.has_body_fd()) {
      const UniqueFd body = std::move(fds[packet.body_fd().fd_index()]);
      std::string bytes(packet.body_fd().size(), '\0');
      if (pread(body.get(), bytes.data(), bytes.size(), 0) < 0) _exit(3);
      packet.ParseFromString(bytes);
    }
    if (platform_ == "mute") return;
    if (platform_ == "garbage") {
      (void)!write(connection_.get(), "\xff\xff\xff", 3);
      return;
    }
    control::Packet reply;
    control::Response& response = *reply.mutable_response();
    response.set_id(packet.request().id());
    Handle(packet.request(), fds, response);
    Send(reply);
    if (packet.request().has_hello()) RepeatDrained();
    if (packet.request().has_shutdown()) _exit(0);
  }

  void Handle(const control::Request& request, Fds& fds, control::Response& response) {
    switch (request.op_case()) {
      case control::Request::kHello:
        response.mutable_hello()->set_version(1);
        response.mutable_hello()->set_platform(platform_);
        response.mutable_hello()->set_pid(static_cast<uint32_t>(getpid()));
        for (auto& [id, p] : processes_) {
          if (p.exited) Describe(id, p, *response.mutable_hello()->add_exited());
        }
        break;
      case control::Request::kCreateContainer: {
        const control::CreateContainer& create = request.create_container();
        container_ = create.container_id();
        root_ = std::move(fds[create.root_gofer_fd()]);
        Add(container_, create.process(), create.stdio(), fds);
        break;
      }
      case control::Request::kStartContainer:
        Start(processes_[container_], response);
        response.mutable_start_container()->set_pid(processes_[container_].pid);
        break;
      case control::Request::kExecProcess: {
        const control::ExecProcess& exec = request.exec_process();
        Process& p = Add(exec.process_id(), exec.process(), exec.stdio(), fds);
        Start(p, response);
        response.mutable_exec_process()->set_pid(p.pid);
        if (!p.started) processes_.erase(exec.process_id());
        break;
      }
      case control::Request::kSignalProcess:
        Signal(request.signal_process(), response);
        break;
      case control::Request::kListProcesses:
        for (auto& [id, p] : processes_) {
          if (p.started) Describe(id, p, *response.mutable_list_processes()->add_processes());
        }
        break;
      case control::Request::kResizeTerminal: {
        Process& p = processes_[request.resize_terminal().process_id()];
        p.out.waiting += "size " + std::to_string(request.resize_terminal().rows()) + "x" +
                         std::to_string(request.resize_terminal().cols()) + "\n";
        break;
      }
      case control::Request::kAttachStdio: {
        Process& p = processes_[request.attach_stdio().process_id()];
        Connect(p, request.attach_stdio().stdio(), fds);
        break;
      }
      case control::Request::kAcknowledgeExit:
        processes_.erase(request.acknowledge_exit().process_id());
        break;
      case control::Request::kCloseStdin:
        processes_[request.close_stdin().process_id()].close_in = true;
        break;
      default:
        break;
    }
  }

  Process& Add(const std::string& id, const control::ProcessSpec& spec, const control::Stdio& stdio,
               Fds& fds) {
    Process& p = processes_[id];
    p.spec = spec;
    p.pid = next_pid_++;
    Connect(p, stdio, fds);
    return p;
  }

  static void Connect(Process& p, const control::Stdio& stdio, Fds& fds) {
    if (stdio.has_stdin_fd()) p.in = std::move(fds[stdio.stdin_fd()]);
    if (stdio.has_stdout_fd()) p.out.fd = std::move(fds[stdio.stdout_fd()]);
    if (stdio.has_stderr_fd()) p.err.fd = std::move(fds[stdio.stderr_fd()]);
    if (!stdio.has_terminal_fd()) return;
    p.in = std::move(fds[stdio.terminal_fd()]);
    p.out.fd = MUST(p.in.Dup());
  }

  void Start(Process& p, control::Response& response) {
    if (p.spec.args(0).find('/') != std::string::npos) {
      response.mutable_status()->set_reason(control::Status::PROGRAM_NOT_FOUND);
      response.mutable_status()->set_linux_errno(ENOENT);
      response.mutable_status()->set_message("rootfs has no " + p.spec.args(0));
      return;
    }
    p.started = true;
    const std::string rest = p.Rest();
    if (p.Is("abort")) raise(SIGKILL), _exit(1);
    if (p.Is("echo")) p.out.waiting = rest + "\n";
    if (p.Is("err")) p.err.waiting = rest + "\n";
    if (p.Is("flood")) p.flood_left = std::stoul(rest);
    if (p.Is("exit")) p.exit.set_code(std::stoi(rest));
    if (p.Is("die")) p.exit.set_signo(std::stoi(rest));
    if (p.Is("env")) {
      for (const std::string& e : p.spec.env()) p.out.waiting += e + "\n";
    }
    p.exit_wanted = !p.Is("cat") && !p.Is("sleep") && !p.Is("trap") && !p.Is("sizes");
  }

  void Signal(const control::SignalProcess& request, control::Response& response) {
    const std::string id = request.process_id().empty() ? container_ : request.process_id();
    for (auto& [name, p] : processes_) {
      if (!request.all() && name != id) continue;
      if (!p.started || p.exited) continue;
      if (p.Is("trap") && request.signo() != SIGKILL) {
        p.out.waiting += "got " + std::to_string(request.signo()) + "\n";
        continue;
      }
      p.exit.set_signo(request.signo());
      p.exit_wanted = true;
      p.flood_left = 0;
    }
    if (processes_.count(id) == 0) {
      response.mutable_status()->set_reason(control::Status::NOT_FOUND);
    }
  }

  void Describe(const std::string& id, const Process& p, control::ProcessInfo& info) const {
    info.set_container_id(container_);
    info.set_process_id(id);
    info.set_pid(p.pid);
    info.set_command(p.spec.args(0));
    if (p.exited) *info.mutable_exit() = p.exit;
  }

  void ReportExit(const std::string& id, Process& p) {
    p.exited = true;
    control::Packet packet;
    Describe(id, p, *packet.mutable_event()->mutable_process_exited());
    Send(packet);
    // The first process of a pid namespace takes the others with it.
    if (id != container_) return;
    for (auto& [other, q] : processes_) {
      if (q.exited || !q.started) continue;
      q.exit.set_signo(SIGKILL);
      q.exit_wanted = true;
      q.flood_left = 0;
      q.out.waiting.clear();
    }
  }

  void SendDrained(const std::string& id) {
    control::Packet packet;
    packet.mutable_event()->mutable_stdio_drained()->set_container_id(container_);
    packet.mutable_event()->mutable_stdio_drained()->set_process_id(id);
    Send(packet);
  }

  void RepeatDrained() {
    for (auto& [id, p] : processes_) {
      if (p.drained) SendDrained(id);
    }
  }

  void Send(const control::Packet& packet) {
    if (!connection_.valid()) return;
    const std::string bytes = packet.SerializeAsString();
    (void)!send(connection_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }

  const int listener_;
  const std::string platform_;
  UniqueFd connection_, root_;
  std::string container_;
  std::map<std::string, Process> processes_;
  int next_pid_ = 1;
};

}  // namespace
}  // namespace sandboxd::daemon

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  int listener = -1;
  std::string platform;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--list-platforms") {
      printf(
          "fake\tyes\t\nrefuse\tyes\t\ngarbage\tyes\t\nmute\tyes\t\n"
          "broken\tno\tthe host lacks what it needs\n");
      return 0;
    }
    if (arg.rfind("--control-fd=", 0) == 0) listener = atoi(argv[i] + 13);
    if (arg.rfind("--platform=", 0) == 0) platform = arg.substr(11);
  }
  if (platform == "refuse") {
    fprintf(stderr, "this host has no such platform\n");
    return 1;
  }
  sandboxd::daemon::FakeKernel(listener, platform).Run();
}
