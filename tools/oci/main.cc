// sandboxd-oci: the command line of an OCI runtime, in front of sandboxd.
#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "tools/oci/commands.h"
#include "tools/oci/monitor.h"

namespace sandboxd::oci {
namespace {

using cli::Flag;

constexpr char kVersion[] = "0.1.0";

constexpr Flag kGlobalFlags[] = {
    {"root", 0, "DIR", "where the state of containers is kept"},
    {"log", 0, "FILE", "append errors and warnings to FILE"},
    {"log-format", 0, "text|json", "of --log"},
    {"debug", 0, nullptr, "has no effect"},
    {"systemd-cgroup", 0, nullptr, "not supported"},
    {"rootless", 0, "WHEN", "has no effect: it is found out"},
    {"criu", 0, "PATH", "has no effect"},
    {"sandboxd", 0, "PATH", "the daemon to start if none is running"},
    {"sandboxd-address", 0, "unix://PATH", "the daemon to use"},
    {"platform", 0, "NAME", "ptrace, systrap or kvm"},
    {"help", 'h', nullptr, "print this"},
    {"version", 'v', nullptr, "print the version"},
};

std::string Now() {
  char text[32];
  const time_t now = ::time(nullptr);
  tm broken{};
  ::gmtime_r(&now, &broken);
  strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &broken);
  return text;
}

void Log(const char* level, const std::string& sentence) {
  if (GlobalOptions().log.empty()) return;
  std::string line;
  if (GlobalOptions().log_json) {
    const nlohmann::ordered_json entry = {{"level", level}, {"msg", sentence}, {"time", Now()}};
    line = entry.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  } else {
    line = "time=\"" + Now() + "\" level=" + level + " msg=" + nlohmann::json(sentence).dump();
  }
  line += "\n";
  UniqueFd fd(::open(GlobalOptions().log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (fd.valid()) (void)!::write(fd.get(), line.data(), line.size());
}

void PrintHelp() {
  printf(
      "usage: sandboxd-oci [flags] COMMAND [flags] [ID]\n\n"
      "An OCI runtime for Docker, Podman and others: containers run as sandboxes of sandboxd.\n\n"
      "commands:\n");
  for (const OciCommand& c : Commands()) printf("  %-8s %-24s %s\n", c.name, c.operands, c.summary);
  printf("\nflags:\n");
  for (const Flag& f : kGlobalFlags) {
    const std::string name =
        std::string(f.name) + (f.value != nullptr ? " " + std::string(f.value) : "");
    printf("  --%-30s %s\n", name.c_str(), f.help);
  }
}

std::string DefaultRoot() {
  if (::geteuid() == 0) return "/run/sandboxd-oci";
  const char* runtime = getenv("XDG_RUNTIME_DIR");
  return (runtime != nullptr ? std::string(runtime)
                             : "/tmp/sandboxd-oci-" + std::to_string(::geteuid())) +
         "/sandboxd-oci";
}

// "" or what is wrong.
std::string TakeGlobals(const Args& args) {
  Globals& globals = GlobalOptions();
  globals.root = args.Get("root", DefaultRoot());
  globals.log = args.Get("log");
  const std::string format = args.Get("log-format", "text");
  globals.log_json = format == "json";
  if (format != "json" && format != "text") return "--log-format is text or json";
  if (args.Has("systemd-cgroup")) {
    return "--systemd-cgroup: only the cgroupfs driver is supported";
  }
  globals.platform = args.Get("platform");
  const char* address = getenv("SANDBOXD_ADDRESS");
  globals.daemon.address = args.Get("sandboxd-address", address != nullptr ? address : "");
  globals.daemon.binary = args.Get("sandboxd");
  globals.daemon.folder = globals.root + "/.sandboxd";
  return "";
}

int RunMain(const std::vector<std::string>& words) {
  Args globals;
  std::string error = cli::ParseArgs(kGlobalFlags, /*program_at=*/0, words, &globals);
  if (error.empty()) error = TakeGlobals(globals);
  if (!error.empty()) return Fail(error);
  if (globals.Has("version")) {
    printf("sandboxd-oci version %s\nspec: 1.1.0\n", kVersion);
    return 0;
  }
  if (globals.Has("help") || globals.positional().empty() || globals.positional()[0] == "help") {
    PrintHelp();
    return globals.positional().empty() && !globals.Has("help") ? 1 : 0;
  }
  const std::string& name = globals.positional()[0];
  for (const OciCommand& command : Commands()) {
    if (name != command.name) continue;
    Args args;
    std::vector<std::string> rest(globals.positional().begin() + 1, globals.positional().end());
    error = cli::ParseArgs(command.flags, command.program_at, rest, &args);
    if (!error.empty()) return Fail(name + ": " + error);
    const size_t count = args.positional().size();
    if (count < command.min_operands || count > command.max_operands) {
      return Fail("usage: sandboxd-oci " + name + " " + command.operands);
    }
    return command.run(args);
  }
  return Fail("there is no command \"" + name + "\"; see sandboxd-oci --help");
}

}  // namespace

Globals& GlobalOptions() {
  static Globals globals;
  return globals;
}

int Fail(const std::string& sentence) {
  fprintf(stderr, "sandboxd-oci: %s\n", sentence.c_str());
  Log("error", sentence);
  return 1;
}

// Only for the log: an engine shows what a runtime writes to standard error as the program's own.
void Warn(const std::string& sentence) { Log("warning", sentence); }

Outcome<void> WritePidFile(const std::string& path, pid_t pid) {
  if (path.empty()) return {};
  return ReplaceFile(path, std::to_string(pid));
}

}  // namespace sandboxd::oci

int main(int argc, char** argv) {
  if (argc > 1 && std::string(argv[1]) == sandboxd::oci::kMonitorCommand) {
    return sandboxd::oci::MonitorMain(argc, argv);
  }
  ::signal(SIGPIPE, SIG_IGN);
  return sandboxd::oci::RunMain(std::vector<std::string>(argv + 1, argv + argc));
}
