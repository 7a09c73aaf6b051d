#include "kernel/boot/stdio_relay.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <list>
#include <map>
#include <vector>

#include "kernel/boot/kernel_caller.h"
#include "platform/base/log.h"

namespace sandboxd::boot {
namespace {

constexpr size_t kBufferSize = 64 << 10;

class FileEnd final : public RelayEnd {
 public:
  explicit FileEnd(Ref<vfs::File> file) : file_(std::move(file)) {}
  Result<size_t> Read(Bytes out) override {
    mm::BufferSink sink(out);
    return file_->Read(caller_, sink);
  }
  Result<size_t> Write(ConstBytes in) override {
    mm::BufferSource source(in);
    return file_->Write(caller_, source);
  }
  void AddWaiter(wait::WaitEntry& entry, wait::EventMask mask) override {
    file_->AddWaiter(entry, mask);
  }

 private:
  Ref<vfs::File> file_;
  KernelCaller caller_;
};

}  // namespace

std::unique_ptr<RelayEnd> MakeFileEnd(Ref<vfs::File> file) {
  return std::make_unique<FileEnd>(std::move(file));
}

struct StdioRelay::Impl {
  // Wakes the relay's thread when the sandbox's end may be ready again.
  class Notifier final : public wait::WaitEntry {
   public:
    explicit Notifier(Impl& impl) : impl_(impl) {}
    ~Notifier() override { Leave(); }

   protected:
    bool OnEvent(wait::EventMask) override {
      eventfd_write(impl_.wakeup.get(), 1);
      return true;
    }

   private:
    Impl& impl_;
  };

  struct Channel {
    Channel(Impl& impl, std::string key_in, std::unique_ptr<RelayEnd> end_in)
        : key(std::move(key_in)), end(std::move(end_in)), notifier(impl) {}
    const std::string key;
    std::unique_ptr<RelayEnd> end;
    UniqueFd host;
    Direction direction = Direction::kOutOfSandbox;
    int stream = 1;
    bool resumable = false;
    bool had_host = false;  // without one from the start, output is dropped
    bool close_requested = false;
    bool finished = false;
    bool registered = false;  // host is in the epoll set
    std::vector<std::byte> buffer;
    size_t begin = 0;  // what of buffer is still to be written
    bool empty_seen =
        false;  // the sandbox's end had nothing more at the last look, and the buffer is out
    Notifier notifier;  // last: leaves the queue before `end` goes
  };

  UniqueFd epoll;
  UniqueFd wakeup;
  std::thread thread;
  std::list<Channel> channels;  // relay thread only
  // Of finished output, until Remove. Relay thread only.
  std::multimap<std::string, UniqueFd> kept_hosts;
  std::multimap<std::string, std::function<void()>> drain_waiters;  // relay thread only
  Mutex mutex{LockRank::kLeaf};
  std::vector<std::function<void()>> posted GUARDED_BY(mutex);
  bool stop GUARDED_BY(mutex) = false;

  void Post(std::function<void()> f) {
    MutexLock lock(mutex);
    posted.push_back(std::move(f));
    eventfd_write(wakeup.get(), 1);
  }

  void Run() {
    pthread_setname_np(pthread_self(), "stdio-relay");
    for (;;) {
      std::vector<std::function<void()>> work;
      {
        MutexLock lock(mutex);
        if (stop) break;
        work.swap(posted);
      }
      for (auto& f : work) f();
      work.clear();
      for (Channel& c : channels) {
        if (!c.finished) Pump(c);
      }
      ReportDrained();
      channels.remove_if([](const Channel& c) { return c.finished; });
      epoll_event events[16];
      int n = epoll_wait(epoll.get(), events, 16, -1);
      CHECK_MSG(n >= 0 || errno == EINTR, "epoll_wait: errno %d", errno);
      eventfd_t ignored;
      eventfd_read(wakeup.get(), &ignored);
    }
    channels.clear();
  }

  // Moves what can be moved without waiting, then arranges to be woken.
  void Pump(Channel& c) {
    c.empty_seen = false;
    if (!c.notifier.queued()) {
      c.end->AddWaiter(c.notifier, c.direction == Direction::kOutOfSandbox ? EPOLLIN : EPOLLOUT);
    }
    // Bounded, so that one busy stream does not starve the others.
    for (int i = 0; i < 16 && !c.finished; i++) {
      bool moved = c.direction == Direction::kOutOfSandbox ? PumpOut(c) : PumpIn(c);
      if (!moved) return;
    }
    eventfd_write(wakeup.get(), 1);
  }

  bool PumpOut(Channel& c) {
    if (c.begin == c.buffer.size()) {
      if (!c.host.valid() && c.resumable && c.had_host)
        return false;  // the program waits until someone is there
      c.buffer.resize(kBufferSize);
      c.begin = 0;
      auto n = c.end->Read(c.buffer);
      if (!n.ok() || *n == 0) {
        c.buffer.clear();
        c.empty_seen = true;
        if (n.Is(Errno::kEAGAIN)) return false;
        Finish(c);  // end of file
        return false;
      }
      c.buffer.resize(*n);
    }
    if (!c.host.valid()) {
      if (c.resumable && c.had_host) return false;
      c.begin = c.buffer.size();
      return true;
    }
    ssize_t n = write(c.host.get(), c.buffer.data() + c.begin, c.buffer.size() - c.begin);
    if (n >= 0) {
      c.begin += n;
      return true;
    }
    if (errno == EINTR) return true;
    if (errno == EAGAIN) return WatchHost(c, EPOLLOUT), false;
    HostFailed(c, errno);
    return false;
  }

  bool PumpIn(Channel& c) {
    if (c.begin == c.buffer.size()) {
      if (!c.host.valid()) {
        if (!c.resumable || c.close_requested) Finish(c);
        return false;
      }
      c.buffer.resize(kBufferSize);
      c.begin = 0;
      ssize_t n = read(c.host.get(), c.buffer.data(), c.buffer.size());
      c.buffer.resize(n > 0 ? n : 0);
      if (n < 0 && errno == EINTR) return true;
      if (n < 0 && errno == EAGAIN) {
        if (c.close_requested) {
          Finish(c);
        } else {
          WatchHost(c, EPOLLIN);
        }
        return false;
      }
      if (n < 0) return HostFailed(c, errno), false;
      if (n == 0) {
        // A terminal's socket that ends means that the daemon went away, not that the user typed
        // ^D.
        if (c.resumable) {
          DropHost(c);
        } else {
          Finish(c);
        }
        return false;
      }
    }
    auto n = c.end->Write(ConstBytes(c.buffer).subspan(c.begin));
    if (n.ok()) {
      c.begin += *n;
      return true;
    }
    if (!n.Is(Errno::kEAGAIN)) Finish(c);  // nobody reads: what is left has no addressee
    return false;
  }

  void WatchHost(Channel& c, uint32_t events) {
    epoll_event event{};
    event.events = events | EPOLLONESHOT;
    int op = c.registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(epoll.get(), op, c.host.get(), &event) == 0) {
      c.registered = true;
    } else {
      LOG_WARNING("stdio relay: %s: can't watch the host descriptor: errno %d", c.key.c_str(),
                  errno);
      Finish(c);
    }
  }

  void DropHost(Channel& c) {
    c.host.Reset();  // leaves the epoll set with its last descriptor
    c.registered = false;
  }

  void HostFailed(Channel& c, int error) {
    if (!c.resumable) {
      LOG_DEBUG("stdio relay: %s: host descriptor failed: errno %d", c.key.c_str(), error);
      return Finish(c);
    }
    DropHost(c);
  }

  // The sandbox's end is closed: the program sees end of file, or EPIPE.
  void Finish(Channel& c) {
    c.notifier.Leave();
    c.end.reset();
    // What is in a FIFO that the daemon has not read yet lives as long as someone holds it; if the
    // daemon has died, that is us, until its successor has acknowledged the exit.
    if (c.direction == Direction::kOutOfSandbox && c.resumable && c.host.valid()) {
      if (c.registered) epoll_ctl(epoll.get(), EPOLL_CTL_DEL, c.host.get(), nullptr);
      kept_hosts.emplace(c.key, std::move(c.host));
    }
    DropHost(c);
    c.begin = c.buffer.size();
    c.empty_seen = true;
    c.finished = true;
  }

  void ReportDrained() {
    for (auto it = drain_waiters.begin(); it != drain_waiters.end();) {
      bool drained = true;
      for (const Channel& c : channels) {
        if (c.key == it->first && c.direction == Direction::kOutOfSandbox && !c.empty_seen)
          drained = false;
      }
      if (!drained) {
        ++it;
        continue;
      }
      auto report = std::move(it->second);
      it = drain_waiters.erase(it);
      report();
    }
  }
};

Result<std::unique_ptr<StdioRelay>> StdioRelay::Create() {
  auto impl = std::make_unique<Impl>();
  impl->epoll = TRY(WrapFd(epoll_create1(EPOLL_CLOEXEC)));
  impl->wakeup = TRY(WrapFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)));
  epoll_event event{};
  event.events = EPOLLIN;
  if (epoll_ctl(impl->epoll.get(), EPOLL_CTL_ADD, impl->wakeup.get(), &event) < 0)
    return FromHostErrno(errno);
  impl->thread = std::thread([raw = impl.get()] { raw->Run(); });
  return std::unique_ptr<StdioRelay>(new StdioRelay(std::move(impl)));
}

StdioRelay::StdioRelay(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

StdioRelay::~StdioRelay() {
  {
    MutexLock lock(impl_->mutex);
    impl_->stop = true;
    eventfd_write(impl_->wakeup.get(), 1);
  }
  impl_->thread.join();
}

void StdioRelay::Add(const std::string& key, std::unique_ptr<RelayEnd> end, UniqueFd host,
                     Direction direction, int stream, bool resumable) {
  if (host.valid()) fcntl(host.get(), F_SETFL, fcntl(host.get(), F_GETFL) | O_NONBLOCK);
  impl_->Post([impl = impl_.get(), key, end = end.release(), fd = host.Release(), direction, stream,
               resumable] {
    auto& c = impl->channels.emplace_back(*impl, key, std::unique_ptr<RelayEnd>(end));
    c.host.Reset(fd);
    c.had_host = c.host.valid();
    c.direction = direction;
    c.stream = stream;
    c.resumable = resumable;
  });
}

void StdioRelay::Resume(const std::string& key, UniqueFd host, Direction direction, int stream) {
  if (host.valid()) fcntl(host.get(), F_SETFL, fcntl(host.get(), F_GETFL) | O_NONBLOCK);
  impl_->Post([impl = impl_.get(), key, fd = host.Release(), direction, stream] {
    UniqueFd owned(fd);
    for (Impl::Channel& c : impl->channels) {
      if (c.key != key || c.direction != direction || c.stream != stream) continue;
      impl->DropHost(c);
      c.host = std::move(owned);
      c.had_host = true;
      return;
    }
  });
}

void StdioRelay::CloseInput(const std::string& key) {
  impl_->Post([impl = impl_.get(), key] {
    for (Impl::Channel& c : impl->channels) {
      if (c.key == key && c.direction == Direction::kIntoSandbox) c.close_requested = true;
    }
  });
}

void StdioRelay::WhenDrained(const std::string& key, std::function<void()> drained) {
  impl_->Post([impl = impl_.get(), key, drained = std::move(drained)] {
    impl->drain_waiters.emplace(key, drained);
  });
}

void StdioRelay::Remove(const std::string& key) {
  impl_->Post([impl = impl_.get(), key] {
    for (Impl::Channel& c : impl->channels) {
      if (c.key == key) impl->Finish(c);
    }
    impl->kept_hosts.erase(key);
  });
}

}  // namespace sandboxd::boot
