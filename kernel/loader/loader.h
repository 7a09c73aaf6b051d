// The program loader: makes the memory of a new program out of an executable file (execve(2),
// elf(5)).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernel/creds/credentials.h"
#include "kernel/mm/memory_manager.h"
#include "kernel/mm/user_memory.h"
#include "kernel/vfs/caller.h"
#include "kernel/vfs/file.h"
#include "platform/base/ref.h"
#include "platform/base/result.h"
#include "platform/platform.h"

namespace sandboxd::loader {

// Who the new program will be. `secure` is AT_SECURE: its rights differ from those of the one who
// started it (set-user-id, file capabilities).
struct ProgramRights {
  creds::CredRef credentials;
  bool secure = false;
};

struct LoadRequest {
  Ref<vfs::File> file;   // opened for reading, execute permission checked
  std::string filename;  // as given to execve: AT_EXECFN, and what a script's interpreter is told
  std::vector<std::string> argv;
  std::vector<std::string> envp;
  mm::MemoryLimits limits;
  // Opens the interpreter of a script, or of PT_INTERP, for reading, with execute permission
  // checked (ENOENT, EACCES …). Relative paths start at the caller's cwd.
  std::function<Result<Ref<vfs::File>>(const std::string& path)> open_interpreter;
  // Called once, with the file that becomes the program: for a script, its interpreter.
  std::function<Result<ProgramRights>(vfs::File& program)> rights;
  bool randomize = true;  // less personality(2)'s ADDR_NO_RANDOMIZE
};

// A new address space with the program in it, and one thread of it, not yet run.
struct LoadedImage {
  Ref<mm::MemoryManager> mm;
  std::unique_ptr<platform::Context> context;  // belongs to the thread that called Load
  UserAddr entry;                              // of the program's interpreter if it has one
  UserAddr stack_pointer;
  std::string comm;           // at most 15 bytes
  Ref<vfs::File> executable;  // the file that became the program; mm->executable() too
  ProgramRights rights;
};

// Nothing of the caller is touched; on failure nothing is left. Errors: ENOEXEC, EACCES, E2BIG,
// ENOMEM, EINVAL (two PT_INTERP …), ELIBBAD (the interpreter is not what it should be), ELOOP (a
// script's interpreter is a script, too deep), EIO, and what open_interpreter and rights return.
Result<LoadedImage> Load(platform::Platform& platform, vfs::Caller& caller, LoadRequest request);

// Bytes that argv and envp (their strings with NULs, and the pointers to them) may take together
// (execve(2), "Limits on size of arguments and environment"): a quarter of RLIMIT_STACK, at least
// 128 KiB and at most 6 MiB.
uint64_t ArgumentLimit(const mm::MemoryLimits& limits);

// Reads a NULL-terminated array of string pointers (argv or envp of execve; null reads as empty).
// Takes what it reads from `budget`; E2BIG when that is used up or a string is longer than 128 KiB;
// EFAULT.
Result<std::vector<std::string>> ReadStringArray(const mm::UserMemory& memory, UserAddr array,
                                                 uint64_t& budget);

}  // namespace sandboxd::loader
