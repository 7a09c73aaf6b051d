// The first line of an interpreter script (execve(2), "Interpreter scripts").
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "platform/base/result.h"

namespace sandboxd::loader {

// Linux looks at this much of a file (BINPRM_BUF_SIZE).
inline constexpr size_t kScriptHead = 256;

struct ScriptLine {
  std::string interpreter;
  std::optional<std::string> argument;  // the rest of the line as one
};

// `head`: the first bytes of the file, at most kScriptHead. nullopt if it is no script; ENOEXEC if
// its line names no interpreter or the name is cut off.
Result<std::optional<ScriptLine>> ParseScript(std::string_view head);

}  // namespace sandboxd::loader
