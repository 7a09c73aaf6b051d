#include "kernel/vfs/attr.h"

#include <time.h>

namespace sandboxd::vfs {

namespace {
Time Read(clockid_t clock) {
  timespec ts;
  clock_gettime(clock, &ts);
  return {ts.tv_sec, static_cast<uint32_t>(ts.tv_nsec)};
}
}  // namespace

Time Time::Now() { return Read(CLOCK_REALTIME); }
Time Time::NowCoarse() { return Read(CLOCK_REALTIME_COARSE); }

uint64_t DeviceNumber::Encode() const {
  uint64_t ma = major, mi = minor;
  return ((ma & 0xfffff000) << 32) | ((ma & 0xfff) << 8) | ((mi & 0xffffff00) << 12) | (mi & 0xff);
}

DeviceNumber DeviceNumber::Decode(uint64_t dev) {
  return {static_cast<uint32_t>(((dev >> 32) & 0xfffff000) | ((dev >> 8) & 0xfff)),
          static_cast<uint32_t>(((dev >> 12) & 0xffffff00) | (dev & 0xff))};
}

}  // namespace sandboxd::vfs
