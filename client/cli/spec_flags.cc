#include "client/cli/spec_flags.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "client/cli/limit_flags.h"
#include "client/cli/terminal.h"

namespace sandboxd::cli {
namespace {

// One list each for create, run and exec; the common ones first.
#define SANDBOX_FLAGS                                                                \
  {"id", 'n', "ID", "name of the sandbox; made up if not given"},                    \
      {"name", '\0', "ID", "the same as --id"},                                      \
      {"rootfs", 'r', "DIR", "folder with the program's root file system"},          \
      {"bundle", 'b', "DIR", "OCI bundle: a folder with config.json"},               \
      {"platform", 'p', "NAME",                                                      \
       "how code runs: auto, systrap, kvm or ptrace; see `sandboxctl platforms`"},   \
      {"read-only", '\0', nullptr, "the program can't change its root file system"}, \
      {"exclusive", '\0', nullptr,                                                   \
       "nobody else changes the root file system meanwhile: cache it fully"},        \
      {"mount", 'm', "SRC:DST[:OPTS]",                                               \
       "bind a folder or file of the host; OPTS as in mount(8): ro,noexec", true},   \
      {"tmpfs", '\0', "DST[:OPTS]", "an empty file system in memory", true},         \
      {"hostname", '\0', "NAME", "host name inside"},                                \
      {"label", 'l', "KEY=VALUE", "label of the sandbox", true}, {                   \
    "strace", '\0', nullptr, "log every system call in the kernel's log"             \
  }

#define PROCESS_FLAGS                                                                 \
  {"env", 'e', "KEY=VALUE", "environment variable; KEY alone passes yours on", true}, \
      {"cwd", 'w', "DIR", "working directory inside"},                                \
      {"user", 'u', "USER[:GROUP]", "who runs it: names or numbers"},                 \
      {"interactive", 'i', nullptr, "forward standard input"}, {                      \
    "tty", 't', nullptr, "give it a terminal"                                         \
  }

constexpr Flag kCreateFlags[] = {
    SANDBOX_FLAGS,
    LIMIT_FLAGS,
    PROCESS_FLAGS,
    {"rm", '\0', nullptr, "delete it by itself once it has ended"},
};
constexpr Flag kRunFlags[] = {
    SANDBOX_FLAGS,
    LIMIT_FLAGS,
    PROCESS_FLAGS,
    {"detach", 'd', nullptr,
     "start it, print its name and return; its output goes to `sandboxctl logs`"},
    {"keep", '\0', nullptr, "don't delete the sandbox when the program has ended"},
    {"rm", '\0', nullptr, "with --detach: delete it by itself once it has ended"},
    {"detach-keys", '\0', "KEYS", "keys that detach (default ctrl-p,ctrl-q with a terminal; none)"},
};
constexpr Flag kExecFlags[] = {
    PROCESS_FLAGS,
    {"process-id", '\0', "ID", "name of the process; made up if not given"},
    {"detach", 'd', nullptr, "start it, print its name and return"},
    {"detach-keys", '\0', "KEYS", "keys that detach (default ctrl-p,ctrl-q with a terminal; none)"},
};

std::string Absolute(const std::string& path) {
  std::error_code error;
  auto absolute = std::filesystem::absolute(path, error);
  return error ? path : absolute.lexically_normal().string();
}

std::vector<std::string> SplitComma(const std::string& text) {
  std::vector<std::string> parts;
  size_t at = 0;
  while (at <= text.size() && !text.empty()) {
    size_t comma = std::min(text.find(',', at), text.size());
    parts.push_back(text.substr(at, comma - at));
    at = comma + 1;
  }
  return parts;
}

std::string AddMount(const std::string& text, v1::ContainerSpec* container) {
  size_t first = text.find(':');
  if (first == std::string::npos || first == 0)
    return "--mount takes SRC:DST or SRC:DST:OPTIONS, not \"" + text + "\"";
  size_t second = text.find(':', first + 1);
  std::string destination =
      text.substr(first + 1, second == std::string::npos ? second : second - first - 1);
  if (destination.empty() || destination[0] != '/') {
    return "--mount " + text + ": the place inside must be an absolute path";
  }
  v1::Mount* mount = container->add_mounts();
  mount->set_type("bind");
  mount->set_source(Absolute(text.substr(0, first)));
  mount->set_destination(destination);
  if (second != std::string::npos) {
    for (const auto& option : SplitComma(text.substr(second + 1))) mount->add_options(option);
  }
  return "";
}

std::string AddTmpfs(const std::string& text, v1::ContainerSpec* container) {
  size_t colon = text.find(':');
  std::string destination = text.substr(0, colon);
  if (destination.empty() || destination[0] != '/')
    return "--tmpfs takes an absolute path, not \"" + text + "\"";
  v1::Mount* mount = container->add_mounts();
  mount->set_type("tmpfs");
  mount->set_source("tmpfs");
  mount->set_destination(destination);
  if (colon != std::string::npos) {
    for (const auto& option : SplitComma(text.substr(colon + 1))) mount->add_options(option);
  }
  return "";
}

}  // namespace

std::span<const Flag> CreateFlags() { return kCreateFlags; }
std::span<const Flag> RunFlags() { return kRunFlags; }
std::span<const Flag> ExecFlags() { return kExecFlags; }

std::string FillProcess(const Args& args, const std::vector<std::string>& command,
                        v1::ProcessSpec* process) {
  for (const auto& word : command) process->add_args(word);
  bool has_term = false;
  for (const auto& entry : args.All("env")) {
    has_term = has_term || entry.rfind("TERM=", 0) == 0;
    if (entry.find('=') != std::string::npos) {
      process->add_env(entry);
    } else if (const char* value = getenv(entry.c_str()); value != nullptr) {
      process->add_env(entry + "=" + value);
    }
  }
  if (args.Has("cwd")) process->set_cwd(args.Get("cwd"));
  if (args.Has("user")) process->mutable_user()->set_name(args.Get("user"));
  if (args.Has("tty")) {
    process->set_terminal(true);
    *process->mutable_terminal_size() = TerminalSizeOf(0);
    const char* term = getenv("TERM");
    // A bundle's environment is a list as a whole: it stays as it is unless the user says more.
    bool own_list = !args.Has("bundle") || process->env_size() > 0;
    if (!has_term && term != nullptr && own_list) process->add_env(std::string("TERM=") + term);
  }
  return "";
}

std::string FillCreate(const Args& args, const std::vector<std::string>& command,
                       v1::CreateSandboxRequest* request) {
  if (args.Has("rootfs") == args.Has("bundle")) {
    return args.Has("rootfs")
               ? "--rootfs and --bundle can't go together: a bundle names its own root file system"
               : "say where the files come from: --rootfs DIR or --bundle DIR";
  }
  if (args.Has("rootfs") && command.empty()) return "no program is named: put it behind --";
  request->set_id(args.Get("id", args.Get("name")));
  v1::SandboxSpec* spec = request->mutable_spec();
  spec->set_platform(args.Get("platform"));
  spec->set_strace(args.Has("strace"));
  std::string wrong = FillResources(args, spec->mutable_resources(), nullptr);
  if (!wrong.empty()) return wrong;
  v1::ContainerSpec* container = spec->add_containers();
  if (args.Has("rootfs")) {
    container->mutable_rootfs()->set_path(Absolute(args.Get("rootfs")));
    container->mutable_rootfs()->set_readonly(args.Has("read-only"));
    container->mutable_rootfs()->set_exclusive(args.Has("exclusive"));
  } else {
    if (args.Has("read-only"))
      return "--read-only goes with --rootfs; a bundle says it in config.json (root.readonly)";
    container->set_bundle_path(Absolute(args.Get("bundle")));
  }
  for (const auto& text : args.All("mount")) {
    if (std::string error = AddMount(text, container); !error.empty()) return error;
  }
  for (const auto& text : args.All("tmpfs")) {
    if (std::string error = AddTmpfs(text, container); !error.empty()) return error;
  }
  container->set_hostname(args.Get("hostname"));
  for (const auto& text : args.All("label")) {
    size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0)
      return "--label takes KEY=VALUE, not \"" + text + "\"";
    (*request->mutable_labels())[text.substr(0, equals)] = text.substr(equals + 1);
  }
  return FillProcess(args, command, container->mutable_process());
}

bool ParseDetachKeys(const std::string& text, std::string* keys) {
  keys->clear();
  if (text.empty() || text == "none") return true;
  for (const auto& key : SplitComma(text)) {
    if (key.size() == 1) {
      *keys += key;
    } else if (key.size() == 6 && key.rfind("ctrl-", 0) == 0 && key[5] >= '@' && key[5] <= '~') {
      *keys += static_cast<char>(key[5] & 0x1f);
    } else {
      return false;
    }
  }
  return true;
}

}  // namespace sandboxd::cli
