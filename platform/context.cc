#include "platform/context.h"

#include <utility>

#include "platform/address_space.h"

namespace sandboxd::platform {

Context::Context(Ref<AddressSpace> as) : address_space_(std::move(as)) {}
Context::~Context() = default;

}  // namespace sandboxd::platform
