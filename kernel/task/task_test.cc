// Tasks on the fake platform: each program is a list of C++ functions, which the task runs as its
// system calls one after the other.
#include "kernel/task/task.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <map>

#include "kernel/ipc/futex.h"
#include "kernel/task/clone.h"
#include "kernel/task/session.h"
#include "kernel/task/tree.h"
#include "kernel/task/wait_child.h"
#include "platform/testing/fake_platform.h"

namespace sandboxd::task {

using Call = std::function<Result<uint64_t>(Task&)>;

// A friend of Task and ThreadGroup.
struct TaskTestPeer {
  // A process of its own session, as CreateProcess makes it, without a program.
  static Ref<Task> Make(Kernel& kernel, Ref<platform::AddressSpace> as) {
    auto group = MakeRef<ThreadGroup>(kernel, kernel.init_pid_ns(), MakeRef<SignalHandlers>());
    auto task = MakeRef<Task>(kernel, group, kernel.init_pid_ns());
    task->mm_ = MUST(mm::MemoryManager::Create(std::move(as), {}));  // the fake maps anything
    task->creds_ = creds::Credentials::Root(kernel.init_user_ns(), creds::CapSet::All());
    task->files_ = MakeRef<Task::Files>(MakeRef<vfs::FdTable>());
    task->fs_ = MakeRef<FsContext>(vfs::Path(), vfs::Path(), 022);
    task->uts_ns_ = MakeRef<UtsNamespace>("host", "", kernel.init_user_ns());
    Debris debris;
    MutexLock lock(kernel.tree_mutex());
    MUST(TreeOps::AllocateIds(*task, {}));  // the table is almost empty
    kernel.CountUserTask(creds::kRootUid, 1);
    TreeOps::AddProcess(*group, *task, nullptr, nullptr);
    auto session = TreeOps::NewSession(*group);
    TreeOps::JoinProcessGroup(*group, TreeOps::NewProcessGroup(*group, session), debris);
    return task;
  }
  // Adds steps to what the task does. False before its thread has a context, and after.
  static bool AddSteps(Task& task, const std::vector<uint64_t>& numbers) {
    // The context lives as long as this is set.
    MutexLock lock(task.task_mutex_);
    if (task.interruptible_ == nullptr) return false;
    auto* context = static_cast<platform::FakeContext*>(task.interruptible_);
    for (uint64_t number : numbers) context->AddSyscall(number);
    return true;
  }
};

namespace {

constexpr uint64_t kFirstCall = 1000;
constexpr UserAddr kPage{0x100000};

class Dispatcher final : public SyscallDispatcher {
 public:
  uint64_t Add(Call call) {
    MutexLock lock(mutex_);
    calls_.push_back(std::move(call));
    return kFirstCall + calls_.size() - 1;
  }
  Result<uint64_t> Dispatch(Task& task, uint64_t number, const std::array<uint64_t, 6>&) override {
    Call call;
    {
      MutexLock lock(mutex_);
      call = calls_[number - kFirstCall];
    }
    return call(task);
  }

 private:
  Mutex mutex_{LockRank::kLeaf};
  std::vector<Call> calls_ GUARDED_BY(mutex_);
};

class TaskTest : public ::testing::Test {
 protected:
  TaskTest() {
    auto dispatcher = std::make_unique<Dispatcher>();
    dispatcher_ = dispatcher.get();
    Kernel::Parts parts;
    parts.platform = std::make_unique<platform::FakePlatform>();
    parts.syscalls = std::move(dispatcher);
    parts.vfs = std::make_unique<vfs::Vfs>();
    kernel_ = std::make_unique<Kernel>(std::move(parts));
    kernel_->set_exit_listener([this](ThreadGroup& group) {
      ExitStatus status = *group.exit_status();
      MutexLock lock(mutex_);
      ended_[group.tgid().value] = status;
      changed_.NotifyAll();
    });
    // Process 1 is protected, so tests use others.
    init_ = Start({});
  }

  Ref<Task> Start(const std::vector<Call>& calls) {
    Ref<Task> task = TaskTestPeer::Make(*kernel_, MakeRef<platform::FakeAddressSpace>());
    MUST(task->Start());  // threads can be made in a test
    Run(*task, calls);
    return task;
  }
  // Adds to what the task does; it waits when it has done all.
  void Run(Task& task, const std::vector<Call>& calls) {
    std::vector<uint64_t> numbers;
    for (const Call& call : calls) numbers.push_back(dispatcher_->Add(call));
    while (!TaskTestPeer::AddSteps(task, numbers) && !task.group().exiting()) sched_yield();
  }
  ExitStatus WaitForEnd(int tgid) {
    MutexLock lock(mutex_);
    while (!ended_.contains(tgid)) changed_.Wait(mutex_);
    return ended_[tgid];
  }

  static Call ExitWith(int status) {
    return [status](Task& t) -> Result<uint64_t> {
      t.group().Kill({.code = status});
      return uint64_t{0};
    };
  }
  static Call Sleep() {
    return [](Task& t) -> Result<uint64_t> {
      for (;;) TRY(t.Block(std::nullopt));
    };
  }
  // The child does `calls`.
  Call Fork(std::vector<Call> calls, uint64_t flags = 0) {
    return [this, calls = std::move(calls), flags](Task& t) -> Result<uint64_t> {
      CloneArgs args;
      args.flags = flags;
      args.exit_signal = (flags & CLONE_THREAD) != 0 ? 0 : SIGCHLD;
      Tid tid = TRY(Clone(t, args));
      Run(*TRY(FindThread(t, tid)), calls);
      return static_cast<uint64_t>(tid.value);
    };
  }

  // Before the kernel: its end still calls the listener.
  Mutex mutex_{LockRank::kLeaf};
  CondVar changed_;
  std::map<int, ExitStatus> ended_ GUARDED_BY(mutex_);
  Dispatcher* dispatcher_ = nullptr;
  std::unique_ptr<Kernel> kernel_;
  Ref<Task> init_;
};

TEST_F(TaskTest, ExitGroupGivesItsStatus) {
  Ref<Task> task = Start({ExitWith(7)});
  ExitStatus status = WaitForEnd(task->tgid().value);
  EXPECT_EQ(status.code, 7);
  EXPECT_EQ(status.ToWaitStatus(), 7 << 8);
}

TEST_F(TaskTest, ExitOfTheOnlyThreadEndsTheProcess) {
  Ref<Task> task = Start({[](Task& t) -> Result<uint64_t> {
    t.PrepareExit(5);
    return uint64_t{0};
  }});
  EXPECT_EQ(WaitForEnd(task->tgid().value).code, 5);
}

TEST_F(TaskTest, ASignalEndsASleepingProcess) {
  Ref<Task> task = Start({Sleep()});
  EXPECT_TRUE(task->group().SendSignal(signal::SigInfo::Kernel(SIGTERM)).ok());
  EXPECT_EQ(WaitForEnd(task->tgid().value).signo, SIGTERM);
}

TEST_F(TaskTest, ASignalEndsAProcessThatRunsItsOwnCode) {
  Ref<Task> task = Start({});  // waits inside Switch
  EXPECT_TRUE(task->group().SendSignal(signal::SigInfo::Kernel(SIGINT)).ok());
  EXPECT_EQ(WaitForEnd(task->tgid().value).signo, SIGINT);
}

TEST_F(TaskTest, InitIsKilledFromOutsideOnly) {
  ASSERT_TRUE(init_->group().is_init());
  Run(*init_, {Sleep()});
  auto inside = signal::SigInfo::User(SIGKILL, SI_USER, 5, 0);
  EXPECT_TRUE(init_->group().SendSignal(inside).ok());
  EXPECT_TRUE(init_->group().SendSignal(signal::SigInfo::Kernel(SIGTERM)).ok());
  EXPECT_FALSE(init_->group().exiting());
  EXPECT_TRUE(init_->group().SendSignal(signal::SigInfo::Kernel(SIGKILL)).ok());
  EXPECT_EQ(WaitForEnd(1).signo, SIGKILL);
}

TEST_F(TaskTest, TheEndOfInitEndsItsNamespace) {
  Ref<Task> other = Start({Sleep()});
  Run(*init_, {ExitWith(2)});
  EXPECT_EQ(WaitForEnd(1).code, 2);
  EXPECT_EQ(WaitForEnd(other->tgid().value).signo, SIGKILL);
}

TEST_F(TaskTest, AWakeBeforeBlockIsNotLost) {
  Ref<Task> task = Start({[](Task& t) -> Result<uint64_t> {
                            t.Wake();
                            TRY(t.Block(std::nullopt));
                            EXPECT_TRUE(t.Block(Nanos(1)).Is(Errno::kETIMEDOUT));
                            return uint64_t{0};
                          },
                          ExitWith(0)});
  EXPECT_EQ(WaitForEnd(task->tgid().value).ToWaitStatus(), 0);
}

TEST_F(TaskTest, ParentReapsItsChild) {
  Ref<Task> task = Start({Fork({ExitWith(9)}),
                          [](Task& t) -> Result<uint64_t> {
                            WaitRequest request;
                            request.options = WEXITED;
                            WaitResult r = TRY(WaitForChild(t, request));
                            EXPECT_EQ(r.wait_status, 9 << 8);
                            EXPECT_TRUE(FindProcess(t, r.pid).Is(Errno::kESRCH));
                            EXPECT_TRUE(WaitForChild(t, request).Is(Errno::kECHILD));
                            return uint64_t{0};
                          },
                          ExitWith(0)});
  EXPECT_EQ(WaitForEnd(task->tgid().value).ToWaitStatus(), 0);
}

TEST_F(TaskTest, StopAndContinueAreSeenByTheParent) {
  Ref<Task> task = Start({Fork({Sleep()}),
                          [](Task& t) -> Result<uint64_t> {
                            WaitRequest request;
                            request.options = WSTOPPED | WCONTINUED | WEXITED;
                            auto child = TRY(FindProcess(t, Tid(t.tgid().value + 1)));
                            TRY(child->SendSignal(signal::SigInfo::Kernel(SIGSTOP)));
                            EXPECT_EQ(TRY(WaitForChild(t, request)).code, CLD_STOPPED);
                            TRY(child->SendSignal(signal::SigInfo::Kernel(SIGCONT)));
                            EXPECT_EQ(TRY(WaitForChild(t, request)).code, CLD_CONTINUED);
                            TRY(child->SendSignal(signal::SigInfo::Kernel(SIGSTOP)));
                            EXPECT_EQ(TRY(WaitForChild(t, request)).code, CLD_STOPPED);
                            TRY(child->SendSignal(signal::SigInfo::Kernel(SIGKILL)));
                            EXPECT_EQ(TRY(WaitForChild(t, request)).code, CLD_KILLED);
                            return uint64_t{0};
                          },
                          ExitWith(0)});
  EXPECT_EQ(WaitForEnd(task->tgid().value).ToWaitStatus(), 0);
}

TEST_F(TaskTest, KillEndsEveryThread) {
  constexpr uint64_t kThread = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD;
  Ref<Task> task = Start({Fork({Sleep()}, kThread), Fork({Sleep()}, kThread), Sleep()});
  while (task->group().thread_count() < 3) sched_yield();
  task->group().Kill({.code = 3});
  EXPECT_EQ(WaitForEnd(task->tgid().value).code, 3);
  EXPECT_EQ(task->group().thread_count(), 0);
}

TEST_F(TaskTest, VforkWaitsForTheChild) {
  std::atomic<bool> child_done{false};
  Ref<Task> task = Start({});
  // The child can only be given its work by somebody else than its waiting parent.
  Run(*task, {[](Task& t) -> Result<uint64_t> {
                CloneArgs args;
                args.flags = CLONE_VFORK | CLONE_VM;
                args.exit_signal = SIGCHLD;
                return static_cast<uint64_t>(TRY(Clone(t, args)).value);
              },
              [&](Task&) -> Result<uint64_t> {
                EXPECT_TRUE(child_done.load());
                return uint64_t{0};
              },
              ExitWith(0)});
  const Tid child_id(task->tgid().value + 1);
  Result<Ref<ThreadGroup>> child = Errno::kESRCH;
  while (!(child = FindProcess(*task, child_id)).ok() || (*child)->Leader() == nullptr) {
    sched_yield();
  }
  Run(*(*child)->Leader(), {[&](Task& t) -> Result<uint64_t> {
    child_done = true;
    t.PrepareExit(0);
    return uint64_t{0};
  }});
  EXPECT_EQ(WaitForEnd(task->tgid().value).ToWaitStatus(), 0);
}

TEST_F(TaskTest, AHandlerRunsOnAFrameAndReturns) {
  arch::Registers before, inside;
  auto map_stack = [](Task& t) -> Result<uint64_t> {
    platform::AddressSpace& as = t.mm()->address_space();
    TRY(as.Map(t.context(), {kPage, kPage + 0x4000}, PROT_READ | PROT_WRITE, {}));
    t.registers().set_sp(kPage.value + 0x4000);
    signal::SigAction action{
        .handler = 0x1234, .flags = SA_SIGINFO | 0x04000000, .restorer = 0x5678};
    TRY(t.SetSignalAction(SIGUSR1, &action));
    return uint64_t{0};
  };
  auto raise = [&](Task& t) -> Result<uint64_t> {
    before = t.registers();
    TRY(t.SendSignal(signal::SigInfo::User(SIGUSR1, SI_TKILL, 2, 0)));
    return uint64_t{77};
  };
  auto look_and_return = [&](Task& t) -> Result<uint64_t> {
    inside = t.registers();
    EXPECT_TRUE(t.signal_mask().Has(SIGUSR1));
    t.registers().set_sp(t.registers().sp() + 8);  // the handler's ret
    return t.ReturnFromSignal();
  };
  auto look_again = [&](Task& t) -> Result<uint64_t> {
    EXPECT_EQ(t.registers().sp(), before.sp());
    EXPECT_FALSE(t.signal_mask().Has(SIGUSR1));
    return uint64_t{0};
  };
  Ref<Task> task = Start({map_stack, raise, look_and_return, look_again, ExitWith(0)});
  EXPECT_EQ(WaitForEnd(task->tgid().value).ToWaitStatus(), 0);
  EXPECT_EQ(inside.ip(), 0x1234u + arch::Registers::kSyscallInstructionSize);
  EXPECT_EQ((inside.sp() + 8) % 16, 0u);
  EXPECT_LT(inside.sp(), before.sp());
}

TEST_F(TaskTest, ACallThatNothingInterruptedIsRestarted) {
  std::atomic<int> tries{0};
  uint64_t ip = 0;
  auto restarting = [&](Task& t) -> Result<uint64_t> {
    tries++;
    ip = t.registers().ip();
    return Errno::kERESTARTSYS;
  };
  auto look = [&](Task& t) -> Result<uint64_t> {
    // One instruction back from there, and one on by this call.
    EXPECT_EQ(t.registers().ip(), ip);
    return uint64_t{0};
  };
  Ref<Task> task = Start({restarting, look, ExitWith(0)});
  EXPECT_EQ(WaitForEnd(task->tgid().value).ToWaitStatus(), 0);
  EXPECT_EQ(tries.load(), 1);
}

TEST_F(TaskTest, SigchldComesWithTheChildsStatus) {
  Ref<Task> task = Start({[](Task& t) -> Result<uint64_t> {
                            t.set_signal_mask(signal::SigSet::Of(SIGCHLD));
                            return uint64_t{0};
                          },
                          Fork({ExitWith(4)}),
                          [](Task& t) -> Result<uint64_t> {
                            auto wanted = signal::SigSet::Of(SIGCHLD);
                            auto info = TRY(t.WaitForSignal(wanted, std::nullopt));
                            EXPECT_EQ(info.code, CLD_EXITED);
                            EXPECT_EQ(info.child.status, 4);
                            return uint64_t{0};
                          },
                          ExitWith(0)});
  EXPECT_EQ(WaitForEnd(task->tgid().value).ToWaitStatus(), 0);
}

TEST_F(TaskTest, TheKernelCanGoWithEverythingRunning) {
  for (int i = 0; i < 5; i++) Start({Fork({Sleep()}), Sleep()});
}

}  // namespace
}  // namespace sandboxd::task
