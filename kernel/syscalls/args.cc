#include "kernel/syscalls/args.h"

#include "platform/base/format.h"

namespace sandboxd::syscalls {
namespace {

std::string SmallDecimalElseHex(uint64_t v) {
  return v < 0x10000 ? std::to_string(v) : StrFormat("%#lx", v);
}

}  // namespace

std::string FormatUserString(Task& t, UserAddr addr) {
  if (addr.null()) return "NULL";
  Result<std::string> text = t.memory().ReadCString(addr, 4096);
  if (!text.ok()) return StrFormat("%#lx", addr.value);
  std::string out = "\"";
  for (char c : text->substr(0, 128)) {
    if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
      out += c;
    } else {
      out += StrFormat("\\x%02x", static_cast<unsigned char>(c));
    }
  }
  return out + (text->size() > 128 ? "\"..." : "\"");
}

std::string ArgTraits<uint32_t>::Format(Task&, uint64_t v) {
  return SmallDecimalElseHex(static_cast<uint32_t>(v));
}
std::string ArgTraits<uint64_t>::Format(Task&, uint64_t v) { return SmallDecimalElseHex(v); }
std::string ArgTraits<Signo>::Format(Task&, uint64_t v) {
  int signo = static_cast<int32_t>(v);
  return signo >= 1 && signo <= signal::kSignalCount ? signal::SignalName(signo)
                                                     : std::to_string(signo);
}
std::string ArgTraits<UserAddr>::Format(Task&, uint64_t v) {
  return v == 0 ? "NULL" : StrFormat("%#lx", v);
}

}  // namespace sandboxd::syscalls
