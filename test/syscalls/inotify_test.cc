// inotify(7).
#include <poll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <utime.h>

#include <vector>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

struct Event {
  int wd;
  uint32_t mask;
  std::string name;
  uint32_t cookie = 0;
  bool operator==(const Event& o) const { return wd == o.wd && mask == o.mask && name == o.name; }
};

void PrintTo(const Event& e, std::ostream* out) {
  *out << "{wd " << e.wd << " mask 0x" << std::hex << e.mask << std::dec << " \"" << e.name
       << "\"}";
}

class InotifyTest : public testing::Test {
 protected:
  int Watch(const std::string& path, uint32_t mask = IN_ALL_EVENTS) {
    return inotify_add_watch(fd_.get(), path.c_str(), mask);
  }
  // What has been queued so far.
  std::vector<Event> Events() {
    std::vector<Event> events;
    alignas(inotify_event) char bytes[8192];
    ssize_t n = read(fd_.get(), bytes, sizeof(bytes));
    for (ssize_t at = 0; at < n;) {
      auto* e = reinterpret_cast<inotify_event*>(bytes + at);
      events.push_back({e->wd, e->mask, e->len > 0 ? e->name : "", e->cookie});
      at += static_cast<ssize_t>(sizeof(inotify_event)) + e->len;
    }
    return events;
  }
  using List = std::vector<Event>;

  TempDir dir_;
  Fd fd_{inotify_init1(IN_NONBLOCK)};
};

TEST_F(InotifyTest, InitFlags) {
  EXPECT_ERRNO(EINVAL, inotify_init1(1));
  Fd fd(inotify_init1(IN_CLOEXEC));
  EXPECT_EQ(fcntl(fd.get(), F_GETFD), FD_CLOEXEC);
}

TEST_F(InotifyTest, NothingToReadIsEagain) {
  char byte[64];
  EXPECT_ERRNO(EAGAIN, read(fd_.get(), byte, sizeof(byte)));
}

TEST_F(InotifyTest, FolderTellsOfItsFiles) {
  int wd = Watch(dir_.path());
  ASSERT_GE(wd, 1);
  std::string path = dir_ / "file";
  int fd = open(path.c_str(), O_CREAT | O_RDWR, 0600);
  ASSERT_EQ(write(fd, "x", 1), 1);
  char byte;
  ASSERT_EQ(pread(fd, &byte, 1, 0), 1);
  close(fd);
  ASSERT_EQ(unlink(path.c_str()), 0);
  EXPECT_EQ(Events(), (List{{wd, IN_CREATE, "file"},
                            {wd, IN_OPEN, "file"},
                            {wd, IN_MODIFY, "file"},
                            {wd, IN_ACCESS, "file"},
                            {wd, IN_CLOSE_WRITE, "file"},
                            {wd, IN_DELETE, "file"}}));
}

TEST_F(InotifyTest, FileTellsOfItsEnd) {
  std::string path = dir_.Put("file");
  int wd = Watch(path);
  ASSERT_EQ(chmod(path.c_str(), 0600), 0);
  ASSERT_EQ(unlink(path.c_str()), 0);
  EXPECT_EQ(Events(), (List{{wd, IN_ATTRIB, ""}, {wd, IN_DELETE_SELF, ""}, {wd, IN_IGNORED, ""}}));
  EXPECT_ERRNO(EINVAL, inotify_rm_watch(fd_.get(), wd));
}

TEST_F(InotifyTest, OpenFileEndsWhenItIsClosed) {
  std::string path = dir_.Put("file");
  int fd = open(path.c_str(), O_RDONLY);
  int wd = Watch(path, IN_DELETE_SELF | IN_CLOSE);
  ASSERT_EQ(unlink(path.c_str()), 0);
  EXPECT_EQ(Events(), List{});
  close(fd);
  EXPECT_EQ(Events(),
            (List{{wd, IN_CLOSE_NOWRITE, ""}, {wd, IN_DELETE_SELF, ""}, {wd, IN_IGNORED, ""}}));
}

TEST_F(InotifyTest, FolderItself) {
  std::string path = dir_ / "sub";
  int wd = Watch(dir_.path(), IN_CREATE | IN_DELETE);
  ASSERT_EQ(mkdir(path.c_str(), 0700), 0);
  int sub = Watch(path, IN_DELETE_SELF | IN_OPEN);
  close(open(path.c_str(), O_RDONLY));
  ASSERT_EQ(rmdir(path.c_str()), 0);
  EXPECT_EQ(Events(), (List{{wd, IN_CREATE | IN_ISDIR, "sub"},
                            {sub, IN_OPEN | IN_ISDIR, ""},
                            {sub, IN_DELETE_SELF, ""},
                            {sub, IN_IGNORED, ""},
                            {wd, IN_DELETE | IN_ISDIR, "sub"}}));
}

TEST_F(InotifyTest, RenameHasOneCookieForBothEnds) {
  std::string path = dir_.Put("old");
  int wd = Watch(dir_.path(), IN_MOVE);
  int self = Watch(path, IN_MOVE_SELF);
  ASSERT_EQ(rename(path.c_str(), (dir_ / "new").c_str()), 0);
  List events = Events();
  ASSERT_EQ(events,
            (List{{wd, IN_MOVED_FROM, "old"}, {wd, IN_MOVED_TO, "new"}, {self, IN_MOVE_SELF, ""}}));
  EXPECT_NE(events[0].cookie, 0u);
  EXPECT_EQ(events[0].cookie, events[1].cookie);
  EXPECT_EQ(events[2].cookie, 0u);
}

TEST_F(InotifyTest, LinksAndSymlinksAreCreations) {
  std::string path = dir_.Put("file");
  int wd = Watch(dir_.path(), IN_CREATE);
  int self = Watch(path, IN_ATTRIB);
  ASSERT_EQ(link(path.c_str(), (dir_ / "hard").c_str()), 0);
  ASSERT_EQ(symlink("file", (dir_ / "soft").c_str()), 0);
  EXPECT_EQ(Events(),
            (List{{self, IN_ATTRIB, ""}, {wd, IN_CREATE, "hard"}, {wd, IN_CREATE, "soft"}}));
}

TEST_F(InotifyTest, SameEventIsToldOnce) {
  TempFile file;
  int wd = Watch(file.path(), IN_MODIFY);
  Fd fd = file.Open(O_WRONLY);
  for (int i = 0; i < 3; i++) ASSERT_EQ(write(fd.get(), "x", 1), 1);
  EXPECT_EQ(Events(), (List{{wd, IN_MODIFY, ""}}));
}

TEST_F(InotifyTest, TruncateIsAModification) {
  std::string path = dir_.Put("file", "text");
  int wd = Watch(path, IN_MODIFY | IN_OPEN);
  ASSERT_EQ(truncate(path.c_str(), 1), 0);
  close(open(path.c_str(), O_WRONLY | O_TRUNC));
  EXPECT_EQ(Events(), (List{{wd, IN_MODIFY, ""}, {wd, IN_OPEN, ""}, {wd, IN_MODIFY, ""}}));
}

TEST_F(InotifyTest, OneShotTellsOnce) {
  std::string path = dir_.Put("file");
  int wd = Watch(path, IN_ATTRIB | IN_ONESHOT);
  ASSERT_EQ(chmod(path.c_str(), 0600), 0);
  ASSERT_EQ(chmod(path.c_str(), 0644), 0);
  EXPECT_EQ(Events(), (List{{wd, IN_ATTRIB, ""}, {wd, IN_IGNORED, ""}}));
}

TEST_F(InotifyTest, MaskIsReplacedOrAddedTo) {
  std::string path = dir_.Put("file");
  int wd = Watch(path, IN_OPEN);
  EXPECT_EQ(Watch(path, IN_ATTRIB), wd);
  EXPECT_EQ(Watch(path, IN_MODIFY | IN_MASK_ADD), wd);
  EXPECT_ERRNO(EEXIST, Watch(path, IN_OPEN | IN_MASK_CREATE));
  close(open(path.c_str(), O_WRONLY));
  ASSERT_EQ(chmod(path.c_str(), 0600), 0);
  ASSERT_EQ(truncate(path.c_str(), 9), 0);
  EXPECT_EQ(Events(), (List{{wd, IN_ATTRIB, ""}, {wd, IN_MODIFY, ""}}));
}

TEST_F(InotifyTest, RemovedWatchIsIgnored) {
  int wd = Watch(dir_.path());
  ASSERT_EQ(inotify_rm_watch(fd_.get(), wd), 0);
  dir_.Put("file");
  EXPECT_EQ(Events(), (List{{wd, IN_IGNORED, ""}}));
  EXPECT_ERRNO(EINVAL, inotify_rm_watch(fd_.get(), wd));
}

TEST_F(InotifyTest, UnlinkedFilesCanBeExcluded) {
  std::string path = dir_.Put("file");
  Fd fd(open(path.c_str(), O_WRONLY));
  int wd = Watch(dir_.path(), IN_MODIFY | IN_EXCL_UNLINK);
  ASSERT_EQ(write(fd.get(), "x", 1), 1);
  EXPECT_EQ(Events(), (List{{wd, IN_MODIFY, "file"}}));
  ASSERT_EQ(unlink(path.c_str()), 0);
  ASSERT_EQ(write(fd.get(), "x", 1), 1);
  EXPECT_EQ(Events(), List{});
}

TEST_F(InotifyTest, BadArguments) {
  std::string path = dir_.Put("file");
  TempFile other;
  Fd file = other.Open(O_RDONLY);
  EXPECT_ERRNO(EINVAL, Watch(path, 0));
  EXPECT_ERRNO(EINVAL, Watch(path, IN_OPEN | IN_MASK_ADD | IN_MASK_CREATE));
  EXPECT_ERRNO(ENOTDIR, Watch(path, IN_OPEN | IN_ONLYDIR));
  EXPECT_ERRNO(ENOENT, Watch(dir_ / "none"));
  EXPECT_ERRNO(EBADF, inotify_add_watch(-1, path.c_str(), IN_OPEN));
  EXPECT_ERRNO(EINVAL, inotify_add_watch(file.get(), path.c_str(), IN_OPEN));
  EXPECT_ERRNO(EFAULT, syscall(SYS_inotify_add_watch, fd_.get(), 1, IN_OPEN));
  EXPECT_ERRNO(EINVAL, inotify_rm_watch(file.get(), 1));
}

TEST_F(InotifyTest, ReadGivesWholeEvents) {
  Watch(dir_.path(), IN_CREATE);
  dir_.Put("a");
  dir_.Put("b");
  int bytes = 0;
  ASSERT_EQ(ioctl(fd_.get(), FIONREAD, &bytes), 0);
  EXPECT_EQ(bytes, 64);  // each 16, and a name padded to 16
  char text[64];
  EXPECT_ERRNO(EINVAL, read(fd_.get(), text, 31));
  EXPECT_EQ(read(fd_.get(), text, 63), 32);
  EXPECT_EQ(read(fd_.get(), text, 63), 32);
}

TEST_F(InotifyTest, PollWaitsForEvents) {
  pollfd p = {fd_.get(), POLLIN, 0};
  EXPECT_EQ(poll(&p, 1, 0), 0);
  Watch(dir_.path(), IN_CREATE);
  pid_t child = fork();
  if (child == 0) {
    dir_.Put("file");
    _exit(0);
  }
  EXPECT_EQ(poll(&p, 1, -1), 1);
  EXPECT_EQ(p.revents, POLLIN);
  waitpid(child, nullptr, 0);
}

}  // namespace
}  // namespace sandboxd::test
