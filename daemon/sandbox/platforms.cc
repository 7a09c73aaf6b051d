#include "daemon/sandbox/platforms.h"

#include <algorithm>
#include <sstream>

namespace sandboxd::daemon {
namespace {

const PlatformState* Find(const std::vector<PlatformState>& platforms, const std::string& name) {
  const auto it = std::find_if(platforms.begin(), platforms.end(),
                               [&](const PlatformState& p) { return p.name == name; });
  return it == platforms.end() ? nullptr : &*it;
}

// "a, b or c"
std::string Names(const std::vector<PlatformState>& platforms) {
  std::string out = kAutoPlatform;
  for (size_t i = 0; i < platforms.size(); ++i) {
    out += (i + 1 == platforms.size() ? " or " : ", ") + platforms[i].name;
  }
  return out;
}

}  // namespace

Outcome<std::vector<PlatformState>> ParsePlatformReport(const std::string& report) {
  std::vector<PlatformState> platforms;
  std::istringstream lines(report);
  for (std::string line; std::getline(lines, line);) {
    const size_t first = line.find('\t');
    const size_t second = first == std::string::npos ? first : line.find('\t', first + 1);
    if (first == 0 || second == std::string::npos) {
      return Error::Internal("sandbox-kernel's list of platforms has the line \"" + line + "\"");
    }
    const std::string answer = line.substr(first + 1, second - first - 1);
    if (answer != "yes" && answer != "slow" && answer != "no") {
      return Error::Internal("sandbox-kernel's list of platforms says \"" + answer + "\"");
    }
    platforms.push_back(
        {line.substr(0, first), answer != "no", answer == "yes", line.substr(second + 1)});
  }
  if (platforms.empty()) return Error::Internal("sandbox-kernel lists no platforms");
  return platforms;
}

Outcome<PlatformAnswer> PickAutomatically(const std::vector<PlatformState>& platforms) {
  std::string passed;
  for (const PlatformState& p : platforms) {
    if (p.available && p.automatic)
      return PlatformAnswer{p.name, "the best that works here" + passed};
    passed += (passed.empty() ? "; not " : "; nor ") + p.name + ": " + p.detail;
  }
  // Slow is better than nothing.
  for (const PlatformState& p : platforms) {
    if (p.available) return PlatformAnswer{p.name, "the only kind that works here" + passed};
  }
  return Error(v1::ERROR_REASON_PLATFORM_UNAVAILABLE, "no platform works on this host" + passed);
}

Outcome<PlatformAnswer> ChoosePlatform(const std::vector<PlatformState>& platforms,
                                       const PlatformRequest& request) {
  if (request.name == kAutoPlatform) return PickAutomatically(platforms);
  const PlatformState* found = Find(platforms, request.name);
  if (found == nullptr) {
    return Error::Fields({{request.field, "unknown platform \"" + request.name + "\"; it can be " +
                                              Names(platforms)}});
  }
  if (found->available) return PlatformAnswer{found->name, request.reason};
  std::string message = "platform " + found->name + " doesn't work on this host: " + found->detail;
  const auto instead = PickAutomatically(platforms);
  if (!instead.ok()) return Error(v1::ERROR_REASON_PLATFORM_UNAVAILABLE, std::move(message));
  message += "; use " + instead->name + " (or auto, the best that works)";
  return Error(v1::ERROR_REASON_PLATFORM_UNAVAILABLE, std::move(message))
      .With("platform", found->name)
      .With("alternative", instead->name);
}

Outcome<std::vector<PlatformState>> PlatformTable::List() {
  std::vector<PlatformState> platforms = TRY(ParsePlatformReport(TRY(probe_())));
  MutexLock lock(mutex_);
  known_ = platforms;
  return platforms;
}

Outcome<PlatformAnswer> PlatformTable::Choose(const PlatformRequest& request) {
  std::vector<PlatformState> known;
  {
    MutexLock lock(mutex_);
    known = known_;
  }
  if (!known.empty()) {
    auto answer = ChoosePlatform(known, request);
    if (answer.ok() || answer.error().reason() != v1::ERROR_REASON_PLATFORM_UNAVAILABLE) {
      return answer;
    }
  }
  return ChoosePlatform(TRY(List()), request);
}

}  // namespace sandboxd::daemon
