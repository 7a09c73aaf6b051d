// What all files of one proc instance share.
#pragma once

#include "kernel/fs/proc/proc_fs.h"

namespace sandboxd::proc {

class ProcSuperblock final : public vfs::Superblock {
 public:
  ProcSuperblock(task::Kernel& kernel, Ref<task::PidNamespace> ns, ProcOptions options);

  std::string_view type_name() const override { return "proc"; }
  Ref<vfs::Inode> RootInode() override { return root_; }
  Result<vfs::FsStat> StatFs() override;

  task::Kernel& kernel() const { return kernel_; }
  // Whose process ids this instance shows.
  task::PidNamespace& ns() const { return *ns_; }
  const Ref<task::PidNamespace>& ns_ref() const { return ns_; }
  const ProcOptions& options() const { return options_; }

 private:
  ~ProcSuperblock() override = default;
  task::Kernel& kernel_;  // outlives every file system
  const Ref<task::PidNamespace> ns_;
  const ProcOptions options_;
  Ref<vfs::Inode> root_;
};

// The tables, by file.
void AddGlobalFiles(pseudo::Builder& builder, pseudo::TableDirectory& root, ProcSuperblock& sb);
void AddMemoryFiles(pseudo::Builder& builder, pseudo::TableDirectory& root, ProcSuperblock& sb);
void AddEmptyFiles(pseudo::Builder& builder, pseudo::TableDirectory& root);
void AddSysctl(pseudo::Builder& builder, pseudo::TableDirectory& root, ProcSuperblock& sb);
std::string CpuInfo(unsigned cpus);

}  // namespace sandboxd::proc
