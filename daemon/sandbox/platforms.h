// Which platforms work on this host, and which one a sandbox gets.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "daemon/error/error.h"
#include "platform/base/mutex.h"

namespace sandboxd::daemon {

// The name that stands for the best that works.
inline constexpr char kAutoPlatform[] = "auto";
// In a bundle or in a create request.
inline constexpr char kPlatformAnnotation[] = "dev.sandboxd.platform";

struct PlatformState {
  std::string name;
  bool available = false;
  // `auto` may pick it.
  bool automatic = false;
  // Why not, or a remark; may be empty.
  std::string detail;
};

// What sandbox-kernel --list-platforms prints.
Outcome<std::vector<PlatformState>> ParsePlatformReport(const std::string& report);

struct PlatformAnswer {
  std::string name;
  // One sentence: see proto/sandboxd/v1/sandbox.proto, PlatformChoice.
  std::string reason;
};

// What `auto` means among these; PLATFORM_UNAVAILABLE if none works.
Outcome<PlatformAnswer> PickAutomatically(const std::vector<PlatformState>& platforms);

// Who asks for a platform, for sentences: the field that names it, and a reason of the choice.
struct PlatformRequest {
  std::string name;
  std::string field;
  std::string reason;
};
// INVALID_FIELD for a name that no platform has, PLATFORM_UNAVAILABLE for one that doesn't work
// here; both name the alternative.
Outcome<PlatformAnswer> ChoosePlatform(const std::vector<PlatformState>& platforms,
                                       const PlatformRequest& request);

// Asks the kernel program once, and again when something was unavailable: a host can be mended
// while the daemon runs. Any thread; `probe` blocks for as long as the kernel program needs.
class PlatformTable {
 public:
  using Probe = std::function<Outcome<std::string>()>;
  explicit PlatformTable(Probe probe) : probe_(std::move(probe)) {}

  // Asks anew.
  Outcome<std::vector<PlatformState>> List();
  Outcome<PlatformAnswer> Choose(const PlatformRequest& request);

 private:
  const Probe probe_;
  Mutex mutex_{LockRank::kLeaf};
  std::vector<PlatformState> known_ GUARDED_BY(mutex_);
};

}  // namespace sandboxd::daemon
