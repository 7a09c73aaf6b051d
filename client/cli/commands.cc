// The command table.
#include "client/cli/commands.h"

#include "client/cli/command.h"
#include "client/cli/limit_flags.h"
#include "client/cli/spec_flags.h"

namespace sandboxd::cli {
namespace {

constexpr Flag kGlobalFlags[] = {
    {"address", 'a', "unix:///PATH", "where the daemon listens (or SANDBOXD_ADDRESS)"},
    {"json", '\0', nullptr, "print data as JSON"},
    {"help", 'h', nullptr, "show help"},
};
constexpr Flag kAttachFlags[] = {
    {"process-id", '\0', "ID", "a process of exec rather than the first"},
    {"no-stdin", '\0', nullptr, "don't forward standard input"},
    {"take-over", '\0', nullptr, "end another client's attachment"},
    {"detach-keys", '\0', "KEYS", "keys that detach (default ctrl-p,ctrl-q; none)"},
};
constexpr Flag kKillFlags[] = {
    {"signal", 's', "SIGNAL", "name or number (default TERM)"},
    {"all", '\0', nullptr, "every process of the sandbox"},
    {"process-id", '\0', "ID", "a process of exec rather than the first"},
};
constexpr Flag kProcessFlag[] = {
    {"process-id", '\0', "ID", "a process of exec rather than the first"}};
constexpr Flag kDeleteFlags[] = {{"force", 'f', nullptr, "kill it first if it runs"}};
constexpr Flag kListFlags[] = {
    {"quiet", 'q', nullptr, "names only"},
    {"label", 'l', "KEY=VALUE", "only those with this label", true},
};
constexpr Flag kLogsFlags[] = {
    {"follow", 'f', nullptr, "go on until the program has ended"},
    {"tail", '\0', "N", "only the last N lines"},
    {"process-id", '\0', "ID", "a process of exec rather than the first"},
};

constexpr Flag kUpdateFlags[] = {LIMIT_FLAGS};

std::span<const Command> Table() {
  static const Command kTable[] = {
      {"run", "[--] CMD [ARG...]", "Run a program in a new sandbox and wait for it",
       "Its output is yours and its exit status is the command's: 128+N if signal N ended it, 125 "
       "if sandboxctl\n"
       "or the daemon failed, 126 if the program can't be executed, 127 if it isn't there.\n\n"
       "  sandboxctl run --rootfs /srv/debian -- ls -l /\n"
       "  sandboxctl run -it --rootfs /srv/debian -- bash\n"
       "  tar c . | sandboxctl run -i --rootfs /srv/debian --tmpfs /work -w /work -- tar x\n",
       RunFlags(), 0, SIZE_MAX, 0, RunCommand},
      {"create", "[--] CMD [ARG...]", "Prepare a sandbox without starting its program",
       "  sandboxctl create --id web --rootfs /srv/debian -- nginx\n  sandboxctl start web\n",
       CreateFlags(), 0, SIZE_MAX, 0, CreateCommand},
      {"start", "ID...", "Start created sandboxes", "", {}, 1, SIZE_MAX, SIZE_MAX, StartCommand},
      {"exec", "ID [--] CMD [ARG...]", "Run one more program in a running sandbox",
       "  sandboxctl exec web -- ps aux\n  sandboxctl exec -it web -- bash\n", ExecFlags(), 1,
       SIZE_MAX, 1, ExecCommand},
      {"attach", "ID", "Connect to the standard streams of a running program", "", kAttachFlags, 1,
       1, SIZE_MAX, AttachCommand},
      {"kill", "ID [SIGNAL]", "Send a signal to a sandbox's program", "  sandboxctl kill web HUP\n",
       kKillFlags, 1, 2, SIZE_MAX, KillCommand},
      {"wait", "ID", "Wait until a sandbox's program ends, and exit as it did", "", kProcessFlag, 1,
       1, SIZE_MAX, WaitCommand},
      {"delete", "ID...", "Remove sandboxes; one that is not there is no error", "", kDeleteFlags,
       1, SIZE_MAX, SIZE_MAX, DeleteCommand},
      {"pause",
       "ID...",
       "Stop all programs of a sandbox where they are",
       "",
       {},
       1,
       SIZE_MAX,
       SIZE_MAX,
       PauseCommand},
      {"resume",
       "ID...",
       "Let a paused sandbox go on",
       "",
       {},
       1,
       SIZE_MAX,
       SIZE_MAX,
       ResumeCommand},
      {"update", "ID", "Change the limits of a sandbox",
       "  sandboxctl update --memory 512m --cpus 0.5 web\n", kUpdateFlags, 1, 1, SIZE_MAX,
       UpdateCommand},
      {"stats", "ID...", "Print what sandboxes use", "", {}, 1, SIZE_MAX, SIZE_MAX, StatsCommand},
      {"list", "", "List sandboxes", "", kListFlags, 0, 0, SIZE_MAX, ListCommand},
      {"inspect",
       "ID...",
       "Print everything that is known of sandboxes, as JSON",
       "",
       {},
       1,
       SIZE_MAX,
       SIZE_MAX,
       InspectCommand},
      {"ps", "ID", "List the processes of a sandbox", "", {}, 1, 1, SIZE_MAX, PsCommand},
      {"logs", "ID", "Print the output of a detached program", "  sandboxctl logs -f web\n",
       kLogsFlags, 1, 1, SIZE_MAX, LogsCommand},
      {"watch",
       "[ID...]",
       "Print changes of sandboxes as they happen",
       "",
       {},
       0,
       SIZE_MAX,
       SIZE_MAX,
       WatchCommand},
      {"platforms",
       "",
       "List the ways to run code on this host",
       "",
       {},
       0,
       0,
       SIZE_MAX,
       PlatformsCommand},
      {"info",
       "",
       "Print what the daemon can do and how it is set up",
       "",
       {},
       0,
       0,
       SIZE_MAX,
       InfoCommand},
      {"version", "", "Print the daemon's version", "", {}, 0, 0, SIZE_MAX, VersionCommand},
      {"spec",
       "",
       "Print an OCI config.json to begin with",
       "  sandboxctl spec > config.json\n",
       {},
       0,
       0,
       SIZE_MAX,
       SpecCommand},
      {"features",
       "",
       "Print what is understood of the OCI runtime specification",
       "",
       {},
       0,
       0,
       SIZE_MAX,
       FeaturesCommand},
      {"completion",
       "bash|zsh|fish",
       "Print a shell's completion script",
       "  source <(sandboxctl completion bash)\n",
       {},
       1,
       1,
       SIZE_MAX,
       CompletionCommand},
  };
  return kTable;
}

}  // namespace

Globals& GlobalOptions() {
  static Globals globals;
  return globals;
}

client::Client MakeClient() { return client::Client(GlobalOptions().address); }

std::span<const Command> Commands() { return Table(); }
std::span<const Flag> GlobalFlags() { return kGlobalFlags; }

const Command* FindCommand(const std::string& name) {
  for (const Command& c : Table()) {
    if (name == c.name) return &c;
  }
  return nullptr;
}

}  // namespace sandboxd::cli
