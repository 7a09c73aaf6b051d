// Prints docs/syscalls.md.
#include <cstdio>

#include "kernel/syscalls/table.h"

int main() {
  std::string docs = sandboxd::syscalls::GenerateDocs();
  return fwrite(docs.data(), 1, docs.size(), stdout) == docs.size() ? 0 : 1;
}
