// Reading directories.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "gofer/server/session.h"

namespace sandboxd::gofer {
namespace {

struct linux_dirent64_header {
  uint64_t ino;
  uint64_t offset;
  uint16_t size;
  uint8_t type;
} __attribute__((packed));
static_assert(sizeof(linux_dirent64_header) == 19);

DirEntry ToEntry(const linux_dirent64_header& header, const char* name, uint64_t qid_path) {
  DirEntry entry{.offset = header.offset, .type = header.type, .name = name};
  entry.qid.path = qid_path;
  if (header.type == DT_DIR) entry.qid.type = QidType::kDirectory;
  if (header.type == DT_LNK) entry.qid.type = QidType::kSymlink;
  return entry;
}

}  // namespace

Result<void> Session::ReadEntries(uint32_t number, uint64_t offset, uint32_t count,
                                  Entries entries) {
  Fid* fid = TRY(fids_.Get(number));
  if (!S_ISDIR(fid->node->mode())) return Errno::kENOTDIR;
  if (offset > INT64_MAX) return Errno::kEINVAL;
  // Extension: a fid that is not open is opened for the time that the directory is being read.
  if (!fid->open.valid()) {
    if (!extended_) return Errno::kEBADF;
    fid->open = TRY(OpenNode(*fid->node, O_RDONLY));
    fid->dir_offset = 0;
    fid->close_at_end = true;
  }
  int dir = fid->open.get();
  if (offset != fid->dir_offset) {
    off_t at = ::lseek(dir, static_cast<off_t>(offset), SEEK_SET);
    if (at < 0) return LastError();
    fid->dir_offset = offset;
  }
  // An entry takes at most 7/6 of the host's size for it (names of 4 bytes: 28 for 24), with
  // attributes 8 times as much (190 for 24), so all that one getdents64 returns fits the response.
  size_t room = std::min(count, msize_ - kIoHeaderSize);
  alignas(8) char host_entries[32 * 1024];
  size_t host_size = entries == Entries::kPlain ? room / 7 * 6 : room / 8;
  long n = ::syscall(SYS_getdents64, dir, host_entries, std::min(host_size, sizeof(host_entries)));
  if (n < 0) return LastError();
  data_.clear();
  if (n == 0 && fid->close_at_end) {
    fid->open.Reset();
    fid->close_at_end = false;
    return Ok();
  }
  Encoder encoder(data_);
  for (long at = 0; at < n;) {
    linux_dirent64_header header;
    std::memcpy(&header, host_entries + at, sizeof(header));
    const char* name = host_entries + at + sizeof(header);
    DirEntry entry = ToEntry(header, name, host_.QidPath(fid->node->stat().dev, header.ino));
    if (entries == Entries::kPlain) {
      encoder(entry);
    } else {
      bool itself = entry.name == "." || entry.name == "..";
      Result<Stat> stat = itself ? Errno::kENOENT : host_.StatEntry(dir, name);
      encoder(DirEntryStat{std::move(entry), stat.ok(), stat.ok() ? *stat : Stat{}});
    }
    fid->dir_offset = header.offset;
    at += header.size;
  }
  return Ok();
}

Result<Rreaddir> Session::Handle(const Treaddir& request) {
  TRY(ReadEntries(request.fid, request.offset, request.count, Entries::kPlain));
  return Rreaddir{.data = {data_}};
}

Result<Rreaddirstat> Session::Handle(const Treaddirstat& request) {
  TRY(ReadEntries(request.fid, request.offset, request.count, Entries::kWithStat));
  return Rreaddirstat{.data = {data_}};
}

}  // namespace sandboxd::gofer
