#include "kernel/loader/initial_stack.h"

#include <elf.h>

#include <array>
#include <cstring>
#include <string_view>

#include "kernel/mm/random.h"
#include "platform/base/check.h"

namespace sandboxd::loader {
namespace {

constexpr std::string_view kPlatform = "x86_64";
constexpr size_t kRandomBytes = 16;

size_t BytesOf(const std::vector<std::string>& strings) {
  size_t n = 0;
  for (const std::string& s : strings) n += s.size() + 1;
  return n;
}

// Writes upwards into the bytes of the stack.
class Writer {
 public:
  Writer(std::vector<std::byte>& bytes, UserAddr base) : bytes_(bytes), base_(base) {}
  UserAddr at() const { return base_ + pos_; }
  void SkipTo(UserAddr a) { pos_ = a - base_; }
  void Put(const void* data, size_t n) {
    CHECK(n <= bytes_.size() - pos_);
    memcpy(bytes_.data() + pos_, data, n);
    pos_ += n;
  }
  void Word(uint64_t w) { Put(&w, sizeof(w)); }
  UserAddr String(std::string_view s) {
    UserAddr here = at();
    Put(s.data(), s.size());
    Put("", 1);
    return here;
  }
  // The strings are elsewhere, one behind the other.
  void Pointers(UserAddr first, const std::vector<std::string>& strings) {
    for (const std::string& s : strings) {
      Word(first.value);
      first = first + s.size() + 1;
    }
    Word(0);
  }

 private:
  std::vector<std::byte>& bytes_;
  const UserAddr base_;
  size_t pos_ = 0;
};

}  // namespace

Result<InitialStack> BuildInitialStack(AddrRange stack, const StackRequest& request) {
  InitialStack out;
  const size_t strings =
      BytesOf(request.argv) + BytesOf(request.envp) + request.filename.size() + 1;
  const size_t words =
      1 + request.argv.size() + 1 + request.envp.size() + 1 + 2 * (request.auxv.size() + 4);
  const size_t small = kPlatform.size() + 1 + kRandomBytes;
  // A page is left for the program's first steps.
  const uint64_t needed = 8 + strings + request.jitter + small + 8 * words + 32 + kPageSize;
  if (needed > stack.length()) return Errno::kE2BIG;

  // From the top down: a zero word, the strings, room, the platform's name and random bytes, the
  // vectors.
  UserAddr strings_at = stack.end - 8 - strings;
  UserAddr small_at((strings_at.value - request.jitter - small) & ~uint64_t{15});
  out.stack_pointer = UserAddr((small_at.value - 8 * words) & ~uint64_t{15});
  out.bytes.resize(stack.end - out.stack_pointer);

  Writer w(out.bytes, out.stack_pointer);
  w.SkipTo(strings_at);
  out.arg_start = w.at();
  for (const std::string& s : request.argv) w.String(s);
  out.arg_end = out.env_start = w.at();
  for (const std::string& s : request.envp) w.String(s);
  out.env_end = w.at();
  UserAddr filename_at = w.String(request.filename);

  w.SkipTo(small_at);
  std::array<std::byte, kRandomBytes> random;
  mm::RandomBytes(random.data(), random.size());
  UserAddr random_at = w.at();
  w.Put(random.data(), random.size());
  UserAddr platform_at = w.String(kPlatform);

  for (auto [type, value] : request.auxv) out.auxv.insert(out.auxv.end(), {type, value});
  out.auxv.insert(out.auxv.end(), {AT_RANDOM, random_at.value, AT_EXECFN, filename_at.value,
                                   AT_PLATFORM, platform_at.value, AT_NULL, 0});
  w.SkipTo(out.stack_pointer);
  w.Word(request.argv.size());
  w.Pointers(out.arg_start, request.argv);
  w.Pointers(out.env_start, request.envp);
  for (uint64_t word : out.auxv) w.Word(word);
  return out;
}

}  // namespace sandboxd::loader
