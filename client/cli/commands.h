// What each command does. Every function returns the exit status.
#pragma once

#include "client/cli/command.h"
#include "client/cpp/client.h"

namespace sandboxd::cli {

// Set by main from the global flags.
struct Globals {
  std::string address;
  bool json = false;
};
Globals& GlobalOptions();
client::Client MakeClient();

int RunCommand(const Args& args);
int CreateCommand(const Args& args);
int StartCommand(const Args& args);
int ExecCommand(const Args& args);
int AttachCommand(const Args& args);
int KillCommand(const Args& args);
int WaitCommand(const Args& args);
int DeleteCommand(const Args& args);
int PauseCommand(const Args& args);
int ResumeCommand(const Args& args);
int UpdateCommand(const Args& args);
int StatsCommand(const Args& args);
int SpecCommand(const Args& args);
int FeaturesCommand(const Args& args);
int ListCommand(const Args& args);
int InspectCommand(const Args& args);
int PsCommand(const Args& args);
int LogsCommand(const Args& args);
int WatchCommand(const Args& args);
int InfoCommand(const Args& args);
int VersionCommand(const Args& args);
int PlatformsCommand(const Args& args);
int CompletionCommand(const Args& args);

}  // namespace sandboxd::cli
