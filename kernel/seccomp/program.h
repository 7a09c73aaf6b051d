// Program: one classic BPF program over struct seccomp_data (seccomp(2), and Linux's
// Documentation/networking/filter.rst for the instructions).
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "platform/base/result.h"

namespace sandboxd::seccomp {

inline constexpr size_t kMaxInstructions = 4096;  // BPF_MAXINSNS

class Program {
 public:
  // EINVAL for a program that seccomp(2) would refuse.
  static Result<Program> Create(std::vector<sock_filter> code);

  // What the program returns: a SECCOMP_RET_* value.
  uint32_t Run(const seccomp_data& data) const;
  // The same, if the number and the architecture alone decide it.
  std::optional<uint32_t> RunConstant(uint32_t number, uint32_t arch) const;
  size_t size() const { return code_.size(); }
  const std::vector<sock_filter>& code() const { return code_; }

 private:
  explicit Program(std::vector<sock_filter> code) : code_(std::move(code)) {}
  // `known`: bytes of `data` that may be looked at; nullopt if more are needed.
  std::optional<uint32_t> Execute(const seccomp_data& data, size_t known) const;
  std::vector<sock_filter> code_;
};

}  // namespace sandboxd::seccomp
