// printf into a std::string.
#pragma once

#include <string>

namespace sandboxd {
__attribute__((format(printf, 1, 2))) std::string StrFormat(const char* format, ...);
}  // namespace sandboxd
