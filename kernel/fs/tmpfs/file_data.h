// The bytes of one regular file: a small heap buffer, or a memfd once it has grown or was mapped.
// Internal to tmpfs. Not thread-safe: the inode's mutex guards it, except where said.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "kernel/fs/tmpfs/tmpfs.h"
#include "platform/base/result.h"
#include "platform/base/types.h"
#include "platform/base/unique_fd.h"

namespace sandboxd::tmpfs {

class FileData {
 public:
  explicit FileData(TmpfsSuperblock& fs) : fs_(fs) {}
  ~FileData();

  uint64_t size() const { return size_; }
  uint64_t blocks() const;  // 512-byte units that are really held
  // -1 while in the heap. Once set it stays until the end, so it may be used without the mutex.
  int memfd() const { return memfd_.fd.get(); }

  // From the heap, or from the memfd; short at the end of the file.
  Result<size_t> Read(uint64_t offset, Bytes out);
  // Grows the file as needed. Short, or ENOSPC, at the limit of the file system.
  Result<size_t> Write(uint64_t offset, ConstBytes bytes);
  Result<void> Resize(uint64_t size);
  Result<void> Allocate(uint64_t offset, uint64_t length, bool keep_size);
  Result<void> PunchHole(uint64_t offset, uint64_t length);
  // SEEK_DATA and SEEK_HOLE of lseek(2): ENXIO.
  Result<uint64_t> SeekData(uint64_t offset, bool hole) const;

  // Moves the bytes to a memfd.
  Result<void> ToMemfd();
  // The memfd for a writable mapping: from now on pages can come without a call of ours.
  Result<int> WritableMemfd();
  // The description with read rights only.
  Result<int> ReadOnlyMemfd();

 private:
  Result<void> GrowHeap(uint64_t size);
  Result<size_t> WriteMemfd(uint64_t offset, ConstBytes bytes);
  // Makes the superblock's count agree with what the memfd holds.
  void Recount();
  // Where these bytes of the memfd are in our own memory, or nullptr: small pieces of a file that
  // is used again and again are copied without asking the host. Only what is known to be allocated,
  // and what no application can take away, is touched there.
  std::byte* Window(uint64_t offset, size_t size);
  void CloseWindow();
  uint64_t HeldBlocks() const;  // of the memfd, as the host says

  TmpfsSuperblock& fs_;
  uint64_t size_ = 0;
  std::vector<std::byte> heap_;  // size_ bytes, while there is no memfd_
  MemoryFile memfd_;
  UniqueFd read_only_;
  uint64_t pages_ = 0;  // counted at the superblock
  bool mapped_writable_ = false;
  std::byte* window_ = nullptr;  // the file's first window_size_ bytes
  uint64_t window_size_ = 0;
  uint32_t small_transfers_ = 0;
  uint64_t dense_end_ = 0;  // everything before this is known to be allocated in the memfd
};

}  // namespace sandboxd::tmpfs
