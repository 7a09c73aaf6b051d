// struct stat of the x86-64 system call ABI (arch/x86/include/uapi/asm/stat.h).
#pragma once

#include <cstddef>
#include <cstdint>

namespace sandboxd::abi {

struct StatTime {
  int64_t sec = 0;
  uint64_t nsec = 0;
};

struct Stat {
  uint64_t dev;
  uint64_t ino;
  uint64_t nlink;
  uint32_t mode;
  uint32_t uid;
  uint32_t gid;
  uint32_t pad0;
  uint64_t rdev;
  int64_t size;
  int64_t blksize;
  int64_t blocks;
  StatTime atime;
  StatTime mtime;
  StatTime ctime;
  int64_t unused[3];
};
static_assert(sizeof(Stat) == 144);
static_assert(offsetof(Stat, size) == 48);
static_assert(offsetof(Stat, atime) == 72);

}  // namespace sandboxd::abi
