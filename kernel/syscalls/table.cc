#include "kernel/syscalls/table.h"

#include <algorithm>

#include "kernel/syscalls/families.h"
#include "platform/base/format.h"

namespace sandboxd::syscalls {
namespace {

struct Index {
  std::array<const Row*, kTableSize> rows = {};
  Index() {
    for (RowsFunction family : Families()) {
      for (const Row& row : family()) {
        CHECK_MSG(row.number < kTableSize, "%s", row.name);
        CHECK_MSG(rows[row.number] == nullptr, "system call %u (%s) has two rows", row.number,
                  row.name);
        rows[row.number] = &row;
      }
    }
  }
};

const char* SupportName(const Row* row) {
  if (row == nullptr) return "missing";
  switch (row->support) {
    case Support::kFull:
      return "full";
    case Support::kPartial:
      return "partial";
    case Support::kRefused:
      return "refused";
  }
  return "?";
}

}  // namespace

const Row* FindRow(uint64_t number) {
  static const Index index;
  return number < kTableSize ? index.rows[number] : nullptr;
}

std::string GenerateDocs() {
  int full = 0, partial = 0, refused = 0, missing = 0;
  std::string rows;
  for (const NamedNumber& call : AllLinuxCalls()) {
    const Row* row = FindRow(call.number);
    if (row == nullptr) {
      missing++;
    } else {
      (row->support == Support::kFull      ? full
       : row->support == Support::kPartial ? partial
                                           : refused)++;
    }
    std::string note = row == nullptr ? "" : row->note;
    if (row == nullptr || row->support == Support::kRefused) {
      note = std::string(ErrnoName(row == nullptr ? Errno::kENOSYS : row->refusal)) +
             (note.empty() ? "" : ": " + note);
    }
    rows += StrFormat("| %u | `%s` | %s | %s |\n", call.number, call.name, SupportName(row),
                      note.c_str());
  }
  return StrFormat(
             "# System calls\n\n"
             "Generated from the table in `kernel/syscalls` by `tools/dev docs`; do not edit.\n\n"
             "Linux 6.1, x86-64: %zu calls; %d full, %d partial, %d refused as by a kernel without "
             "the feature, "
             "%d missing (ENOSYS, counted when a program asks).\n\n"
             "| number | name | support | note |\n|---|---|---|---|\n",
             AllLinuxCalls().size(), full, partial, refused, missing) +
         rows;
}

}  // namespace sandboxd::syscalls
