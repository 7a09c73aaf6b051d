// The state folder: one folder a sandbox, whose state.pb is replaced as a whole (write, fsync,
// rename, fsync of the folder), so that after a crash it is the old one or the new one.
//
//   STATE/lock                          held by the running daemon
//   STATE/sandboxes/ID/state.pb         state::SandboxRecord
//   STATE/sandboxes/ID/control.sock     where the kernel process listens
//   STATE/sandboxes/ID/{kernel,gofer}.log
//   STATE/sandboxes/ID/io/              FIFOs and logs of processes
//   STATE/sandboxes/.deleting.ID.N      being removed
//
// Thread-safe; the caller keeps two writers of one sandbox apart.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "daemon/error/error.h"
#include "platform/base/unique_fd.h"
#include "proto/state/state.pb.h"

namespace sandboxd::daemon {

enum class Durability {
  kProcessCrash,  // survives the daemon
  kHostCrash,     // survives the host: fsync
};

class StateStore {
 public:
  // Makes the folder (0700) if need be. An error if another daemon holds it.
  static Outcome<std::unique_ptr<StateStore>> Open(const std::string& path);

  struct Loaded {
    std::string id;
    // Unset: the folder holds no readable record; `problem` says why.
    std::optional<state::SandboxRecord> record;
    std::string problem;
  };
  // Everything that is there. Finishes removals that were cut short.
  std::vector<Loaded> LoadAll();

  // Makes the sandbox's folder and returns it open. STATE_STORAGE_* errors.
  Outcome<UniqueFd> CreateFolder(const std::string& id);
  Outcome<UniqueFd> OpenFolder(const std::string& id);
  Outcome<void> Save(const std::string& id, const state::SandboxRecord& record,
                     Durability durability);
  // Idempotent.
  Outcome<void> Remove(const std::string& id);

  const std::string& path() const { return path_; }
  std::string FolderPath(const std::string& id) const { return path_ + "/sandboxes/" + id; }

 private:
  StateStore(std::string path, UniqueFd lock, UniqueFd sandboxes)
      : path_(std::move(path)), lock_(std::move(lock)), sandboxes_(std::move(sandboxes)) {}

  const std::string path_;
  const UniqueFd lock_;
  const UniqueFd sandboxes_;
};

}  // namespace sandboxd::daemon
