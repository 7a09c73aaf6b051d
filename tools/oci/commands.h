// The commands of sandboxd-oci; every function returns the exit status.
#pragma once

#include <span>
#include <string>

#include "client/cli/command.h"
#include "daemon/error/error.h"
#include "tools/oci/container_store.h"
#include "tools/oci/daemon_connection.h"

namespace sandboxd::oci {

using cli::Args;

struct Globals {
  std::string root;
  std::string log;  // a file for what goes wrong, besides standard error
  bool log_json = false;
  std::string platform;  // empty: the daemon's default
  DaemonOptions daemon;
};
Globals& GlobalOptions();

// Writes the sentence to standard error and the log. 1.
int Fail(const std::string& sentence);
inline int Fail(const Error& error) { return Fail(error.message()); }
void Warn(const std::string& sentence);

struct OciCommand {
  const char* name;
  const char* operands;
  const char* summary;
  std::span<const cli::Flag> flags;
  size_t min_operands = 1;
  size_t max_operands = 1;
  size_t program_at = SIZE_MAX;
  int (*run)(const Args& args);
};
std::span<const OciCommand> Commands();

int CreateCommand(const Args& args);
int RunCommand(const Args& args);
int StartCommand(const Args& args);
int ExecCommand(const Args& args);
int StateCommand(const Args& args);
int KillCommand(const Args& args);
int DeleteCommand(const Args& args);
int ListCommand(const Args& args);
int PsCommand(const Args& args);
int PauseCommand(const Args& args);
int ResumeCommand(const Args& args);
int UpdateCommand(const Args& args);
int EventsCommand(const Args& args);
int SpecCommand(const Args& args);
int FeaturesCommand(const Args& args);

// Helpers that commands share.

// The state of the OCI runtime specification, as `state` prints it and hooks read it.
std::string StateJson(const ContainerRecord& record, const std::string& status, pid_t pid);
// "creating", "created", "running", "paused", "stopped". Asks the daemon; one that does not know
// the sandbox any more means "stopped".
Outcome<std::string> StatusOf(const ContainerRecord& record);
// Removes what there is of a container: sandbox, monitor, record.
Outcome<void> Destroy(const ContainerStore& store, const ContainerRecord& record);
Outcome<void> WritePidFile(const std::string& path, pid_t pid);

}  // namespace sandboxd::oci
