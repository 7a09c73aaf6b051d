// System V IPC (sysvipc(7)).
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include <csignal>
#include <cstring>
#include <thread>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

union SemArgument {
  int value;
  semid_ds* ds;
  unsigned short* array;
};

class SysvTest : public testing::Test {
 protected:
  ~SysvTest() override {
    if (sem_ >= 0) semctl(sem_, 0, IPC_RMID);
    if (msg_ >= 0) msgctl(msg_, IPC_RMID, nullptr);
    if (shm_ >= 0) shmctl(shm_, IPC_RMID, nullptr);
  }
  int Operate(unsigned short number, short change, short flags = 0) {
    sembuf op = {number, change, flags};
    return semop(sem_, &op, 1);
  }
  int sem_ = -1, msg_ = -1, shm_ = -1;
  const key_t key_ = 0x5a000000 + getpid();
};

TEST_F(SysvTest, SemaphoresCountAndWait) {
  sem_ = semget(IPC_PRIVATE, 3, 0600);
  ASSERT_GE(sem_, 0);
  EXPECT_EQ(Operate(0, 2), 0);
  EXPECT_EQ(semctl(sem_, 0, GETVAL), 2);
  EXPECT_EQ(semctl(sem_, 0, GETPID), getpid());
  EXPECT_ERRNO(EAGAIN, Operate(0, -3, IPC_NOWAIT));
  EXPECT_ERRNO(EAGAIN, Operate(0, 0, IPC_NOWAIT));
  EXPECT_ERRNO(EFBIG, Operate(3, 1));
  std::thread waiter([&] { EXPECT_EQ(Operate(0, -3), 0); });
  while (semctl(sem_, 0, GETNCNT) == 0) sched_yield();
  EXPECT_EQ(Operate(0, 1), 0);
  waiter.join();
  EXPECT_EQ(semctl(sem_, 0, GETVAL), 0);
}

TEST_F(SysvTest, OperationsAreAllOrNothing) {
  sem_ = semget(IPC_PRIVATE, 2, 0600);
  sembuf both[] = {{0, 1, IPC_NOWAIT}, {1, -1, IPC_NOWAIT}};
  EXPECT_ERRNO(EAGAIN, semop(sem_, both, 2));
  EXPECT_EQ(semctl(sem_, 0, GETVAL), 0);
  unsigned short values[] = {4, 5};
  SemArgument argument;
  argument.array = values;
  EXPECT_EQ(semctl(sem_, 0, SETALL, argument), 0);
  EXPECT_EQ(semop(sem_, both, 2), 0);
  unsigned short got[2];
  argument.array = got;
  EXPECT_EQ(semctl(sem_, 0, GETALL, argument), 0);
  EXPECT_EQ(got[0], 5);
  EXPECT_EQ(got[1], 4);
  argument.value = 40000;
  EXPECT_ERRNO(ERANGE, semctl(sem_, 0, SETVAL, argument));
}

TEST_F(SysvTest, UndoHappensWhenTheProcessEnds) {
  sem_ = semget(IPC_PRIVATE, 1, 0600);
  EXPECT_EQ(Operate(0, 1), 0);
  EXPECT_TRUE(ExitedWith(InChild([&] { return Operate(0, -1, SEM_UNDO); }), 0));
  EXPECT_EQ(semctl(sem_, 0, GETVAL), 1);
}

TEST_F(SysvTest, RemovalWakesWaiters) {
  sem_ = semget(IPC_PRIVATE, 1, 0600);
  int error = 0;
  std::thread waiter([&] { error = Operate(0, -1) == -1 ? errno : 0; });
  while (semctl(sem_, 0, GETNCNT) == 0) sched_yield();
  EXPECT_EQ(semctl(sem_, 0, IPC_RMID), 0);
  waiter.join();
  EXPECT_EQ(error, EIDRM);
  EXPECT_ERRNO(EINVAL, Operate(0, 1));
  sem_ = -1;
}

TEST_F(SysvTest, KeysAreFound) {
  EXPECT_ERRNO(ENOENT, semget(key_, 1, 0600));
  sem_ = semget(key_, 2, IPC_CREAT | 0600);
  ASSERT_GE(sem_, 0);
  EXPECT_EQ(semget(key_, 1, IPC_CREAT | 0600), sem_);
  EXPECT_ERRNO(EEXIST, semget(key_, 1, IPC_CREAT | IPC_EXCL | 0600));
  EXPECT_ERRNO(EINVAL, semget(key_, 3, 0600));
  semid_ds ds;
  SemArgument argument;
  argument.ds = &ds;
  EXPECT_EQ(semctl(sem_, 0, IPC_STAT, argument), 0);
  EXPECT_EQ(ds.sem_perm.__key, key_);
  EXPECT_EQ(ds.sem_perm.mode & 0777, 0600);
  EXPECT_EQ(ds.sem_nsems, 2u);
}

struct Message {
  long type;
  char text[16];
};

TEST_F(SysvTest, MessagesAreChosenByType) {
  msg_ = msgget(IPC_PRIVATE, 0600);
  ASSERT_GE(msg_, 0);
  for (long type : {3, 1, 2, 3}) {
    Message m = {type, "text"};
    EXPECT_EQ(msgsnd(msg_, &m, 5, 0), 0);
  }
  Message m;
  EXPECT_EQ(msgrcv(msg_, &m, sizeof(m.text), 2, 0), 5);
  EXPECT_EQ(m.type, 2);
  EXPECT_EQ(msgrcv(msg_, &m, sizeof(m.text), -3, 0), 5);
  EXPECT_EQ(m.type, 1);
  EXPECT_ERRNO(E2BIG, msgrcv(msg_, &m, 2, 0, 0));
  EXPECT_EQ(msgrcv(msg_, &m, 2, 0, MSG_NOERROR), 2);
  EXPECT_EQ(m.type, 3);
  EXPECT_ERRNO(ENOMSG, msgrcv(msg_, &m, 10, 3, IPC_NOWAIT | MSG_EXCEPT));
  EXPECT_EQ(msgrcv(msg_, &m, 10, 0, 0), 5);
  EXPECT_ERRNO(ENOMSG, msgrcv(msg_, &m, 10, 0, IPC_NOWAIT));
  m.type = 0;
  EXPECT_ERRNO(EINVAL, msgsnd(msg_, &m, 1, 0));
}

TEST_F(SysvTest, AFullQueueWaits) {
  msg_ = msgget(IPC_PRIVATE, 0600);
  Message m = {1, "0123456789"};
  int sent = 0;
  while (msgsnd(msg_, &m, 16, IPC_NOWAIT) == 0) sent++;
  EXPECT_EQ(errno, EAGAIN);
  msqid_ds ds;
  EXPECT_EQ(msgctl(msg_, IPC_STAT, &ds), 0);
  EXPECT_EQ(ds.msg_qnum, static_cast<msgqnum_t>(sent));
  std::thread sender([&] { EXPECT_EQ(msgsnd(msg_, &m, 16, 0), 0); });
  Message got;
  for (int i = 0; i <= sent; i++) EXPECT_EQ(msgrcv(msg_, &got, 16, 0, 0), 16);
  sender.join();
}

TEST_F(SysvTest, SharedMemoryIsShared) {
  shm_ = shmget(key_, 5000, IPC_CREAT | 0600);
  ASSERT_GE(shm_, 0);
  auto* p = static_cast<char*>(shmat(shm_, nullptr, 0));
  ASSERT_NE(p, reinterpret_cast<char*>(-1));
  auto* q = static_cast<char*>(shmat(shm_, nullptr, SHM_RDONLY));
  ASSERT_NE(q, reinterpret_cast<char*>(-1));
  p[4999] = 'x';
  EXPECT_EQ(q[4999], 'x');
  EXPECT_TRUE(ExitedWith(InChild([&] {
                           p[0] = 'c';
                           return shmdt(p) == 0 ? 0 : 1;
                         }),
                         0));
  EXPECT_EQ(q[0], 'c');
  shmid_ds ds;
  EXPECT_EQ(shmctl(shm_, IPC_STAT, &ds), 0);
  EXPECT_EQ(ds.shm_segsz, 5000u);
  EXPECT_EQ(ds.shm_nattch, 2u);
  EXPECT_EQ(shmdt(q), 0);
  EXPECT_ERRNO(EINVAL, shmdt(q));
  EXPECT_ERRNO(EINVAL, shmat(shm_, p, 0));  // something is there
  // Removed, it lives until the last detach; its key is free at once.
  EXPECT_EQ(shmctl(shm_, IPC_RMID, nullptr), 0);
  EXPECT_ERRNO(ENOENT, shmget(key_, 0, 0));
  EXPECT_EQ(p[4999], 'x');
  EXPECT_EQ(shmctl(shm_, IPC_STAT, &ds), 0);
  EXPECT_EQ(ds.shm_perm.mode & SHM_DEST, SHM_DEST);
  EXPECT_EQ(shmdt(p), 0);
  EXPECT_ERRNO(EINVAL, shmctl(shm_, IPC_STAT, &ds));
  shm_ = -1;
}

TEST_F(SysvTest, ASegmentIsWrittenByWhoeverMaps) {
  shm_ = shmget(IPC_PRIVATE, 1, 0600);
  EXPECT_ERRNO(EINVAL, shmget(IPC_PRIVATE, 0, 0600));
  auto* p = static_cast<int*>(shmat(shm_, nullptr, 0));
  EXPECT_TRUE(ExitedWith(InChild([&] {
                           *p = 42;
                           return 0;
                         }),
                         0));
  EXPECT_EQ(*p, 42);
  EXPECT_EQ(shmdt(p), 0);
}

TEST_F(SysvTest, CopiesLeaveTheQueueAsItIs) {
  msg_ = msgget(IPC_PRIVATE, 0600);
  for (long type : {3, 1}) {
    Message m = {type, "text"};
    ASSERT_EQ(msgsnd(msg_, &m, 5, 0), 0);
  }
  Message m;
  ssize_t n = msgrcv(msg_, &m, sizeof(m.text), 1, MSG_COPY | IPC_NOWAIT);
  if (n < 0 && errno == ENOSYS) GTEST_SKIP() << "a kernel without CONFIG_CHECKPOINT_RESTORE";
  EXPECT_EQ(n, 5);
  EXPECT_EQ(m.type, 1);
  EXPECT_ERRNO(ENOMSG, msgrcv(msg_, &m, sizeof(m.text), 2, MSG_COPY | IPC_NOWAIT));
  EXPECT_ERRNO(E2BIG, msgrcv(msg_, &m, 1, 0, MSG_COPY | IPC_NOWAIT));
  EXPECT_ERRNO(EINVAL, msgrcv(msg_, &m, sizeof(m.text), 0, MSG_COPY));
  EXPECT_EQ(msgrcv(msg_, &m, sizeof(m.text), 0, 0), 5);
  EXPECT_EQ(m.type, 3);
}

}  // namespace
}  // namespace sandboxd::test
