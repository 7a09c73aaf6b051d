#include "gofer/server/options.h"

#include <charconv>
#include <optional>
#include <string_view>

namespace sandboxd::gofer {
namespace {

std::optional<int> ParseFd(std::string_view text) {
  int fd = -1;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), fd);
  if (error != std::errc() || end != text.data() + text.size() || fd < 0) return std::nullopt;
  return fd;
}

bool ParseSource(std::string_view text, TreeOption& tree) {
  if (text.starts_with("fd:")) {
    std::optional<int> fd = ParseFd(text.substr(3));
    if (fd) tree.source = *fd;
    return fd.has_value();
  }
  tree.source = std::string(text);
  return !text.empty();
}

// PATH,ro|rw,N: from the right, because PATH may contain commas.
bool ParseMount(std::string_view text, TreeOption& tree) {
  size_t second = text.rfind(',');
  if (second == text.npos || second == 0) return false;
  size_t first = text.rfind(',', second - 1);
  if (first == text.npos) return false;
  std::string_view access = text.substr(first + 1, second - first - 1);
  if (access != "ro" && access != "rw") return false;
  tree.access = access == "ro" ? Access::kReadOnly : Access::kReadWrite;
  std::optional<int> socket = ParseFd(text.substr(second + 1));
  if (!socket) return false;
  tree.socket_fd = *socket;
  return ParseSource(text.substr(0, first), tree);
}

class Parser {
 public:
  explicit Parser(const std::vector<std::string>& arguments) : arguments_(arguments) {}

  std::variant<Options, UsageError> Parse() {
    options_.trees.emplace_back();
    for (; at_ < arguments_.size(); ++at_) {
      std::string problem = ParseOne(arguments_[at_]);
      if (!problem.empty()) return UsageError{problem};
    }
    const TreeOption& root = options_.trees[0];
    if (options_.print_seccomp) return options_;
    if (std::holds_alternative<std::monostate>(root.source)) {
      return UsageError{"--root=PATH or --root-fd=N is missing"};
    }
    if (root.socket_fd < 0) return UsageError{"--socket-fd=N is missing"};
    return options_;
  }

 private:
  // "" or what is wrong with this argument.
  std::string ParseOne(const std::string& argument) {
    std::string name = argument.substr(0, argument.find('='));
    TreeOption& root = options_.trees[0];
    if (argument == "--readonly") {
      root.access = Access::kReadOnly;
      return "";
    }
    if (argument == "--print-seccomp") {
      options_.print_seccomp = true;
      return "";
    }
    std::optional<std::string> value = ValueOf(argument, name);
    if (!value) return name + " needs a value";
    if (name == "--root") {
      return ParseSource(*value, root) ? "" : "--root=" + *value + " is not a path";
    }
    if (name == "--root-fd" || name == "--socket-fd" || name == "--log-fd") {
      std::optional<int> fd = ParseFd(*value);
      if (!fd) return name + "=" + *value + " is not a descriptor's number";
      if (name == "--root-fd") root.source = *fd;
      if (name == "--socket-fd") root.socket_fd = *fd;
      if (name == "--log-fd") options_.log_fd = *fd;
      return "";
    }
    if (name == "--mount") {
      TreeOption mount;
      if (!ParseMount(*value, mount)) return "--mount=" + *value + " is not PATH,ro|rw,FD";
      options_.trees.push_back(std::move(mount));
      return "";
    }
    return "unknown argument " + argument;
  }

  // "--name=value" or "--name value". A name that is not ours needs none.
  std::optional<std::string> ValueOf(const std::string& argument, const std::string& name) {
    if (name.size() < argument.size()) return argument.substr(name.size() + 1);
    if (name != "--root" && name != "--root-fd" && name != "--socket-fd" && name != "--log-fd" &&
        name != "--mount") {
      return "";
    }
    if (at_ + 1 == arguments_.size()) return std::nullopt;
    return arguments_[++at_];
  }

  const std::vector<std::string>& arguments_;
  size_t at_ = 0;
  Options options_;
};

}  // namespace

std::variant<Options, UsageError> ParseOptions(const std::vector<std::string>& arguments) {
  return Parser(arguments).Parse();
}

}  // namespace sandboxd::gofer
