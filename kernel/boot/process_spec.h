// From the control channel's ProcessSpec to what the task layer starts. Everything that can be
// wrong with a spec is said here, before anything is made.
#pragma once

#include <string>

#include "kernel/creds/credentials.h"
#include "kernel/task/clone.h"
#include "platform/base/result.h"
#include "proto/control/control.pb.h"

namespace sandboxd::boot {

// A failure in words, as the control channel reports it.
struct Failure {
  control::Status::Reason reason = control::Status::INTERNAL;
  Errno error = Errno::kEIO;
  std::string message;
};
control::Status ToStatus(const Failure& failure);

// A user as /etc/passwd and /etc/group of the container say it.
struct UserIds {
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::vector<uint32_t> groups;
  std::string home;  // "" if the user has no entry
};
// `user` is "name", "uid", "name:group", "uid:gid"… `passwd` and `group` are the files' contents.
Result<UserIds> LookUpUser(const std::string& user, const std::string& passwd,
                           const std::string& group, std::string* message);

// The capabilities that OCI runtimes give root by default.
creds::CapSet DefaultCapabilities();

// The filter that a container's bundle asks for: struct sock_filter[] as bytes; null if empty.
bool ReadSeccomp(const std::string& program, bool log, Ref<seccomp::Filter>* out, Failure* failure);

// Fills filename, argv, envp, cwd, credentials, umask, rlimits and the flags. False: `failure` says
// why.
bool FillProcessRequest(const control::ProcessSpec& spec, const UserIds& user,
                        Ref<creds::UserNamespace> user_ns, task::ProcessRequest* request,
                        Failure* failure);

}  // namespace sandboxd::boot
