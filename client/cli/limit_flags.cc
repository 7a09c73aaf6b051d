#include "client/cli/limit_flags.h"

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdlib>

namespace sandboxd::cli {
namespace {

bool ParseNumber(const std::string& text, uint64_t* number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number);
  return error == std::errc() && end == text.data() + text.size();
}

// "1.5" → 1500.
bool ParseMillis(const std::string& text, uint64_t* millis) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !(value >= 0) || value > 10'000) return false;
  *millis = static_cast<uint64_t>(std::llround(value * 1000));
  return value == 0 || *millis > 0;
}

}  // namespace

bool ParseBytes(const std::string& text, uint64_t* bytes) {
  if (text.empty()) return false;
  uint64_t unit = 1;
  std::string number = text;
  switch (text.back() | 0x20) {
    case 'g':
      unit <<= 10;
      [[fallthrough]];
    case 'm':
      unit <<= 10;
      [[fallthrough]];
    case 'k':
      unit <<= 10;
      number.pop_back();
      break;
    default:
      break;
  }
  return ParseNumber(number, bytes) && !__builtin_mul_overflow(*bytes, unit, bytes);
}

std::string FillResources(const Args& args, v1::Resources* resources,
                          std::vector<std::string>* fields) {
  const auto wrong = [&](const char* flag, const char* wanted) {
    return std::string("--") + flag + " takes " + wanted + ", not \"" + args.Get(flag) + "\"";
  };
  const auto note = [&](const char* field) {
    if (fields != nullptr) fields->push_back(field);
  };
  uint64_t number = 0;
  if (args.Has("memory")) {
    if (!ParseBytes(args.Get("memory"), &number)) return wrong("memory", "bytes like 512m");
    resources->set_memory_limit_bytes(number);
    note("memory_limit_bytes");
  }
  if (args.Has("memory-swap")) {
    if (!ParseBytes(args.Get("memory-swap"), &number)) return wrong("memory-swap", "bytes like 1g");
    resources->set_memory_swap_bytes(number);
    note("memory_swap_bytes");
  }
  if (args.Has("cpus")) {
    if (!ParseMillis(args.Get("cpus"), &number)) return wrong("cpus", "a number like 1.5");
    resources->set_cpu_limit_millis(number);
    note("cpu_limit_millis");
  }
  if (args.Has("cpu-shares")) {
    if (!ParseNumber(args.Get("cpu-shares"), &number)) return wrong("cpu-shares", "a number");
    resources->set_cpu_shares(number);
    note("cpu_shares");
  }
  if (args.Has("cpuset-cpus")) {
    resources->set_cpuset_cpus(args.Get("cpuset-cpus"));
    note("cpuset_cpus");
  }
  if (args.Has("pids")) {
    if (!ParseNumber(args.Get("pids"), &number)) return wrong("pids", "a number");
    resources->set_pids_limit(number);
    note("pids_limit");
  }
  return "";
}

}  // namespace sandboxd::cli
