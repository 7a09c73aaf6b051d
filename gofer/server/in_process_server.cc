#include "gofer/server/in_process_server.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

namespace sandboxd::gofer {

TempTree::TempTree() {
  const char* base = ::getenv("TEST_TMPDIR");
  path_ = std::string(base != nullptr ? base : "/tmp") + "/gofer.XXXXXX";
  CHECK(::mkdtemp(path_.data()) != nullptr);
  // The server takes modes from its clients as they are.
  ::umask(0);
}

TempTree::~TempTree() {
  auto remove = [](const char* path, const struct stat*, int, struct FTW*) {
    return ::remove(path);
  };
  ::nftw(path_.c_str(), remove, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

void TempTree::Write(const std::string& relative, const std::string& content) const {
  std::ofstream(At(relative), std::ios::binary) << content;
}

std::string TempTree::Read(const std::string& relative) const {
  std::ifstream in(At(relative), std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

InProcessServer::InProcessServer(const std::string& folder, Access access) {
  attach_point_.root = UniqueFd(::open(folder.c_str(), O_PATH | O_CLOEXEC));
  CHECK(attach_point_.root.valid());
  attach_point_.access = access;
}

InProcessServer::~InProcessServer() { Join(); }

UniqueFd InProcessServer::Connect(size_t max_fids) {
  int fds[2];
  CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
  threads_.emplace_back([this, socket = fds[1], max_fids] {
    Session(host_, attach_point_, UniqueFd(socket), max_fids).Run();
  });
  return UniqueFd(fds[0]);
}

void InProcessServer::Join() {
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

}  // namespace sandboxd::gofer
