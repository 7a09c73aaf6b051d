// A call that ends when a process does. It holds no thread while it waits.
#pragma once

#include <functional>

#include "daemon/service/calls.h"

namespace sandboxd::daemon {

// `fill` puts the outcome into the response.
grpc::ServerUnaryReactor* StartWait(const ServiceContext& context,
                                    const grpc::CallbackServerContext& call,
                                    const v1::ProcessRef& process,
                                    std::function<void(const v1::WaitProcessResponse&)> fill);

}  // namespace sandboxd::daemon
