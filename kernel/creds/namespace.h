// Namespace: what all kinds of namespaces have in common (namespaces(7)): a kind, a number that
// tells them apart, and the user namespace whose capabilities rule it.
#pragma once

#include <cstdint>

#include "platform/base/ref.h"

namespace sandboxd::creds {

class UserNamespace;

class Namespace : public RefCounted {
 public:
  // CLONE_NEWUTS and its relatives: also what setns(2) takes as its type.
  int kind() const { return kind_; }
  // The inode number of its file in nsfs; never used twice in one kernel process.
  uint64_t number() const { return number_; }
  // Null for the sandbox's initial user namespace; also for a namespace that it rules from boot on.
  virtual const UserNamespace* owner_ns() const = 0;

 protected:
  explicit Namespace(int kind);
  ~Namespace() override = default;

 private:
  const int kind_;
  const uint64_t number_;
};

}  // namespace sandboxd::creds
