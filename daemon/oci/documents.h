// Documents of the OCI runtime specification that a runtime hands out.
#pragma once

#include <string>

namespace sandboxd::daemon::oci {

// A config.json to begin with: a shell in the folder "rootfs".
std::string SpecTemplate();
// What is understood of the runtime specification (features.md of version 1.1).
std::string FeaturesDocument();

}  // namespace sandboxd::daemon::oci
