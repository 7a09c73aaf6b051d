// The message numbers of 9P2000.L (protocol.md of the diod project) and of our extension.
#pragma once

#include <cstdint>

namespace sandboxd::gofer {

enum class MessageType : uint8_t {
  kRlerror = 7,
  kTstatfs = 8,
  kTlopen = 12,
  kTlcreate = 14,
  kTsymlink = 16,
  kTmknod = 18,
  kTrename = 20,
  kTreadlink = 22,
  kTgetattr = 24,
  kTsetattr = 26,
  kTxattrwalk = 30,
  kTxattrcreate = 32,
  kTreaddir = 40,
  kTfsync = 50,
  kTlock = 52,
  kTgetlock = 54,
  kTlink = 70,
  kTmkdir = 72,
  kTrenameat = 74,
  kTunlinkat = 76,
  kTversion = 100,
  kTauth = 102,
  kTattach = 104,
  kTflush = 108,
  kTwalk = 110,
  kTread = 116,
  kTwrite = 118,
  kTclunk = 120,
  kTremove = 122,

  // The extension, 9P2000.L.sandboxd1.
  kTwalkgetattr = 200,
  kTwalkopen = 202,
  kTopenfd = 204,
  kTmake = 206,
  kTstat = 208,
  kTrename2 = 210,
  kTclunkmany = 212,
  kTgetxattr = 214,
  kTsetxattr = 216,
  kTlistxattr = 218,
  kTremovexattr = 220,
  kTreaddirstat = 222,
};

constexpr bool IsExtension(MessageType type) { return static_cast<uint8_t>(type) >= 200; }
// Every response's number is its request's plus one.
constexpr MessageType ResponseTo(MessageType request) {
  return static_cast<MessageType>(static_cast<uint8_t>(request) + 1);
}

}  // namespace sandboxd::gofer
