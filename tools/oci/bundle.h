// What whoever runs a bundle needs to know of its config.json; the daemon reads the rest itself.
#pragma once

#include <map>
#include <string>

#include "daemon/error/error.h"

namespace sandboxd::oci {

using daemon::Error;
using daemon::Outcome;

struct Bundle {
  std::string path;  // absolute
  std::string oci_version;
  bool terminal = false;
  uint16_t rows = 0, cols = 0;  // of process.consoleSize; 0: not given
  int32_t oom_score_adj = 0;
  std::map<std::string, std::string> annotations;
  enum class Network { kHost, kNew, kJoin };
  Network network = Network::kHost;
  std::string network_path;  // kJoin
  std::string hooks;         // the `hooks` object as text, or ""
};

// Reads `path`/config.json. Only what is needed here is checked.
Outcome<Bundle> LoadBundle(const std::string& path);

}  // namespace sandboxd::oci
