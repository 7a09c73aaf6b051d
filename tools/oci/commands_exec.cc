// exec: one more process in a running container.
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "client/cpp/client.h"
#include "daemon/oci/spec.h"
#include "tools/oci/commands.h"
#include "tools/oci/console.h"
#include "tools/oci/monitor.h"

namespace sandboxd::oci {
namespace {

Outcome<uint32_t> ParseNumber(const std::string& flag, const std::string& text) {
  uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) {
    return Error::Internal(flag + ": \"" + text + "\" is no number");
  }
  return number;
}

// The process of `--process FILE`, which is whole, or of the other flags, which add to the
// container's init process.
Outcome<v1::ExecRequest> ExecRequestOf(const Args& args) {
  v1::ExecRequest request;
  if (args.Has("process")) {
    std::vector<std::string> notes;
    *request.mutable_process() =
        TRY(daemon::oci::ParseProcess(TRY(ReadWholeFile(args.Get("process"))), &notes));
    for (const std::string& note : notes) Warn(note);
    request.set_exact(true);
    return request;
  }
  v1::ProcessSpec& process = *request.mutable_process();
  const auto& words = args.positional();
  size_t first = words.size() > 1 && words[1] == "--" ? 2 : 1;
  if (words.size() <= first) return Error::Internal("exec: no program is named, and no --process");
  for (size_t i = first; i < words.size(); ++i) process.add_args(words[i]);
  for (const std::string& entry : args.All("env")) process.add_env(entry);
  process.set_cwd(args.Get("cwd"));
  process.set_terminal(args.Has("tty"));
  process.set_no_new_privileges(args.Has("no-new-privs"));
  if (const std::string user = args.Get("user"); !user.empty()) {
    const size_t colon = user.find(':');
    v1::User& to = *process.mutable_user();
    to.set_uid(TRY(ParseNumber("--user", user.substr(0, colon))));
    if (colon != std::string::npos) to.set_gid(TRY(ParseNumber("--user", user.substr(colon + 1))));
  }
  for (const std::string& gid : args.All("additional-gids")) {
    process.mutable_user()->add_additional_gids(TRY(ParseNumber("--additional-gids", gid)));
  }
  for (const std::string& name : args.All("cap")) {
    v1::Capabilities& caps = *process.mutable_capabilities();
    for (auto* set :
         {caps.mutable_bounding(), caps.mutable_permitted(), caps.mutable_effective()}) {
      *set->Add() = name;
    }
  }
  return request;
}

Outcome<int> Exec(const Args& args) {
  const Globals& globals = GlobalOptions();
  if (args.Get("preserve-fds", "0") != "0") {
    return Error::Internal("--preserve-fds: descriptors of the host can't be given to a sandbox");
  }
  const ContainerStore store(globals.root);
  const ContainerRecord record = TRY(store.Load(args.positional()[0]));
  v1::ExecRequest request = TRY(ExecRequestOf(args));
  request.set_sandbox_id(record.id);
  request.mutable_stdio()->set_output(v1::StdioSpec::OUTPUT_STREAM);
  request.mutable_stdio()->set_stdin(true);
  UniqueFd terminal;
  const std::string socket = args.Get("console-socket");
  if (request.process().terminal() && !socket.empty()) {
    const v1::TerminalSize& size = request.process().terminal_size();
    terminal = TRY(MakeConsole(socket, static_cast<uint16_t>(size.rows()),
                               static_cast<uint16_t>(size.cols())));
  } else if (request.process().terminal() && ::isatty(0) == 0) {
    return Error::Internal("a terminal is asked for: --console-socket is missing");
  }
  MonitorOptions options;
  options.terminal_fd = terminal.get();
  Monitor monitor = TRY(Monitor::Start(options));
  terminal.Reset();
  auto run = [&]() -> Outcome<void> {
    client::Client client(record.address);
    v1::Process process;
    if (auto error = client.Exec(request, &process)) return FromClient(error);
    TRY(monitor.Go(record.address, record.id, process.id()));
    return WritePidFile(args.Get("pid-file"), monitor.pid());
  };
  auto running = run();
  if (!running.ok()) {
    monitor.Kill();
    return running.error();
  }
  return args.Has("detach") ? 0 : monitor.Wait();
}

}  // namespace

int ExecCommand(const Args& args) {
  auto status = Exec(args);
  return status.ok() ? *status : Fail(status.error());
}

}  // namespace sandboxd::oci
