// The lock order of the whole application kernel in one list: a thread may take a mutex only if its
// rank is greater than that of every mutex it already holds. Checked at run time in builds without
// NDEBUG.
//
// Two mutexes of one rank may be held together only through MutexLockPair, which orders them by
// address. Add a rank where it belongs and say in the package's README what it guards.
#pragma once

namespace sandboxd {

enum class LockRank : int {
  // daemon (another process than everything below)
  kDaemonOperation = 1,  // one life cycle operation of a sandbox at a time
  kDaemonManager = 2,    // the table of sandboxes
  kDaemonSandbox = 3,    // what is known of one sandbox and its processes
  kDaemonStream = 4,     // one client's stream
  kDaemonWatch = 5,      // the list of events
  kDaemonLoop = 6,       // queues of the event loop and the workers
  kDaemonLeaf = 7,
  // kernel/boot
  kBoot = 10,
  kContainer = 20,
  // kernel/task
  kTaskTree = 100,  // the process tree, pid tables, groups and sessions
  kCgroup = 110,
  kTaskSignals = 120,  // a thread group's signal state: queues, masks, stops, its end
  kSignalHandlers = 125,
  // kernel/mm
  kExecLock = 190,
  kMm = 200,  // VMAs of one address space
  // kernel/vfs
  kMqueueOpen = 295,  // finding or making a message queue, over the locks of the vfs
  kMountTable = 300,
  kSuperblockMounts = 305,  // the shared root dentry of one file system instance
  kRename = 310,            // one file system's directory tree shape
  kDirectory = 320,         // one directory's children (pairs by address, parent before child)
  kDentry = 330,
  kFileDescription = 340,  // offset and flags of one open file description
  kFdTable = 350,
  kFsContext = 360,  // root, cwd, umask
  // file systems and files
  kEpollTree = 390,
  kEpoll = 400,
  kInodeWrite = 405,  // writers of one file, over user memory access (Linux's i_rwsem)
  kInode = 410,       // attributes and data of one inode
  kFileLocks = 420,
  kFileSystem = 430,  // tables of one file system instance
  kInotify = 440,
  // sockets and IPC
  kSocketTable = 500,
  kSocket = 510,  // pairs by address
  kSocketBuffer = 520,
  kPipeReader = 525,  // readers of one pipe, one after the other
  kPipe = 530,
  kTty = 540,
  kIpcTable = 550,
  kIpcObject = 560,
  kFutexBucket = 600,  // pairs by address
  kTimer = 650,
  // What one task says about itself to others: any code that has a vfs::Caller may ask.
  kTask = 690,
  // platform
  kGuestTables = 695,  // KVM: a guest's page tables and the host's mappings behind them
  kAddressSpace = 700,
  kContext = 710,
  kGoferClient = 750,
  // leaves: nothing is acquired under these
  kWaitQueue = 900,
  kLeaf = 1000,
};

}  // namespace sandboxd
