#include "kernel/fs/tmpfs/file_data.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "platform/base/checked_math.h"

namespace sandboxd::tmpfs {

namespace {
constexpr uint64_t kHeapLimit = 64 << 10;  // larger files live in a memfd
// See Window. Larger pieces are the host's business, who copies them with less in between.
constexpr size_t kMaxPiece = 16 << 10;
constexpr uint64_t kMaxWindow = 64 << 20;
constexpr uint32_t kTransfersToMap = 32;

uint64_t PagesOf(uint64_t bytes) { return bytes / kPageSize + (bytes % kPageSize != 0 ? 1 : 0); }

Result<void> Host(int result) { return result == 0 ? Ok() : Result<void>(FromHostErrno(errno)); }
}  // namespace

FileData::~FileData() {
  CloseWindow();
  if (memfd_.fd.valid() && !read_only_.valid()) fs_.memory().Forget(memfd_);
  fs_.ReturnPages(pages_);
}

uint64_t FileData::blocks() const {
  if (!mapped_writable_) return pages_ * (kPageSize / 512);
  return HeldBlocks();
}

uint64_t FileData::HeldBlocks() const {
  struct stat st;
  return fstat(memfd_.fd.get(), &st) == 0 ? static_cast<uint64_t>(st.st_blocks) : 0;
}

Result<size_t> FileData::Read(uint64_t offset, Bytes out) {
  if (offset >= size_) return size_t{0};
  size_t n = std::min<uint64_t>(out.size(), size_ - offset);
  if (!memfd_.fd.valid()) {
    memcpy(out.data(), heap_.data() + offset, n);
    return n;
  }
  if (const std::byte* at = Window(offset, n)) {
    memcpy(out.data(), at, n);
    return n;
  }
  ssize_t got = pread(memfd_.fd.get(), out.data(), n, static_cast<off_t>(offset));
  if (got < 0) return FromHostErrno(errno);
  return static_cast<size_t>(got);
}

std::byte* FileData::Window(uint64_t offset, size_t size) {
  // With a writable mapping an application can punch holes.
  if (mapped_writable_ || size > kMaxPiece || offset + size > dense_end_) return nullptr;
  if (offset + size <= window_size_) return window_ + offset;
  if (++small_transfers_ < kTransfersToMap || dense_end_ > kMaxWindow) return nullptr;
  small_transfers_ = 0;
  CloseWindow();
  void* at = mmap(nullptr, dense_end_, PROT_READ | PROT_WRITE, MAP_SHARED, memfd_.fd.get(), 0);
  if (at == MAP_FAILED) return nullptr;
  window_ = static_cast<std::byte*>(at);
  window_size_ = dense_end_;
  return window_ + offset;
}

void FileData::CloseWindow() {
  if (window_ != nullptr) munmap(window_, window_size_);
  window_ = nullptr;
  window_size_ = 0;
}

Result<void> FileData::GrowHeap(uint64_t size) {
  uint64_t want = PagesOf(size);
  if (want > pages_) {
    if (!fs_.TakePages(want - pages_)) return Errno::kENOSPC;
    pages_ = want;
  }
  heap_.resize(size);
  size_ = size;
  return Ok();
}

Result<size_t> FileData::Write(uint64_t offset, ConstBytes bytes) {
  if (bytes.empty()) return size_t{0};
  uint64_t end = offset + bytes.size();  // both are below 2^63
  if (!memfd_.fd.valid() && end > kHeapLimit) TRY(ToMemfd());
  if (memfd_.fd.valid()) return WriteMemfd(offset, bytes);
  if (end > size_) {
    // As far as the limit of the file system allows.
    Result<void> grown = GrowHeap(end);
    if (!grown.ok()) {
      uint64_t room = pages_ * kPageSize;
      if (room <= offset || room <= size_) return grown.error();
      TRY(GrowHeap(std::min(room, end)));
      bytes = bytes.first(size_ - offset);
    }
  }
  memcpy(heap_.data() + offset, bytes.data(), bytes.size());
  return bytes.size();
}

Result<size_t> FileData::WriteMemfd(uint64_t offset, ConstBytes bytes) {
  if (std::byte* at = Window(offset, bytes.size())) {
    memcpy(at, bytes.data(), bytes.size());
    return bytes.size();
  }
  uint64_t end = offset + bytes.size();
  bool adds_pages = end > dense_end_;
  uint64_t reserved = 0;
  if (adds_pages) {
    uint64_t first_new = std::max(PageRoundDown(offset), dense_end_);
    reserved = PagesOf(end) - first_new / kPageSize;
    if (!fs_.TakePages(reserved)) {
      if (offset >= dense_end_) return Errno::kENOSPC;
      bytes = bytes.first(dense_end_ - offset);
      adds_pages = false;
      reserved = 0;
    }
  }
  ssize_t put = pwrite(memfd_.fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
  Result<size_t> result =
      put < 0 ? Result<size_t>(FromHostErrno(errno)) : Result<size_t>(static_cast<size_t>(put));
  pages_ += reserved;
  if (put > 0) {
    uint64_t done = offset + static_cast<uint64_t>(put);
    size_ = std::max(size_, done);
    if (offset <= dense_end_) dense_end_ = std::max(dense_end_, PageRoundDown(done));
  }
  if (adds_pages) Recount();
  return result;
}

void FileData::Recount() {
  uint64_t now = HeldBlocks() / (kPageSize / 512);
  if (now > pages_) fs_.ForcePages(now - pages_);
  if (now < pages_) fs_.ReturnPages(pages_ - now);
  pages_ = now;
}

Result<void> FileData::ToMemfd() {
  if (memfd_.fd.valid()) return Ok();
  MemoryFile file = TRY(fs_.memory().Create());
  for (size_t done = 0; done < heap_.size();) {
    ssize_t put =
        pwrite(file.fd.get(), heap_.data() + done, heap_.size() - done, static_cast<off_t>(done));
    if (put <= 0) {
      const Errno error = put == 0 ? Errno::kEIO : FromHostErrno(errno);
      fs_.memory().Forget(file);
      return error;
    }
    done += static_cast<size_t>(put);
  }
  memfd_ = std::move(file);
  dense_end_ = PageRoundDown(size_);
  heap_ = std::vector<std::byte>();
  Recount();
  return Ok();
}

Result<int> FileData::WritableMemfd() {
  TRY(ToMemfd());
  mapped_writable_ = true;
  CloseWindow();
  return memfd_.fd.get();
}

Result<int> FileData::ReadOnlyMemfd() {
  TRY(ToMemfd());
  if (!read_only_.valid()) {
    read_only_ = TRY(fs_.memory().ReopenReadOnly(memfd_));
    fs_.memory().Forget(memfd_);
  }
  return read_only_.get();
}

Result<void> FileData::Resize(uint64_t size) {
  if (!memfd_.fd.valid() && size > kHeapLimit) TRY(ToMemfd());
  if (memfd_.fd.valid()) {
    TRY(Host(ftruncate(memfd_.fd.get(), static_cast<off_t>(size))));
    size_ = size;
    dense_end_ = std::min(dense_end_, PageRoundDown(size));
    Recount();
    return Ok();
  }
  if (size > size_) return GrowHeap(size);
  heap_.resize(size);
  if (heap_.capacity() > 2 * size + kPageSize) heap_.shrink_to_fit();
  size_ = size;
  fs_.ReturnPages(pages_ - PagesOf(size));
  pages_ = PagesOf(size);
  return Ok();
}

Result<void> FileData::Allocate(uint64_t offset, uint64_t length, bool keep_size) {
  uint64_t end = offset + length;
  if (!memfd_.fd.valid() && end <= kHeapLimit) {
    return end > size_ && !keep_size ? GrowHeap(end) : Ok();
  }
  TRY(ToMemfd());
  // An upper bound: pages that exist already are given back by Recount.
  uint64_t pages = PagesOf(end) - offset / kPageSize;
  if (!fs_.TakePages(pages)) return Errno::kENOSPC;
  pages_ += pages;
  Result<void> done = Host(fallocate(memfd_.fd.get(), keep_size ? FALLOC_FL_KEEP_SIZE : 0,
                                     static_cast<off_t>(offset), static_cast<off_t>(length)));
  Recount();
  TRY(done);
  if (!keep_size) size_ = std::max(size_, end);
  return Ok();
}

Result<void> FileData::PunchHole(uint64_t offset, uint64_t length) {
  if (!memfd_.fd.valid()) {
    if (offset >= size_) return Ok();
    uint64_t end = std::min(size_, offset + length);
    std::fill(heap_.begin() + static_cast<ptrdiff_t>(offset),
              heap_.begin() + static_cast<ptrdiff_t>(end), std::byte{0});
    return Ok();
  }
  TRY(Host(fallocate(memfd_.fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                     static_cast<off_t>(offset), static_cast<off_t>(length))));
  dense_end_ = std::min(dense_end_, PageRoundDown(offset));
  Recount();
  return Ok();
}

Result<uint64_t> FileData::SeekData(uint64_t offset, bool hole) const {
  if (offset >= size_) return Errno::kENXIO;
  if (!memfd_.fd.valid()) return hole ? size_ : offset;
  off_t found = lseek(memfd_.fd.get(), static_cast<off_t>(offset), hole ? SEEK_HOLE : SEEK_DATA);
  if (found < 0) return FromHostErrno(errno);
  return static_cast<uint64_t>(found);
}

}  // namespace sandboxd::tmpfs
