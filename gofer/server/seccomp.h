// The system calls that a serving gofer may make, each with its reason. Everything else kills the
// process (SECCOMP_RET_KILL_PROCESS).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "platform/base/result.h"

namespace sandboxd::gofer {

// Allowed only if (argument & mask) == value. mask 0: any arguments.
struct ArgumentCheck {
  unsigned index = 0;
  uint64_t mask = 0;
  uint64_t value = 0;
  const char* text = "";
};

struct SeccompRule {
  int syscall = -1;
  const char* name = "";
  const char* reason = "";
  ArgumentCheck check;
};

std::span<const SeccompRule> SeccompRules();

// The list as a Markdown table, for docs/security.md.
std::string SeccompTable();

// Loads the list for all threads of the process. It can't be undone. no_new_privs is set.
Result<void> LoadSeccomp();

}  // namespace sandboxd::gofer
