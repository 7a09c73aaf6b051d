// Files of cgroups: small texts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace sandboxd::daemon {

// Without the line's end; nothing if it can't be read.
std::optional<std::string> ReadCgroupFile(const std::string& path);
std::optional<uint64_t> ReadCgroupNumber(const std::string& path);
// The number behind `key` in a file of "key number" lines.
std::optional<uint64_t> ReadCgroupKey(const std::string& path, const std::string& key);
// 0 or the errno.
int WriteCgroupFile(const std::string& path, const std::string& text);

}  // namespace sandboxd::daemon
