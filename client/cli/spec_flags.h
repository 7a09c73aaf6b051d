// Flags that describe what to run, and the request that they make.
#pragma once

#include <string>
#include <vector>

#include "client/cli/command.h"
#include "proto/sandboxd/v1/process.pb.h"
#include "proto/sandboxd/v1/sandbox.pb.h"

namespace sandboxd::cli {

// Of run and create, and of exec.
std::span<const Flag> RunFlags();
std::span<const Flag> CreateFlags();
std::span<const Flag> ExecFlags();

// "" or what is wrong. Paths become absolute.
std::string FillCreate(const Args& args, const std::vector<std::string>& command,
                       v1::CreateSandboxRequest* request);
// env, cwd, user, terminal and its size.
std::string FillProcess(const Args& args, const std::vector<std::string>& command,
                        v1::ProcessSpec* process);
// Turns "ctrl-p,ctrl-q" into bytes; "none" and "" into nothing. False if it can't be read.
bool ParseDetachKeys(const std::string& text, std::string* keys);

}  // namespace sandboxd::cli
