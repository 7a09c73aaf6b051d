#include "daemon/service/listener.h"

#include <grp.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <future>

namespace sandboxd::daemon {
namespace {

class ListenerTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/listener-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    chmod(name, 0755);
    dir_ = name;
    path_ = dir_ + "/sock";
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  static int Connect(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, path.c_str());
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 ? fd : -1;
  }
  // What the listener thinks of somebody with these ids who connects.
  Connection ConnectionOf(Listener& listener, EventLoop& loop, uid_t uid, gid_t gid,
                          std::vector<gid_t> groups) {
    std::promise<Connection> seen;
    listener.Start(loop, [&](UniqueFd, const Connection& c) { seen.set_value(c); });
    const pid_t child = fork();
    if (child == 0) {
      if (setgroups(groups.size(), groups.data()) != 0 || setresgid(gid, gid, gid) != 0 ||
          setresuid(uid, uid, uid) != 0) {
        _exit(2);
      }
      _exit(Connect(path_) >= 0 ? 0 : 1);
    }
    int status;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0) << "could not connect";
    return status == 0 ? seen.get_future().get() : Connection();
  }

  std::string dir_, path_;
};

TEST_F(ListenerTest, TheSocketIsForItsOwnerAndItsGroup) {
  auto listener = Listener::Create("unix://" + path_);
  ASSERT_TRUE(listener.ok()) << listener.error().message();
  struct stat st;
  ASSERT_EQ(stat(path_.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0660u);
  listener->reset();
  EXPECT_NE(stat(path_.c_str(), &st), 0) << "it is removed at the end";
}

TEST_F(ListenerTest, ThePeersCredentialsDecide) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root to be someone else";
  EventLoop loop;
  struct Case {
    uid_t uid;
    gid_t gid;
    std::vector<gid_t> groups;
    bool allowed;
  };
  for (const Case& c : {Case{0, 0, {}, true}, Case{1000, 1000, {}, false},
                        Case{1000, 4242, {}, true}, Case{1000, 1000, {7, 4242}, true}}) {
    auto listener = Listener::Create("unix://" + path_, "4242");
    ASSERT_TRUE(listener.ok()) << listener.error().message();
    chmod(path_.c_str(), 0666);  // so that all of them get as far as to us
    const Connection seen = ConnectionOf(**listener, loop, c.uid, c.gid, c.groups);
    EXPECT_EQ(seen.caller.uid, c.uid);
    EXPECT_EQ(seen.allowed, c.allowed) << c.uid << ":" << c.gid;
  }
}

TEST_F(ListenerTest, AStaleSocketIsReplacedAndALiveOneIsNot) {
  {
    UniqueFd stale(socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, path_.c_str());
    ASSERT_EQ(bind(stale.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  auto first = Listener::Create("unix://" + path_);
  ASSERT_TRUE(first.ok()) << first.error().message();
  auto second = Listener::Create("unix://" + path_);
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.error().message().find("another process does"), std::string::npos);
}

TEST_F(ListenerTest, WrongAddressesAreExplained) {
  for (const std::string address : {"", "tcp://1.2.3.4", "unix://relative", "/just/a/path"}) {
    EXPECT_FALSE(Listener::Create(address).ok()) << address;
  }
  const auto longer = Listener::Create("unix:///" + std::string(200, 'x'));
  ASSERT_FALSE(longer.ok());
  EXPECT_NE(longer.error().message().find("longer than"), std::string::npos);
}

TEST(ConnectionTableTest, NumbersAreNotUsedAgainSoon) {
  ConnectionTable table;
  int last = 0;
  for (int i = 0; i < 5; ++i) {
    auto added = table.Add(UniqueFd(dup(0)), Connection{{static_cast<uid_t>(i), 0, 0}, true});
    ASSERT_TRUE(added.ok());
    EXPECT_GT(added->get(), last);
    last = added->get();
    EXPECT_EQ(table.Find("fd:" + std::to_string(last))->caller.uid, static_cast<uid_t>(i));
  }
  EXPECT_FALSE(table.Find("ipv4:1.2.3.4:5").has_value());
}

}  // namespace
}  // namespace sandboxd::daemon
