// The monitor's own side of monitor.h.
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "client/cli/output.h"
#include "client/cli/session.h"
#include "client/cpp/client.h"
#include "platform/base/unique_fd.h"
#include "tools/oci/monitor.h"

namespace sandboxd::oci {
namespace {

constexpr int kChannel = 3;
constexpr int kLostStatus = 128 + SIGKILL;

void Answer(const std::string& text) {
  (void)!::send(kChannel, text.data(), text.size(), MSG_NOSIGNAL);
}
int Refuse(const std::string& why) {
  Answer("-" + why);
  return 255;
}

void BringLoopbackUp() {
  UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  request.ifr_name[0] = 'l';
  request.ifr_name[1] = 'o';
  request.ifr_flags = IFF_UP;
  (void)::ioctl(fd.get(), SIOCSIFFLAGS, &request);
}

// "" or what went wrong.
std::string EnterNetwork(const std::string& network) {
  if (network == "host") return "";
  if (network == "new") {
    if (::unshare(CLONE_NEWNET) != 0)
      return daemon::ErrnoText("cannot make a network namespace", errno);
    BringLoopbackUp();
    return "";
  }
  UniqueFd fd(::open(network.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid() || ::setns(fd.get(), CLONE_NEWNET) != 0) {
    return daemon::ErrnoText("cannot join the network namespace " + network, errno);
  }
  return "";
}

// In a pid namespace of our own /proc is to show that one. What the host mounts and unmounts goes
// on reaching us, so that we hold nothing that it wants to be rid of.
void ShowOwnProcesses() {
  if (::getpid() != 1) return;
  if (::mount("none", "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) return;
  (void)::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr);
}

struct Assignment {
  std::string address, sandbox, process;
};

bool ReceiveAssignment(Assignment* out) {
  char buffer[8192];
  ssize_t n;
  do {
    n = ::recv(kChannel, buffer, sizeof buffer, 0);
  } while (n < 0 && errno == EINTR);
  if (n <= 0) return false;  // whoever started us has given up
  const std::string text(buffer, static_cast<size_t>(n));
  const size_t first = text.find('\0');
  const size_t second = first == std::string::npos ? first : text.find('\0', first + 1);
  if (second == std::string::npos) return false;
  *out = {text.substr(0, first), text.substr(first + 1, second - first - 1),
          text.substr(second + 1)};
  return true;
}

void Pause() {
  timespec time{0, 200'000'000};
  ::nanosleep(&time, nullptr);
}

class Relay {
 public:
  Relay(Assignment assignment, bool terminal)
      : assignment_(std::move(assignment)), client_(assignment_.address) {
    options_.process.set_sandbox_id(assignment_.sandbox);
    options_.process.set_process_id(assignment_.process);
    options_.forward_stdin = true;
    options_.terminal = terminal;
    options_.kill_on_disconnect = true;
  }

  int Run() {
    bool told = false;
    for (;;) {
      cli::Session session(client_, options_);
      if (session.Connect()) {
        if (!told) Answer("+");
        if (!told) ::close(kChannel);
        told = true;
        const cli::SessionResult result = session.Run();
        if (result.exit) return Forget(cli::ExitCodeOf(*result.exit));
        if (result.output_closed) return 128 + SIGPIPE;
      }
      const client::Error& error = session.result().error;
      if (!told) return Refuse(error.message());
      // Anything but a daemon that went away means that there is nothing to come back to. A private
      // one is started again by the next command for its containers.
      if (error.code() != grpc::StatusCode::UNAVAILABLE) return kLostStatus;
      options_.take_over = true;
      Pause();
    }
  }

 private:
  int Forget(int status) {
    if (!assignment_.process.empty()) client_.DeleteProcess(options_.process);
    return status;
  }

  const Assignment assignment_;
  client::Client client_;
  cli::SessionOptions options_;
};

}  // namespace

int MonitorMain(int argc, char** argv) {
  if (argc != 4) return 255;
  const std::string network = argv[2];
  const bool terminal = std::string(argv[3]) == "terminal";
  ::fcntl(kChannel, F_SETFD, FD_CLOEXEC);
  cli::BlockSessionSignals();
  ShowOwnProcesses();
  ::setsid();
  if (terminal) ::ioctl(0, TIOCSCTTY, 0);
  if (const std::string error = EnterNetwork(network); !error.empty()) return Refuse(error);
  Answer("+");
  Assignment assignment;
  if (!ReceiveAssignment(&assignment)) return 255;
  return Relay(std::move(assignment), terminal).Run();
}

}  // namespace sandboxd::oci
