// From what a caller asks for to what the processes are told: checks every field, reads the bundle,
// fills in what is left open.
#pragma once

#include <string>
#include <vector>

#include "daemon/error/error.h"
#include "daemon/sandbox/caller.h"
#include "proto/control/control.pb.h"
#include "proto/sandboxd/v1/process.pb.h"
#include "proto/sandboxd/v1/sandbox.pb.h"

namespace sandboxd::daemon {

// A host folder that the gofer serves.
struct GoferSource {
  std::string path;
  bool readonly = false;
  // Which of CreateContainer.mounts it is for; the root is kept apart.
  int mount_index = -1;
};

struct ResolvedContainer {
  std::string name;
  // Complete but for descriptors, which the caller numbers as it sends them.
  control::CreateContainer create;
  v1::ProcessSpec init_spec;
  v1::StdioSpec stdio;
  GoferSource root;
  std::vector<GoferSource> binds;
  v1::Resources resources;
  std::string cgroups_path;  // empty: none was named
  std::vector<std::string> warnings;
};

// Ids of sandboxes, containers and processes: [A-Za-z0-9][A-Za-z0-9_.-]{0,127}.
bool IsValidId(const std::string& id);
std::string GenerateId();

// The fields of the request alone; every wrong one at once.
Outcome<void> ValidateCreate(const v1::CreateSandboxRequest& request);
// Reads the bundle and looks at the paths, as the caller. `request` is valid.
Outcome<ResolvedContainer> ResolveContainer(const v1::CreateSandboxRequest& request,
                                            const std::string& sandbox_id, const Caller& caller);

Outcome<void> ValidateResources(const v1::Resources& resources);
Outcome<void> ValidateExec(const v1::ExecRequest& request);
// What `request` says, completed from the init process's spec.
v1::ProcessSpec CompleteExec(const v1::ExecRequest& request, const v1::ProcessSpec& init_spec);
control::ProcessSpec ToControl(const v1::ProcessSpec& spec);
// stdin of a terminal is always open.
v1::StdioSpec EffectiveStdio(const v1::StdioSpec& stdio, bool terminal);

bool IsValidSignal(int signo);

}  // namespace sandboxd::daemon
