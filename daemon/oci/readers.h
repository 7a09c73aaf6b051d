// The parts of a specification; see spec.h.
#pragma once

#include "daemon/oci/json_reader.h"
#include "daemon/oci/spec.h"

namespace sandboxd::daemon::oci {

void ReadProcess(ObjectReader& in, v1::ProcessSpec& out);
void ReadResources(ObjectReader& in, v1::Resources& out);
void ReadLinux(ObjectReader& in, Spec& out);

}  // namespace sandboxd::daemon::oci
