#include "tools/oci/container_store.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "daemon/spawn/process_handle.h"

namespace sandboxd::oci {
namespace {

using nlohmann::json;

Error HostError(const std::string& what, int error) {
  return Error::Internal(daemon::ErrnoText(what, error));
}

std::string ToText(const ContainerRecord& r) {
  return json{{"id", r.id},
              {"ociVersion", r.oci_version},
              {"bundle", r.bundle},
              {"address", r.address},
              {"created", r.created},
              {"monitorPid", r.monitor_pid},
              {"monitorStart", r.monitor_start},
              {"annotations", r.annotations},
              {"hooks", r.hooks}}
      .dump();
}

bool FromText(const std::string& text, ContainerRecord* r) {
  const json j = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!j.is_object()) return false;
  try {
    r->id = j.at("id");
    r->oci_version = j.at("ociVersion");
    r->bundle = j.at("bundle");
    r->address = j.at("address");
    r->created = j.at("created");
    r->monitor_pid = j.at("monitorPid");
    r->monitor_start = j.at("monitorStart");
    r->annotations = j.at("annotations").get<std::map<std::string, std::string>>();
    r->hooks = j.at("hooks");
  } catch (const json::exception&) {
    return false;
  }
  return true;
}

}  // namespace

bool ContainerRecord::MonitorAlive() const {
  return daemon::ProcessHandle::Adopt({monitor_pid, monitor_start}).has_value();
}

Outcome<void> CheckContainerId(const std::string& id) {
  const bool good = !id.empty() && id.size() <= 128 && isalnum(static_cast<unsigned char>(id[0])) &&
                    std::all_of(id.begin(), id.end(), [](unsigned char c) {
                      return isalnum(c) || c == '_' || c == '.' || c == '-';
                    });
  if (good) return {};
  return Error::Internal("\"" + id +
                         "\" is no container id: up to 128 letters, digits, \"_\", \".\" and "
                         "\"-\", beginning with a letter or digit");
}

Outcome<std::string> ReadWholeFile(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return HostError("cannot open " + path, errno);
  std::string text;
  char buffer[16 << 10];
  for (;;) {
    const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return HostError("cannot read " + path, errno);
    if (n == 0) return text;
    text.append(buffer, static_cast<size_t>(n));
    if (text.size() > (16u << 20)) return Error::Internal(path + " is too large");
  }
}

Outcome<void> ReplaceFile(const std::string& path, const std::string& content) {
  const std::string temporary = path + ".new";
  UniqueFd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd.valid()) return HostError("cannot write " + path, errno);
  if (::write(fd.get(), content.data(), content.size()) != static_cast<ssize_t>(content.size()) ||
      ::rename(temporary.c_str(), path.c_str()) != 0) {
    const int error = errno;
    ::unlink(temporary.c_str());
    return HostError("cannot write " + path, error);
  }
  return {};
}

Outcome<UniqueFd> ContainerStore::Lock() const {
  std::error_code error;
  std::filesystem::create_directories(root_, error);
  if (error) return HostError("cannot make --root " + root_, error.value());
  const std::string path = root_ + "/.lock";
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd.valid() || ::flock(fd.get(), LOCK_EX) != 0)
    return HostError("cannot lock " + path, errno);
  return fd;
}

bool ContainerStore::Exists(const std::string& id) const {
  return ::access((Folder(id) + "/state.json").c_str(), F_OK) == 0;
}

Outcome<void> ContainerStore::Save(const ContainerRecord& record) const {
  const std::string folder = Folder(record.id);
  if (::mkdir(folder.c_str(), 0711) != 0 && errno != EEXIST) {
    return HostError("cannot make " + folder, errno);
  }
  return ReplaceFile(folder + "/state.json", ToText(record));
}

Outcome<ContainerRecord> ContainerStore::Load(const std::string& id) const {
  TRY(CheckContainerId(id));
  if (!Exists(id)) {
    return Error(v1::ERROR_REASON_SANDBOX_NOT_FOUND, id + ": container does not exist");
  }
  ContainerRecord record;
  if (!FromText(TRY(ReadWholeFile(Folder(id) + "/state.json")), &record)) {
    return Error::Internal(Folder(id) + "/state.json is damaged");
  }
  return record;
}

std::vector<ContainerRecord> ContainerStore::List() const {
  std::vector<ContainerRecord> all;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(root_, error)) {
    const std::string name = entry.path().filename();
    if (name[0] == '.' || !Exists(name)) continue;
    auto record = Load(name);
    if (record.ok()) all.push_back(std::move(*record));
  }
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  return all;
}

void ContainerStore::Remove(const std::string& id) const {
  std::error_code ignored;
  std::filesystem::remove_all(Folder(id), ignored);
}

}  // namespace sandboxd::oci
