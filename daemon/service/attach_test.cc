// Clients that attach to the streams of a process, and leave them.
#include "daemon/service/server_fixture.h"

namespace sandboxd::daemon {
namespace {

TEST_F(ServerTest, AttachCarriesInputAndOutputAndTheExitComesLast) {
  ASSERT_TRUE(Create(Streaming("a", {"cat"})).ok());
  auto a = Attach("a");
  ASSERT_TRUE(a->Next());
  ASSERT_TRUE(Start("a").ok());
  a->Send("one\n");
  a->Send("two\n");
  a->CloseStdin();
  EXPECT_TRUE(a->Drain().ok());
  EXPECT_EQ(a->out, "one\ntwo\n");
  ASSERT_TRUE(a->exit.has_value());
  EXPECT_EQ(a->exit->code(), 0);
}

TEST_F(ServerTest, MuchInputArrivesCompleteBeforeTheEndOfFile) {
  ASSERT_TRUE(Create(Streaming("a", {"cat"})).ok());
  auto a = Attach("a");
  ASSERT_TRUE(a->Next());
  ASSERT_TRUE(Start("a").ok());
  std::string sent;
  std::thread writer([&] {
    for (int i = 0; i < 100; ++i) {
      const std::string part(20000, static_cast<char>('a' + i % 26));
      sent += part;
      a->Send(part);
    }
    a->CloseStdin();
  });
  EXPECT_TRUE(a->Drain().ok());
  writer.join();
  EXPECT_TRUE(a->out == sent) << a->out.size() << " of " << sent.size();
}

TEST_F(ServerTest, StderrIsApart) {
  ASSERT_TRUE(Create(Streaming("a", {"err", "oops"})).ok());
  auto a = Attach("a");
  ASSERT_TRUE(Start("a").ok());
  EXPECT_TRUE(a->Drain().ok());
  EXPECT_EQ(a->err, "oops\n");
  EXPECT_EQ(a->out, "");
}

TEST_F(ServerTest, ASlowClientGetsEverything) {
  constexpr size_t kBytes = 5000000;
  ASSERT_TRUE(Create(Streaming("a", {"flood", std::to_string(kBytes)})).ok());
  ASSERT_TRUE(Start("a").ok());
  // Nobody reads yet: the program has to wait rather than the daemon to buffer.
  EXPECT_EQ(Get("a").state(), v1::Sandbox::STATE_RUNNING);
  auto a = Attach("a");
  EXPECT_TRUE(a->Drain().ok());
  EXPECT_EQ(a->out.size(), kBytes);
  for (size_t i = 0; i < a->out.size(); i += 9973) {
    ASSERT_EQ(a->out[i], static_cast<char>('a' + i % 26)) << i;
  }
}

TEST_F(ServerTest, AttachAfterTheExitGetsWhatWasWritten) {
  ASSERT_TRUE(Create(Streaming("a", {"echo", "late"})).ok());
  ASSERT_TRUE(Start("a").ok());
  Wait("a");
  auto a = Attach("a");
  EXPECT_TRUE(a->Drain().ok());
  EXPECT_EQ(a->out, "late\n");
  EXPECT_EQ(a->exit->code(), 0);
}

TEST_F(ServerTest, AClientThatVanishesLeavesItsProcessRunning) {
  ASSERT_TRUE(Create(Streaming("a", {"cat"})).ok());
  ASSERT_TRUE(Start("a").ok());
  auto first = Attach("a");
  ASSERT_TRUE(first->Next());
  first->context.TryCancel();
  first->stream->Finish();
  std::unique_ptr<Attachment> second;
  do {  // the daemon notices the end of the first one in its own time
    second = Attach("a");
  } while (!second->Next());
  second->Send("still here\n");
  second->CloseStdin();
  EXPECT_TRUE(second->Drain().ok());
  EXPECT_EQ(second->out, "still here\n");
}

TEST_F(ServerTest, AClientThatVanishesTakesItsProcessWithItIfItSaidSo) {
  ASSERT_TRUE(Create(Streaming("a", {"cat"})).ok());
  ASSERT_TRUE(Start("a").ok());
  v1::AttachStart start;
  start.set_on_disconnect(v1::AttachStart::ON_DISCONNECT_KILL);
  auto a = Attach("a", start);
  ASSERT_TRUE(a->Next());
  a->context.TryCancel();
  a->stream->Finish();
  EXPECT_EQ(Wait("a").signal(), 9);
}

TEST_F(ServerTest, ASecondClientIsRefusedOrTakesOver) {
  ASSERT_TRUE(Create(Streaming("a", {"cat"})).ok());
  ASSERT_TRUE(Start("a").ok());
  auto first = Attach("a");
  ASSERT_TRUE(first->Next());
  auto refused = Attach("a");
  EXPECT_EQ(ReasonOf(refused->Drain()), "ALREADY_ATTACHED");
  v1::AttachStart start;
  start.set_take_over(true);
  auto second = Attach("a", start);
  ASSERT_TRUE(second->Next());
  EXPECT_EQ(ReasonOf(first->Drain()), "ATTACHMENT_TAKEN");
  second->CloseStdin();
  EXPECT_TRUE(second->Drain().ok());
}

TEST_F(ServerTest, DetachKeysEndTheStreamAndNotTheProcess) {
  ASSERT_TRUE(Create(Streaming("a", {"cat"})).ok());
  ASSERT_TRUE(Start("a").ok());
  v1::AttachStart start;
  start.set_detach_keys("\x10\x11");
  auto a = Attach("a", start);
  ASSERT_TRUE(a->Next());
  a->Send("x\x10");
  a->Send("\x11 ignored");
  EXPECT_TRUE(a->Drain().ok());
  EXPECT_TRUE(a->detached);
  EXPECT_EQ(Get("a").state(), v1::Sandbox::STATE_RUNNING);
}

TEST_F(ServerTest, ATerminalIsResized) {
  auto request = Streaming("a", {"sizes"});
  request.mutable_spec()->mutable_containers(0)->mutable_process()->set_terminal(true);
  ASSERT_TRUE(Create(request).ok());
  ASSERT_TRUE(Start("a").ok());
  auto a = Attach("a");
  ASSERT_TRUE(a->Next());
  v1::AttachRequest frame;
  frame.mutable_resize()->set_rows(40);
  frame.mutable_resize()->set_cols(100);
  a->stream->Write(frame);
  while (a->out != "size 40x100\n") ASSERT_TRUE(a->Next());
  frame.set_signal(SIGTERM);
  a->stream->Write(frame);
  EXPECT_TRUE(a->Drain().ok());
  EXPECT_EQ(a->exit->signal(), SIGTERM);
}

}  // namespace
}  // namespace sandboxd::daemon
