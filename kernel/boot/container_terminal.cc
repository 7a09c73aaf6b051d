#include "kernel/boot/container_terminal.h"

#include <fcntl.h>

#include <string>

#include "kernel/fs/pts/devpts.h"
#include "kernel/fs/pts/terminal.h"

namespace sandboxd::boot {
namespace {

// Hangs the slave side up when the relay has let go of both directions.
class MasterSide : public RefCounted {
 public:
  MasterSide(Ref<vfs::Superblock> devpts, Ref<pts::Terminal> terminal)
      : devpts_(std::move(devpts)), terminal_(std::move(terminal)) {}
  pts::Terminal& terminal() { return *terminal_; }

 private:
  ~MasterSide() override { static_cast<pts::DevPts&>(*devpts_).CloseTerminal(*terminal_); }
  template <typename T, typename... Args>
  friend Ref<T> sandboxd::MakeRef(Args&&...);
  const Ref<vfs::Superblock> devpts_;
  const Ref<pts::Terminal> terminal_;
};

class MasterEnd final : public RelayEnd {
 public:
  explicit MasterEnd(Ref<MasterSide> side) : side_(std::move(side)) {}
  Result<size_t> Read(Bytes out) override { return side_->terminal().MasterRead(out); }
  Result<size_t> Write(ConstBytes in) override { return side_->terminal().MasterWrite(in); }
  void AddWaiter(wait::WaitEntry& entry, wait::EventMask mask) override {
    side_->terminal().master_queue().Add(entry, mask);
  }

 private:
  const Ref<MasterSide> side_;
};

pts::WindowSize Size(uint32_t rows, uint32_t cols) {
  pts::WindowSize size{};
  size.rows = static_cast<uint16_t>(rows == 0 ? 24 : rows);
  size.columns = static_cast<uint16_t>(cols == 0 ? 80 : cols);
  return size;
}

}  // namespace

Result<ContainerTerminal> MakeContainerTerminal(vfs::Vfs& vfs, KernelCaller& caller, vfs::KUid uid,
                                                uint32_t rows, uint32_t cols) {
  vfs::Path folder = TRY(vfs.Resolve(caller, "/dev/pts"));
  pts::DevPts* devpts = pts::DevPts::Of(*folder.dentry->inode());
  if (devpts == nullptr) return Errno::kENODEV;
  constexpr uint32_t kTtyGroup = 5;
  Ref<pts::Terminal> terminal = TRY(devpts->NewTerminal(uid, vfs::KGid(kTtyGroup)));
  auto side = MakeRef<MasterSide>(folder.mount->superblock(), terminal);
  terminal->set_locked(false);
  terminal->SetWindowSize(Size(rows, cols));
  std::string slave = "/dev/pts/" + std::to_string(terminal->index());
  ContainerTerminal out;
  out.slave = TRY(vfs.Open(caller, slave, {}, {O_RDWR | O_NOCTTY, 0}));
  out.terminal = terminal;
  out.input = std::make_unique<MasterEnd>(side);
  out.output = std::make_unique<MasterEnd>(side);
  return out;
}

void ResizeContainerTerminal(RefCounted& terminal, uint32_t rows, uint32_t cols) {
  static_cast<pts::Terminal&>(terminal).SetWindowSize(Size(rows, cols));
}

}  // namespace sandboxd::boot
