// For tests: the type of every message, and a way to fill one with arbitrary values.
#pragma once

#include <gtest/gtest.h>

#include <random>

#include "gofer/protocol/messages.h"

namespace sandboxd::gofer {

using AllMessages =
    ::testing::Types<Rlerror, Tversion, Rversion, Tauth, Tattach, Rattach, Tflush, Rflush, Twalk,
                     Rwalk, Tclunk, Rclunk, Tlopen, Rlopen, Tlcreate, Rlcreate, Tread, Rread,
                     Twrite, Rwrite, Treaddir, Rreaddir, Tfsync, Rfsync, Tlock, Rlock, Tgetlock,
                     Rgetlock, Tgetattr, Rgetattr, Tsetattr, Rsetattr, Tstatfs, Rstatfs, Treadlink,
                     Rreadlink, Txattrwalk, Rxattrwalk, Txattrcreate, Rxattrcreate, Tmkdir, Rmkdir,
                     Tsymlink, Rsymlink, Tmknod, Rmknod>;
using MoreMessages =
    ::testing::Types<Tlink, Rlink, Trename, Rrename, Trenameat, Rrenameat, Tunlinkat, Runlinkat,
                     Tremove, Rremove, Twalkgetattr, Rwalkgetattr, Twalkopen, Rwalkopen, Topenfd,
                     Ropenfd, Tmake, Rmake, Tstat, Rstat, Trename2, Rrename2, Tclunkmany,
                     Rclunkmany, Tgetxattr, Rgetxattr, Tsetxattr, Rsetxattr, Tlistxattr, Rlistxattr,
                     Tremovexattr, Rremovexattr, Treaddirstat, Rreaddirstat>;

// An archive that assigns random values.
class Filler {
 public:
  explicit Filler(uint32_t seed) : random_(seed) {}

  template <typename... Fields>
  void operator()(Fields&... fields) {
    (Fill(fields), ...);
  }

 private:
  template <typename T>
  void Fill(T& value) {
    if constexpr (std::is_same_v<T, bool>) {
      value = random_() % 2 == 0;
    } else if constexpr (std::is_enum_v<T> || std::is_unsigned_v<T>) {
      value = static_cast<T>((uint64_t{random_()} << 32) | random_());
    } else if constexpr (std::is_same_v<T, std::string>) {
      value.resize(random_() % 40);
      for (char& c : value) c = static_cast<char>(random_());
    } else if constexpr (std::is_same_v<T, Blob>) {
      data_.resize(random_() % 100);
      for (std::byte& b : data_) b = static_cast<std::byte>(random_());
      value.bytes = data_;
    } else {
      T::Visit(value, *this);
    }
  }
  template <typename T>
  void Fill(std::vector<T>& list) {
    list.resize(random_() % 5);
    for (T& element : list) Fill(element);
  }

  std::mt19937 random_;
  std::vector<std::byte> data_;  // what the message's Blob points to
};

}  // namespace sandboxd::gofer
