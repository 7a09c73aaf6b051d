// What a program finds on its stack when it starts: argc, argv, envp, the auxiliary vector, and the
// strings they point to (System V ABI for x86-64, 3.4.1; getauxval(3)).
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "platform/base/result.h"
#include "platform/base/types.h"

namespace sandboxd::loader {

struct StackRequest {
  const std::vector<std::string>& argv;
  const std::vector<std::string>& envp;
  const std::string& filename;
  // Entries without AT_RANDOM, AT_EXECFN, AT_PLATFORM and AT_NULL, which point into the stack.
  std::vector<std::pair<uint64_t, uint64_t>> auxv;
  uint64_t jitter = 0;  // bytes left free between strings and vectors
};

struct InitialStack {
  UserAddr stack_pointer;        // 16-byte aligned
  std::vector<std::byte> bytes;  // from the stack pointer to the stack's end
  UserAddr arg_start, arg_end, env_start, env_end;
  std::vector<uint64_t> auxv;  // as in memory, AT_NULL included
};

// E2BIG if it does not fit into `stack`.
Result<InitialStack> BuildInitialStack(AddrRange stack, const StackRequest& request);

}  // namespace sandboxd::loader
