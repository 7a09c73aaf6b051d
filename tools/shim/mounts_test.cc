#include "tools/shim/mounts.h"

#include <gtest/gtest.h>
#include <sys/mount.h>

namespace sandboxd::shim {
namespace {

MountArguments Parse(std::initializer_list<const char*> options) {
  google::protobuf::RepeatedPtrField<std::string> list;
  for (const char* option : options) *list.Add() = option;
  return ParseMountOptions(list);
}

TEST(MountOptionsTest, FlagsAreTakenAndTheRestIsTheFileSystems) {
  const auto out = Parse({"ro", "nosuid", "lowerdir=/a:/b", "upperdir=/c", "workdir=/d"});
  EXPECT_EQ(static_cast<unsigned long>(MS_RDONLY | MS_NOSUID), out.flags);
  EXPECT_EQ("lowerdir=/a:/b,upperdir=/c,workdir=/d", out.data);
  EXPECT_EQ(0u, out.propagation);
}

TEST(MountOptionsTest, ALaterOptionTakesAnEarlierOneBack) {
  EXPECT_EQ(0u, Parse({"ro", "rw"}).flags);
  EXPECT_EQ(static_cast<unsigned long>(MS_BIND | MS_REC), Parse({"rbind", "rw"}).flags);
}

TEST(MountOptionsTest, PropagationIsACallOfItsOwn) {
  const auto out = Parse({"rbind", "rprivate"});
  EXPECT_EQ(static_cast<unsigned long>(MS_PRIVATE | MS_REC), out.propagation);
  EXPECT_EQ("", out.data);
}

}  // namespace
}  // namespace sandboxd::shim
