// What the headers of an ELF file say, checked (elf(5)).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernel/vfs/caller.h"
#include "kernel/vfs/file.h"
#include "platform/base/result.h"
#include "platform/base/types.h"

namespace sandboxd::loader {

// Reads from a program file on behalf of a task.
class ProgramReader {
 public:
  ProgramReader(vfs::Caller& caller, vfs::File& file) : caller_(caller), file_(file) {}
  // As much as there is.
  Result<size_t> ReadSome(uint64_t offset, Bytes out) const;
  // EIO if the file ends before.
  Result<void> ReadAll(uint64_t offset, Bytes out) const;
  Result<uint64_t> Size() const;
  vfs::Caller& caller() const { return caller_; }
  vfs::File& file() const { return file_; }

 private:
  vfs::Caller& caller_;
  vfs::File& file_;
};

struct Segment {  // a PT_LOAD
  uint64_t address = 0;
  uint64_t offset = 0;  // in the file; the same within a page as the address
  uint64_t file_size = 0;
  uint64_t memory_size = 0;
  int prot = 0;  // PROT_*
};

struct ElfImage {
  bool relocatable = false;  // ET_DYN: addresses count from where it is put
  uint64_t entry = 0;
  uint64_t headers_address = 0;  // of the program headers in memory: AT_PHDR
  uint16_t header_count = 0;
  uint64_t alignment = kPageSize;  // largest of the segments
  std::vector<Segment> segments;   // at least one, in the file's order
  std::optional<std::string> interpreter;
  bool executable_stack = false;
  // Whole pages from the lowest to the highest byte of all segments.
  AddrRange span;
};

// ENOEXEC for what is no x86-64 program; EINVAL for one with impossible segments; EIO.
Result<ElfImage> ReadElf(const ProgramReader& reader);

}  // namespace sandboxd::loader
