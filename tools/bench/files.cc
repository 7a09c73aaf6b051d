// Reading and writing at all sizes, and names.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

#include "tools/bench/measure.h"

namespace sandboxd::bench {
namespace {

constexpr size_t kMost = 1 << 20;

// A file of 1 MiB.
int MakeFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  Check(fd >= 0, path.c_str());
  const std::string block(kMost, 'x');
  Check(write(fd, block.data(), block.size()) == static_cast<ssize_t>(block.size()), "write");
  return fd;
}

enum class Where { kMemory, kDisk };
enum class Way { kRead, kWrite };

std::string Folder(const Settings& settings, Where where) {
  return where == Where::kMemory ? settings.memory_folder : settings.disk_folder;
}

double Transfer(const Settings& settings, Where where, Way way, size_t size) {
  const std::string path = Folder(settings, where) + "/bench-transfer";
  const int fd = MakeFile(path);
  unlink(path.c_str());
  std::string buffer(size, 'y');
  return Measure(settings, [&] {
    const ssize_t n =
        way == Way::kRead ? pread(fd, buffer.data(), size, 0) : pwrite(fd, buffer.data(), size, 0);
    Check(n == static_cast<ssize_t>(size), "short transfer");
  });
}

Benchmark TransferOf(const char* name, const char* what, Where where, Way way, size_t size) {
  return {name, "ns", what, [=](const Settings& s) { return Transfer(s, where, way, size); }};
}

// A file four folders deep, and work with its name.
double WithDeepFile(const Settings& settings, Where where,
                    const std::function<void(const char* path)>& work) {
  std::string folder = Folder(settings, where) + "/bench-deep";
  for (const char* name : {"", "/a", "/b", "/c"}) {
    folder += name;
    mkdir(folder.c_str(), 0755);
  }
  const std::string path = folder + "/file";
  close(MakeFile(path));
  return Measure(settings, [&] { work(path.c_str()); });
}

void Stat(const char* path) {
  struct stat st;
  Check(stat(path, &st) == 0, "stat");
}
void Missing(const char* path) {
  struct stat st;
  char other[4096];
  snprintf(other, sizeof other, "%s-missing", path);
  Check(stat(other, &st) != 0, "stat of what isn't there");
}
void OpenClose(const char* path) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  Check(fd >= 0, "open");
  close(fd);
}
void OpenReadClose(const char* path) {
  char buffer[4096];
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  Check(fd >= 0 && read(fd, buffer, sizeof buffer) == sizeof buffer, "open and read");
  close(fd);
}

Benchmark NameWork(const char* name, const char* what, Where where, void (*work)(const char*)) {
  return {name, "ns", what, [=](const Settings& s) { return WithDeepFile(s, where, work); }};
}

double CreateUnlink(const Settings& settings, Where where) {
  const std::string path = Folder(settings, where) + "/bench-new";
  return Measure(settings, [&] {
    const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    Check(fd >= 0, "create");
    close(fd);
    Check(unlink(path.c_str()) == 0, "unlink");
  });
}

double ListFolder(const Settings& settings, Where where) {
  const std::string folder = Folder(settings, where) + "/bench-list";
  mkdir(folder.c_str(), 0755);
  for (int i = 0; i < 100; ++i) {
    close(open((folder + "/file" + std::to_string(i)).c_str(), O_CREAT | O_WRONLY, 0644));
  }
  return Measure(settings, [&] {
    DIR* dir = opendir(folder.c_str());
    Check(dir != nullptr, "opendir");
    int count = 0;
    while (readdir(dir) != nullptr) ++count;
    Check(count >= 100, "readdir");
    closedir(dir);
  });
}

}  // namespace

std::vector<Benchmark> FileBenchmarks() {
  const auto memory = Where::kMemory;
  const auto disk = Where::kDisk;
  return {
      TransferOf("pread_1", "pread of 1 byte, tmpfs", memory, Way::kRead, 1),
      TransferOf("pread_64", "pread of 64 bytes, tmpfs", memory, Way::kRead, 64),
      TransferOf("pread_1k", "pread of 1 KiB, tmpfs", memory, Way::kRead, 1024),
      TransferOf("pread_4k", "pread of 4 KiB, tmpfs", memory, Way::kRead, 4096),
      TransferOf("pread_64k", "pread of 64 KiB, tmpfs", memory, Way::kRead, 65536),
      TransferOf("pread_1m", "pread of 1 MiB, tmpfs", memory, Way::kRead, kMost),
      TransferOf("pwrite_1", "pwrite of 1 byte, tmpfs", memory, Way::kWrite, 1),
      TransferOf("pwrite_4k", "pwrite of 4 KiB, tmpfs", memory, Way::kWrite, 4096),
      TransferOf("pwrite_64k", "pwrite of 64 KiB, tmpfs", memory, Way::kWrite, 65536),
      TransferOf("pwrite_1m", "pwrite of 1 MiB, tmpfs", memory, Way::kWrite, kMost),
      TransferOf("pread_4k_root", "pread of 4 KiB, root file system", disk, Way::kRead, 4096),
      TransferOf("pwrite_4k_root", "pwrite of 4 KiB, root file system", disk, Way::kWrite, 4096),
      NameWork("stat_tmpfs", "stat, four folders deep, tmpfs", memory, Stat),
      NameWork("stat", "stat, four folders deep, root file system", disk, Stat),
      NameWork("stat_missing", "stat of a missing name, root file system", disk, Missing),
      NameWork("open_close_tmpfs", "open and close, tmpfs", memory, OpenClose),
      NameWork("open_close", "open and close, root file system", disk, OpenClose),
      NameWork("open_read_close", "open, read 4 KiB, close, root file system", disk, OpenReadClose),
      {"create_unlink_tmpfs", "ns", "create, close, unlink, tmpfs",
       [](const Settings& s) { return CreateUnlink(s, Where::kMemory); }},
      {"create_unlink", "ns", "create, close, unlink, root file system",
       [](const Settings& s) { return CreateUnlink(s, Where::kDisk); }},
      {"list_100", "ns", "list a folder of 100 files, root file system",
       [](const Settings& s) { return ListFolder(s, Where::kDisk); }},
  };
}

}  // namespace sandboxd::bench
