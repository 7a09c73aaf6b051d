// Places where a test can make the next step fail, to show that nothing is left behind. Costs one
// relaxed load when no test has asked.
#pragma once

#include <functional>
#include <string_view>

namespace sandboxd::daemon {

// The errno that a test wants `point` to fail with; 0: go on.
int FaultPoint(std::string_view point);

// For tests: `hook` decides from now on; nullptr restores. Not while other threads use it.
void SetFaultHook(std::function<int(std::string_view)> hook);

}  // namespace sandboxd::daemon
