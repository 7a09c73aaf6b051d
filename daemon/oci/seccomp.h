// linux.seccomp of the runtime specification, compiled to the classic BPF program that the
// application kernel runs before every call of the container's processes.
#pragma once

#include <string>

#include "daemon/oci/json_reader.h"

namespace sandboxd::daemon::oci {

struct SeccompProfile {
  std::string program;  // struct sock_filter[], as bytes
  bool log = false;     // SECCOMP_FILTER_FLAG_LOG
};

// Reads the object `in` and compiles it. What is wrong goes to the findings; then the result is of
// no use. Calls that this machine's libseccomp doesn't know are passed over, as runc does.
SeccompProfile ReadSeccomp(ObjectReader& in);

}  // namespace sandboxd::daemon::oci
