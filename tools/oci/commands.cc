// The table of commands.
#include "tools/oci/commands.h"

#include "client/cli/limit_flags.h"

namespace sandboxd::oci {
namespace {

using cli::Flag;

#define OCI_CREATE_FLAGS                                                                          \
  {"bundle", 'b', "DIR", "the bundle; default: the current folder"},                              \
      {"console-socket", 0, "PATH", "send the master of the container's terminal here"},          \
      {"pid-file", 0, "FILE", "write the pid of the container's monitor here"},                   \
      {"no-pivot", 0, nullptr, "has no effect"}, {"no-new-keyring", 0, nullptr, "has no effect"}, \
  {                                                                                               \
    "preserve-fds", 0, "N", "not supported but 0"                                                 \
  }

constexpr Flag kCreateFlags[] = {OCI_CREATE_FLAGS};
constexpr Flag kRunFlags[] = {
    OCI_CREATE_FLAGS,
    {"detach", 'd', nullptr, "don't wait for its end"},
    {"keep", 0, nullptr, "don't delete it at its end"},
};
#undef OCI_CREATE_FLAGS
constexpr Flag kExecFlags[] = {
    {"process", 'p', "FILE", "the process as JSON"},
    {"console-socket", 0, "PATH", "send the master of the terminal here"},
    {"pid-file", 0, "FILE", "write the pid of the process's monitor here"},
    {"detach", 'd', nullptr, "don't wait for its end"},
    {"tty", 't', nullptr, "with a terminal"},
    {"cwd", 0, "DIR", "working directory"},
    {"env", 'e', "KEY=VALUE", "add to the environment", true},
    {"user", 'u', "UID[:GID]", "run as"},
    {"additional-gids", 'g', "GID", "supplementary group", true},
    {"cap", 'c', "CAP", "capability", true},
    {"no-new-privs", 0, nullptr, "no privileges by exec"},
    {"process-label", 0, "LABEL", "has no effect"},
    {"apparmor", 0, "PROFILE", "has no effect"},
    {"preserve-fds", 0, "N", "not supported but 0"},
};
constexpr Flag kKillFlags[] = {{"all", 'a', nullptr, "every process of the container"}};
constexpr Flag kDeleteFlags[] = {
    {"force", 'f', nullptr, "kill it first; no error if there is none"}};
constexpr Flag kListFlags[] = {{"format", 'f', "table|json", "default: table"},
                               {"quiet", 'q', nullptr, "only ids"}};
constexpr Flag kPsFlags[] = {{"format", 'f', "table|json", "default: table"}};

constexpr Flag kUpdateFlags[] = {
    {"resources", 'r', "FILE", "linux.resources as JSON; - is standard input"},
    LIMIT_FLAGS,
};
constexpr Flag kEventsFlags[] = {{"stats", 0, nullptr, "print once"},
                                 {"interval", 0, "SECONDS", "between figures; default: 5s"}};
constexpr Flag kSpecFlags[] = {{"bundle", 'b', "DIR", "where to write; default: here"}};

constexpr OciCommand kCommands[] = {
    {"create", "ID", "make a container from a bundle", kCreateFlags, 1, 1, SIZE_MAX, CreateCommand},
    {"start", "ID", "run its program", {}, 1, 1, SIZE_MAX, StartCommand},
    {"run", "ID", "create, start, wait, delete", kRunFlags, 1, 1, SIZE_MAX, RunCommand},
    {"exec", "ID CMD [ARG...]", "run one more process in it", kExecFlags, 1, SIZE_MAX, 1,
     ExecCommand},
    {"state", "ID", "print its state", {}, 1, 1, SIZE_MAX, StateCommand},
    {"list", "", "list containers", kListFlags, 0, 0, SIZE_MAX, ListCommand},
    {"ps", "ID", "list its processes", kPsFlags, 1, SIZE_MAX, 1, PsCommand},
    {"kill", "ID [SIGNAL]", "send a signal", kKillFlags, 1, 2, SIZE_MAX, KillCommand},
    {"delete", "ID", "remove it", kDeleteFlags, 1, 1, SIZE_MAX, DeleteCommand},
    {"pause", "ID", "stop it where it is", {}, 1, 1, SIZE_MAX, PauseCommand},
    {"resume", "ID", "let it go on", {}, 1, 1, SIZE_MAX, ResumeCommand},
    {"update", "ID", "change its limits", kUpdateFlags, 1, 1, SIZE_MAX, UpdateCommand},
    {"events", "ID", "print what it uses, again and again", kEventsFlags, 1, 1, SIZE_MAX,
     EventsCommand},
    {"spec", "", "write a config.json to begin with", kSpecFlags, 0, 0, SIZE_MAX, SpecCommand},
    {"features",
     "",
     "print what is understood of the specification",
     {},
     0,
     0,
     SIZE_MAX,
     FeaturesCommand},
};

}  // namespace

std::span<const OciCommand> Commands() { return kCommands; }

}  // namespace sandboxd::oci
