#include "kernel/loader/elf_image.h"

#include <elf.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "kernel/mm/memory_manager.h"

namespace sandboxd::loader {
namespace {

constexpr uint64_t kMaxHeaderBytes = 65536;  // ELF_MIN_ALIGN bound of Linux's load_elf_phdrs
constexpr uint64_t kPathMax = 4096;

int ProtOf(uint32_t flags) {
  return ((flags & PF_R) != 0 ? PROT_READ : 0) | ((flags & PF_W) != 0 ? PROT_WRITE : 0) |
         ((flags & PF_X) != 0 ? PROT_EXEC : 0);
}

Result<Elf64_Ehdr> ReadHeader(const ProgramReader& reader) {
  Elf64_Ehdr h;
  if (TRY(reader.ReadSome(0, AsWritableBytes(h))) != sizeof(h)) return Errno::kENOEXEC;
  if (memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 || h.e_ident[EI_CLASS] != ELFCLASS64 ||
      h.e_ident[EI_DATA] != ELFDATA2LSB || h.e_machine != EM_X86_64 ||
      (h.e_type != ET_EXEC && h.e_type != ET_DYN)) {
    return Errno::kENOEXEC;
  }
  if (h.e_phentsize != sizeof(Elf64_Phdr) || h.e_phnum == 0 ||
      h.e_phnum > kMaxHeaderBytes / sizeof(Elf64_Phdr)) {
    return Errno::kENOEXEC;
  }
  return h;
}

Result<std::vector<Elf64_Phdr>> ReadProgramHeaders(const ProgramReader& reader,
                                                   const Elf64_Ehdr& h) {
  std::vector<Elf64_Phdr> all(h.e_phnum);
  auto read = reader.ReadAll(h.e_phoff, std::as_writable_bytes(std::span(all)));
  if (read.Is(Errno::kEIO) || read.Is(Errno::kEINVAL)) return Errno::kENOEXEC;
  TRY(std::move(read));
  return all;
}

Result<std::string> ReadInterpreter(const ProgramReader& reader, const Elf64_Phdr& p) {
  if (p.p_filesz < 2 || p.p_filesz > kPathMax) return Errno::kENOEXEC;
  std::string path(p.p_filesz, '\0');
  TRY(reader.ReadAll(p.p_offset, std::as_writable_bytes(std::span(path.data(), path.size()))));
  if (path.back() != '\0') return Errno::kENOEXEC;
  path.resize(strlen(path.c_str()));
  return path;
}

Result<Segment> CheckSegment(const Elf64_Phdr& p, uint64_t file_size) {
  const uint64_t limit = mm::kTaskSize.value;
  if (p.p_filesz > p.p_memsz || p.p_vaddr >= limit || p.p_memsz > limit - p.p_vaddr) {
    return Errno::kEINVAL;
  }
  if (p.p_offset % kPageSize != p.p_vaddr % kPageSize) return Errno::kEINVAL;
  // Linux starts a truncated program and lets it die of SIGBUS or SIGSEGV; we say so at once.
  auto end = CheckedAdd<uint64_t>(p.p_offset, p.p_filesz);
  if (!end || *end > file_size) return Errno::kENOEXEC;
  return Segment{p.p_vaddr, p.p_offset, p.p_filesz, p.p_memsz, ProtOf(p.p_flags)};
}

}  // namespace

Result<size_t> ProgramReader::ReadSome(uint64_t offset, Bytes out) const {
  size_t done = 0;
  while (done < out.size()) {
    auto at = CheckedAdd<uint64_t>(offset, done);
    if (!at || *at > static_cast<uint64_t>(INT64_MAX)) return Errno::kEINVAL;
    mm::BufferSink sink(out.subspan(done));
    size_t n = TRY(file_.ReadAt(caller_, sink, static_cast<int64_t>(*at)));
    if (n == 0) break;
    done += n;
  }
  return done;
}

Result<void> ProgramReader::ReadAll(uint64_t offset, Bytes out) const {
  if (TRY(ReadSome(offset, out)) != out.size()) return Errno::kEIO;
  return Ok();
}

Result<uint64_t> ProgramReader::Size() const { return TRY(file_.GetAttr()).size; }

Result<ElfImage> ReadElf(const ProgramReader& reader) {
  Elf64_Ehdr header = TRY(ReadHeader(reader));
  auto program_headers = TRY(ReadProgramHeaders(reader, header));
  uint64_t file_size = TRY(reader.Size());

  ElfImage image;
  image.relocatable = header.e_type == ET_DYN;
  image.entry = header.e_entry;
  image.header_count = header.e_phnum;
  uint64_t low = UINT64_MAX, high = 0;
  for (const Elf64_Phdr& p : program_headers) {
    if (p.p_type == PT_INTERP && !image.interpreter) {
      image.interpreter = TRY(ReadInterpreter(reader, p));
    } else if (p.p_type == PT_GNU_STACK) {
      image.executable_stack = (p.p_flags & PF_X) != 0;
    } else if (p.p_type == PT_LOAD) {
      Segment segment = TRY(CheckSegment(p, file_size));
      if (header.e_phoff >= p.p_offset && header.e_phoff - p.p_offset < p.p_filesz) {
        image.headers_address = header.e_phoff - p.p_offset + p.p_vaddr;
      }
      if (std::has_single_bit(p.p_align)) {
        image.alignment = std::max<uint64_t>(image.alignment, p.p_align);
      }
      low = std::min(low, PageRoundDown(segment.address));
      high = std::max(high, segment.address + segment.memory_size);
      image.segments.push_back(segment);
    }
  }
  if (image.segments.empty()) return Errno::kENOEXEC;
  auto end = PageRoundUp(high);
  if (!end || *end <= low) return Errno::kEINVAL;
  image.span = {UserAddr(low), UserAddr(*end)};
  return image;
}

}  // namespace sandboxd::loader
