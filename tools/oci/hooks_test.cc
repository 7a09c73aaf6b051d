#include "tools/oci/hooks.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

namespace sandboxd::oci {
namespace {

class HooksTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/hooks-" + std::to_string(::getpid());
    ASSERT_EQ(0, ::system(("mkdir -p " + folder_).c_str()));
  }
  void TearDown() override { (void)!::system(("rm -rf " + folder_).c_str()); }
  std::string Shell(const std::string& script, const std::string& more = "") {
    return R"({"path": "/bin/sh", "args": ["sh", "-c", ")" + script + "\"]" + more + "}";
  }
  std::string Read(const std::string& name) {
    std::ifstream in(folder_ + "/" + name);
    std::ostringstream out;
    out << in.rdbuf();
    return out.str();
  }
  std::string folder_;
};

TEST_F(HooksTest, EachHookGetsTheStateOnItsStandardInput) {
  const std::string hooks = R"({"prestart": [)" + Shell("cat > " + folder_ + "/a") + "," +
                            Shell("cat > " + folder_ + "/b") + "]}";
  ASSERT_TRUE(RunHooks(hooks, "prestart", "{\"id\": \"x\"}").ok());
  EXPECT_EQ("{\"id\": \"x\"}", Read("a"));
  EXPECT_EQ("{\"id\": \"x\"}", Read("b"));
}

TEST_F(HooksTest, OnlyTheGivenEnvironmentIsThere) {
  const std::string hooks =
      R"({"poststop": [)" +
      Shell("echo $HOME:$COLOUR > " + folder_ + "/env", R"(, "env": ["COLOUR=red"])") + "]}";
  ASSERT_TRUE(RunHooks(hooks, "poststop", "{}").ok());
  EXPECT_EQ(":red\n", Read("env"));
}

TEST_F(HooksTest, TheFirstThatFailsIsTheLastAndSaysWhy) {
  const std::string hooks = R"({"prestart": [)" + Shell("echo no luck >&2; exit 3") + "," +
                            Shell("touch " + folder_ + "/second") + "]}";
  auto done = RunHooks(hooks, "prestart", "{}");
  ASSERT_FALSE(done.ok());
  EXPECT_EQ("prestart hook /bin/sh ended with status 3: no luck", done.error().message());
  EXPECT_NE(0, ::access((folder_ + "/second").c_str(), F_OK));
}

TEST_F(HooksTest, AHookThatTakesTooLongIsKilledWithItsChildren) {
  const std::string hooks =
      R"({"prestart": [)" +
      Shell("sleep 1000 & echo $! > " + folder_ + "/child; wait", ", \"timeout\": 1") + "]}";
  auto done = RunHooks(hooks, "prestart", "{}");
  ASSERT_FALSE(done.ok());
  EXPECT_NE(std::string::npos, done.error().message().find("after its timeout of 1 s"));
}

TEST_F(HooksTest, AProgramThatIsNotThereIsAnError) {
  auto done = RunHooks(R"({"poststart": [{"path": "/no/such/hook"}]})", "poststart", "{}");
  ASSERT_FALSE(done.ok());
  EXPECT_NE(std::string::npos, done.error().message().find("/no/such/hook can't be run"));
}

TEST_F(HooksTest, OtherKindsAreNotRun) {
  const std::string hooks = R"({"prestart": [)" + Shell("exit 1") + "]}";
  EXPECT_TRUE(RunHooks(hooks, "poststop", "{}").ok());
  EXPECT_TRUE(RunHooks("", "prestart", "{}").ok());
  EXPECT_TRUE(HasHooks(hooks, "prestart"));
  EXPECT_FALSE(HasHooks(hooks, "poststop"));
}

}  // namespace
}  // namespace sandboxd::oci
