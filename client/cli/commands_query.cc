// kill, wait, delete, list, inspect, ps, logs, watch and what the daemon says of itself.
#include <signal.h>

#include <cstdio>

#include "client/cli/commands.h"
#include "client/cli/output.h"

namespace sandboxd::cli {

int KillCommand(const Args& args) {
  std::string name =
      args.positional().size() > 1 ? args.positional()[1] : args.Get("signal", "TERM");
  int signo = ParseSignal(name);
  if (signo == 0)
    return Fail("there is no signal \"" + name + "\"; say TERM, SIGKILL or a number from 1 to 64");
  client::Client client = MakeClient();
  if (args.Has("process-id")) {
    v1::SignalProcessRequest request;
    request.mutable_process()->set_sandbox_id(args.positional()[0]);
    request.mutable_process()->set_process_id(args.Get("process-id"));
    request.set_signal(signo);
    if (auto error = client.SignalProcess(request)) return Fail(error);
    return 0;
  }
  if (auto error = client.Signal(args.positional()[0], signo, args.Has("all"))) return Fail(error);
  return 0;
}

int WaitCommand(const Args& args) {
  client::Client client = MakeClient();
  v1::ExitStatus exit;
  if (args.Has("process-id")) {
    v1::ProcessRef process;
    process.set_sandbox_id(args.positional()[0]);
    process.set_process_id(args.Get("process-id"));
    v1::WaitProcessResponse response;
    if (auto error = client.WaitProcess(process, &response)) return Fail(error);
    exit = response.exit();
  } else {
    v1::WaitSandboxResponse response;
    if (auto error = client.Wait(args.positional()[0], &response)) return Fail(error);
    exit = response.exit();
  }
  if (GlobalOptions().json) PrintJson(exit);
  return ExitCodeOf(exit);
}

int DeleteCommand(const Args& args) {
  client::Client client = MakeClient();
  int status = 0;
  for (const auto& id : args.positional()) {
    if (auto error = client.Delete(id, args.Has("force"))) status = Fail(error);
  }
  return status;
}

int ListCommand(const Args& args) {
  client::Client client = MakeClient();
  v1::ListSandboxesRequest request;
  for (const auto& text : args.All("label")) {
    size_t equals = text.find('=');
    if (equals == std::string::npos) return Fail("--label takes KEY=VALUE, not \"" + text + "\"");
    (*request.mutable_label_selector())[text.substr(0, equals)] = text.substr(equals + 1);
  }
  std::vector<v1::Sandbox> sandboxes;
  if (auto error = client.List(request, &sandboxes)) return Fail(error);
  if (GlobalOptions().json) {
    v1::ListSandboxesResponse all;
    for (auto& s : sandboxes) *all.add_sandboxes() = std::move(s);
    PrintJson(all);
    return 0;
  }
  if (args.Has("quiet")) {
    for (const auto& s : sandboxes) printf("%s\n", s.id().c_str());
    return 0;
  }
  std::vector<std::vector<std::string>> rows = {{"ID", "STATE", "PLATFORM", "AGE", "COMMAND"}};
  for (const auto& s : sandboxes) {
    std::string command;
    if (s.containers_size() > 0) command = s.containers(0).init().command();
    rows.push_back({s.id(), StateText(s), s.platform().name(), AgeText(s.create_time()), command});
  }
  PrintTable(rows);
  return 0;
}

int InspectCommand(const Args& args) {
  client::Client client = MakeClient();
  for (const auto& id : args.positional()) {
    v1::Sandbox sandbox;
    if (auto error = client.Get(id, &sandbox)) return Fail(error);
    PrintJson(sandbox);
  }
  return 0;
}

int PsCommand(const Args& args) {
  client::Client client = MakeClient();
  v1::ListProcessesRequest request;
  request.set_sandbox_id(args.positional()[0]);
  v1::ListProcessesResponse response;
  if (auto error = client.ListProcesses(request, &response)) return Fail(error);
  if (GlobalOptions().json) {
    PrintJson(response);
    return 0;
  }
  std::vector<std::vector<std::string>> rows = {
      {"PID", "PPID", "UID", "S", "THREADS", "TIME", "ID", "COMMAND"}};
  for (const auto& p : response.processes()) {
    char time[32];
    snprintf(time, sizeof(time), "%.2fs", static_cast<double>(p.cpu_time_us()) / 1e6);
    bool exited = p.state() == v1::Process::STATE_EXITED;
    rows.push_back({std::to_string(p.pid()), std::to_string(p.ppid()), std::to_string(p.uid()),
                    exited ? "X" : p.scheduler_state(), std::to_string(p.threads()), time,
                    p.id().empty() ? "-" : p.id(),
                    exited ? p.command() + " (" + ExitText(p.exit()) + ")" : p.command()});
  }
  PrintTable(rows);
  return 0;
}

int LogsCommand(const Args& args) {
  client::Client client = MakeClient();
  v1::LogsRequest request;
  request.mutable_process()->set_sandbox_id(args.positional()[0]);
  request.mutable_process()->set_process_id(args.Get("process-id"));
  request.set_follow(args.Has("follow"));
  std::string tail = args.Get("tail", "0");
  if (tail.find_first_not_of("0123456789") != std::string::npos || tail.size() > 9) {
    return Fail("--tail takes a number of lines, not \"" + tail + "\"");
  }
  request.set_tail_lines(static_cast<uint32_t>(std::stoul(tail)));
  auto stream = client.Logs(request);
  v1::LogChunk chunk;
  while (stream->Read(&chunk)) {
    if (chunk.gap()) fprintf(stderr, "sandboxctl: older output was rotated away here\n");
    FILE* out = chunk.stream() == v1::LogChunk::STREAM_STDERR ? stderr : stdout;
    bool written =
        fwrite(chunk.data().data(), 1, chunk.data().size(), out) == chunk.data().size() &&
        fflush(out) == 0;
    if (!written) {
      stream->Cancel();
      return 128 + SIGPIPE;
    }
  }
  if (auto error = stream->Finish()) return Fail(error);
  return 0;
}

int WatchCommand(const Args& args) {
  client::Client client = MakeClient();
  v1::WatchSandboxesRequest request;
  for (const auto& id : args.positional()) request.add_ids(id);
  auto stream = client.Watch(request);
  v1::SandboxEvent event;
  while (stream->Read(&event)) {
    if (GlobalOptions().json) {
      PrintJson(event);
    } else if (event.type() != v1::SandboxEvent::TYPE_BOOKMARK) {
      std::string what = v1::SandboxEvent::Type_Name(event.type()).substr(5);
      printf(
          "%-16s %s %s\n", what.c_str(), event.sandbox().id().c_str(),
          event.has_process() ? event.process().id().c_str() : StateText(event.sandbox()).c_str());
    }
    fflush(stdout);
  }
  if (auto error = stream->Finish()) return Fail(error);
  return 0;
}

int InfoCommand(const Args&) {
  client::Client client = MakeClient();
  v1::InfoResponse info;
  if (auto error = client.Info(&info)) return Fail(error);
  PrintJson(info);
  return 0;
}

int VersionCommand(const Args&) {
  client::Client client = MakeClient();
  v1::VersionResponse version;
  if (auto error = client.Version(&version)) return Fail(error);
  if (GlobalOptions().json) {
    PrintJson(version);
  } else {
    printf("sandboxd %s, API %s\n", version.version().c_str(), version.api_version().c_str());
  }
  return 0;
}

int PlatformsCommand(const Args&) {
  client::Client client = MakeClient();
  v1::ListPlatformsResponse response;
  if (auto error = client.ListPlatforms(&response)) return Fail(error);
  if (GlobalOptions().json) {
    PrintJson(response);
    return 0;
  }
  std::vector<std::vector<std::string>> rows = {{"NAME", "AVAILABLE", "DEFAULT", "DETAIL"}};
  for (const auto& p : response.platforms()) {
    rows.push_back(
        {p.name(), p.available() ? "yes" : "no", p.is_default() ? "yes" : "", p.detail()});
  }
  PrintTable(rows);
  if (response.auto_platform().empty()) {
    printf("\nauto: %s\n", response.auto_reason().c_str());
  } else {
    printf("\nauto picks %s: %s\n", response.auto_platform().c_str(),
           response.auto_reason().c_str());
  }
  return 0;
}

int CompletionCommand(const Args& args) {
  std::string script = CompletionScript(args.positional()[0]);
  if (script.empty())
    return Fail("completion is there for bash, zsh and fish, not \"" + args.positional()[0] + "\"");
  fputs(script.c_str(), stdout);
  return 0;
}

}  // namespace sandboxd::cli
