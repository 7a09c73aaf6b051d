// run, create, start, exec, attach: commands that make something run.
#include <signal.h>
#include <unistd.h>

#include <cstdio>

#include "client/cli/commands.h"
#include "client/cli/output.h"
#include "client/cli/session.h"
#include "client/cli/spec_flags.h"

namespace sandboxd::cli {
namespace {

constexpr char kDefaultDetachKeys[] = "ctrl-p,ctrl-q";

// -t needs a terminal of ours only if its input is ours too.
std::string CheckTerminal(const Args& args) {
  if (args.Has("tty") && args.Has("interactive") && !isatty(0)) {
    return "-t with -i needs a terminal on standard input; leave -t away when input comes from a "
           "pipe or a file";
  }
  return "";
}

std::string FillSession(const Args& args, bool terminal, SessionOptions* options) {
  options->terminal = terminal;
  options->forward_stdin = args.Has("interactive");
  std::string keys =
      args.Get("detach-keys", terminal && options->forward_stdin ? kDefaultDetachKeys : "");
  if (!ParseDetachKeys(keys, &options->detach_keys)) {
    return "--detach-keys takes keys like ctrl-p,ctrl-q or a single letter, not \"" + keys + "\"";
  }
  return "";
}

void FillStdio(const Args& args, bool detached, v1::StdioSpec* stdio) {
  stdio->set_output(detached ? v1::StdioSpec::OUTPUT_LOG : v1::StdioSpec::OUTPUT_STREAM);
  stdio->set_stdin(args.Has("interactive"));
  stdio->set_stdin_once(args.Has("interactive") && !detached);
}

int StatusOf(const SessionResult& result, bool* detached) {
  *detached = result.detached;
  if (result.output_closed) return 128 + SIGPIPE;
  if (result.exit) {
    if (result.exit->kernel_lost() || result.exit->oom_killed()) {
      fprintf(stderr, "sandboxctl: the program was %s\n", ExitText(*result.exit).c_str());
    }
    return ExitCodeOf(*result.exit);
  }
  if (result.detached) return 0;
  if (result.error) return Fail(result.error);
  return Fail("the daemon ended the stream without the program's exit status");
}

void PrintWarnings(const v1::Sandbox& sandbox) {
  for (const auto& warning : sandbox.warnings())
    fprintf(stderr, "sandboxctl: warning: %s\n", warning.c_str());
}

std::vector<std::string> Tail(const std::vector<std::string>& words, size_t from) {
  return {words.begin() + std::min(from, words.size()), words.end()};
}

}  // namespace

int CreateCommand(const Args& args) {
  v1::CreateSandboxRequest request;
  if (std::string error = FillCreate(args, args.positional(), &request); !error.empty())
    return Fail(error);
  auto* container = request.mutable_spec()->mutable_containers(0);
  FillStdio(args, /*detached=*/true, container->mutable_stdio());
  request.mutable_spec()->set_auto_delete(args.Has("rm"));
  client::Client client = MakeClient();
  v1::Sandbox sandbox;
  if (auto error = client.Create(request, &sandbox)) return Fail(error);
  PrintWarnings(sandbox);
  if (GlobalOptions().json) {
    PrintJson(sandbox);
  } else {
    printf("%s\n", sandbox.id().c_str());
  }
  return 0;
}

int StartCommand(const Args& args) {
  client::Client client = MakeClient();
  for (const auto& id : args.positional()) {
    v1::Sandbox sandbox;
    if (auto error = client.Start(id, &sandbox)) return Fail(error);
    if (GlobalOptions().json) PrintJson(sandbox);
  }
  return 0;
}

int RunCommand(const Args& args) {
  BlockSessionSignals();
  if (std::string error = CheckTerminal(args); !error.empty()) return Fail(error);
  bool detach = args.Has("detach");
  if (args.Has("rm") && !detach)
    return Fail("--rm goes with --detach; without it the sandbox is deleted anyway (see --keep)");
  v1::CreateSandboxRequest request;
  if (std::string error = FillCreate(args, args.positional(), &request); !error.empty())
    return Fail(error);
  auto* container = request.mutable_spec()->mutable_containers(0);
  FillStdio(args, detach, container->mutable_stdio());
  bool keep = args.Has("keep");
  // The daemon deletes it too if we don't live to do it.
  request.mutable_spec()->set_auto_delete(detach ? args.Has("rm") : !keep);
  SessionOptions options;
  if (std::string error = FillSession(args, args.Has("tty"), &options); !error.empty())
    return Fail(error);
  options.kill_on_disconnect = !keep;

  client::Client client = MakeClient();
  v1::Sandbox sandbox;
  if (auto error = client.Create(request, &sandbox)) return Fail(error);
  PrintWarnings(sandbox);
  const std::string id = sandbox.id();
  auto give_up = [&](int status) {
    if (auto error = client.Delete(id, /*force=*/true)) Fail(error);
    return status;
  };
  if (detach) {
    if (auto error = client.Start(id, &sandbox)) return give_up(Fail(error));
    if (GlobalOptions().json) {
      PrintJson(sandbox);
    } else {
      printf("%s\n", id.c_str());
    }
    return 0;
  }
  options.process.set_sandbox_id(id);
  Session session(client, options);
  if (!session.Connect()) return give_up(Fail(session.result().error));
  if (auto error = client.Start(id, &sandbox)) return give_up(Fail(error));
  bool detached = false;
  int status = StatusOf(session.Run(), &detached);
  if (detached) {
    fprintf(stderr, "\r\nsandboxctl: detached; `sandboxctl attach %s` comes back\n", id.c_str());
    return 0;
  }
  return keep ? status : give_up(status);
}

int ExecCommand(const Args& args) {
  BlockSessionSignals();
  if (std::string error = CheckTerminal(args); !error.empty()) return Fail(error);
  v1::ExecRequest request;
  request.set_sandbox_id(args.positional()[0]);
  request.set_process_id(args.Get("process-id"));
  auto command = Tail(args.positional(), 1);
  if (!command.empty() && command[0] == "--") command.erase(command.begin());
  if (command.empty()) return Fail("no program is named: sandboxctl exec ID -- CMD");
  if (std::string error = FillProcess(args, command, request.mutable_process()); !error.empty())
    return Fail(error);
  FillStdio(args, args.Has("detach"), request.mutable_stdio());
  SessionOptions options;
  if (std::string error = FillSession(args, args.Has("tty"), &options); !error.empty())
    return Fail(error);
  options.kill_on_disconnect = true;
  client::Client client = MakeClient();
  v1::Process process;
  if (auto error = client.Exec(request, &process)) return Fail(error);
  if (args.Has("detach")) {
    printf("%s\n", process.id().c_str());
    return 0;
  }
  options.process.set_sandbox_id(process.sandbox_id());
  options.process.set_container(process.container());
  options.process.set_process_id(process.id());
  Session session(client, options);
  if (!session.Connect()) return Fail(session.result().error);
  bool detached = false;
  int status = StatusOf(session.Run(), &detached);
  if (!detached)
    client.DeleteProcess(
        options.process);  // a record that nobody needs; the daemon drops old ones anyway
  return status;
}

int AttachCommand(const Args& args) {
  BlockSessionSignals();
  client::Client client = MakeClient();
  v1::Sandbox sandbox;
  if (auto error = client.Get(args.positional()[0], &sandbox)) return Fail(error);
  SessionOptions options;
  options.process.set_sandbox_id(sandbox.id());
  options.process.set_process_id(args.Get("process-id"));
  options.take_over = args.Has("take-over");
  bool terminal =
      sandbox.spec().containers_size() > 0 && sandbox.spec().containers(0).process().terminal();
  std::string keys = args.Get("detach-keys", kDefaultDetachKeys);
  if (!ParseDetachKeys(keys, &options.detach_keys))
    return Fail("--detach-keys: \"" + keys + "\" can't be read");
  options.terminal = terminal;
  options.forward_stdin = !args.Has("no-stdin");
  Session session(client, options);
  if (!session.Connect()) return Fail(session.result().error);
  bool detached = false;
  int status = StatusOf(session.Run(), &detached);
  if (detached) fprintf(stderr, "\r\nsandboxctl: detached\n");
  return status;
}

}  // namespace sandboxd::cli
