// Sandboxes and processes through gRPC: their lives, mistakes, streams, restarts of the daemon.
#include "daemon/service/server_fixture.h"

namespace sandboxd::daemon {
namespace {

TEST_F(ServerTest, ALifeFromCreateToDelete) {
  v1::Sandbox sandbox;
  ASSERT_TRUE(Create(Request("a", {"exit", "7"}), &sandbox).ok());
  EXPECT_EQ(sandbox.state(), v1::Sandbox::STATE_CREATED);
  EXPECT_EQ(sandbox.platform().name(), "fake");
  EXPECT_GT(sandbox.host_pid(), 0);
  ASSERT_TRUE(Start("a").ok());
  EXPECT_EQ(Wait("a").code(), 7);
  EXPECT_EQ(Get("a").state(), v1::Sandbox::STATE_STOPPED);
  AwaitIdle();
  EXPECT_TRUE(Delete("a", false).ok());
  EXPECT_FALSE(StateFolderHas("a"));
  EXPECT_TRUE(Delete("a", false).ok()) << "Delete is idempotent";
}

TEST_F(ServerTest, TheEndBySignalIsReported) {
  RunDetached("a", {"die", "11"});
  EXPECT_EQ(Wait("a").signal(), 11);
}

TEST_F(ServerTest, CreateIsIdempotentByEqualSpec) {
  ASSERT_TRUE(Create(Request("a", {"sleep"})).ok());
  EXPECT_TRUE(Create(Request("a", {"sleep"})).ok());
  const auto other = Create(Request("a", {"cat"}));
  EXPECT_EQ(other.error_code(), StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(ReasonOf(other), "SANDBOX_ALREADY_EXISTS");
  EXPECT_NE(other.error_message().find("process.args"), std::string::npos) << other.error_message();
}

TEST_F(ServerTest, StartTwiceIsRefused) {
  RunDetached("a", {"sleep"});
  const auto again = Start("a");
  EXPECT_EQ(again.error_code(), StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(ReasonOf(again), "WRONG_STATE");
}

TEST_F(ServerTest, ARunningSandboxIsDeletedOnlyByForce) {
  RunDetached("a", {"sleep"});
  EXPECT_EQ(Delete("a", false).error_code(), StatusCode::FAILED_PRECONDITION);
  EXPECT_TRUE(Delete("a", true).ok());
  EXPECT_TRUE(Children().empty());
  EXPECT_FALSE(StateFolderHas("a"));
}

TEST_F(ServerTest, EveryWrongFieldIsNamedAtOnce) {
  auto request = Request("a b", {"sleep"});
  request.mutable_spec()->mutable_containers(0)->mutable_process()->set_cwd("tmp");
  request.mutable_spec()->mutable_containers(0)->mutable_rootfs()->set_path("rootfs");
  const auto status = Create(request);
  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
  google::rpc::Status details;
  details.ParseFromString(status.error_details());
  google::rpc::BadRequest bad;
  for (const auto& any : details.details()) any.UnpackTo(&bad);
  EXPECT_EQ(bad.field_violations_size(), 3);
}

TEST_F(ServerTest, AMissingRootfsIsNamed) {
  auto request = Request("a", {"sleep"});
  request.mutable_spec()->mutable_containers(0)->mutable_rootfs()->set_path("/no/such");
  const auto status = Create(request);
  EXPECT_EQ(ReasonOf(status), "ROOTFS_NOT_FOUND");
  EXPECT_EQ(status.error_message(), "the root file system /no/such does not exist");
  request.mutable_spec()->mutable_containers(0)->mutable_rootfs()->set_path("/etc/passwd");
  EXPECT_EQ(ReasonOf(Create(request)), "ROOTFS_NOT_A_DIRECTORY");
}

TEST_F(ServerTest, AMissingProgramLeavesTheSandboxCreated) {
  ASSERT_TRUE(Create(Request("a", {"/bin/foo"})).ok());
  const auto status = Start("a");
  EXPECT_EQ(ReasonOf(status), "PROGRAM_NOT_FOUND");
  EXPECT_EQ(status.error_message(), "rootfs has no /bin/foo");
  EXPECT_EQ(Get("a").state(), v1::Sandbox::STATE_CREATED);
}

TEST_F(ServerTest, AKernelThatDoesNotStartSaysWhy) {
  auto request = Request("a", {"sleep"});
  request.mutable_spec()->set_platform("refuse");
  const auto status = Create(request);
  EXPECT_EQ(ReasonOf(status), "KERNEL_START_FAILED");
  EXPECT_NE(status.error_message().find("this host has no such platform"), std::string::npos)
      << status.error_message();
  EXPECT_FALSE(StateFolderHas("a"));
  EXPECT_TRUE(Children().empty());
}

TEST_F(ServerTest, AKernelThatSpeaksNonsenseIsStopped) {
  auto request = Request("a", {"sleep"});
  request.mutable_spec()->set_platform("garbage");
  EXPECT_EQ(ReasonOf(Create(request)), "KERNEL_START_FAILED");
  EXPECT_TRUE(Children().empty());
}

TEST_F(ServerTest, ACreateThatIsCancelledByItsDeadlineLeavesNothing) {
  auto request = Request("a", {"sleep"});
  request.mutable_spec()->set_platform("mute");
  ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(300));
  v1::Sandbox ignored;
  EXPECT_EQ(sandboxes_->Create(&context, request, &ignored).error_code(),
            StatusCode::DEADLINE_EXCEEDED);
  AwaitIdle();
  while (StateFolderHas("a")) std::this_thread::yield();
}

TEST_F(ServerTest, NothingIsLeftWhenAStepOfCreateFails) {
  for (const char* point :
       {"state.folder", "state.write", "control.listen", "streams.fifo", "create.socketpair",
        "spawn.clone", "spawn.map", "spawn.go", "control.connect"}) {
    SetFaultHook([point](std::string_view at) { return at == point ? ENOSPC : 0; });
    const auto status = Create(Request("a", {"sleep"}));
    SetFaultHook(nullptr);
    EXPECT_FALSE(status.ok()) << point;
    EXPECT_NE(status.error_message().find("No space left"), std::string::npos)
        << point << ": " << status.error_message();
    EXPECT_TRUE(Children().empty()) << point;
    EXPECT_FALSE(StateFolderHas("a")) << point;
  }
  EXPECT_TRUE(Create(Request("a", {"sleep"})).ok());
}

TEST_F(ServerTest, AFullDiskIsResourceExhausted) {
  SetFaultHook([](std::string_view at) { return at == "state.write" ? ENOSPC : 0; });
  const auto status = Create(Request("a", {"sleep"}));
  SetFaultHook(nullptr);
  EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonOf(status), "STATE_STORAGE_FULL");
}

TEST_F(ServerTest, AnExitIsReportedEvenWhileTheDiskIsFull) {
  ASSERT_TRUE(Create(Request("a", {"exit", "3"})).ok());
  SetFaultHook([](std::string_view at) { return at == "state.write" ? ENOSPC : 0; });
  ASSERT_TRUE(Start("a").ok());
  EXPECT_EQ(Wait("a").code(), 3);
  SetFaultHook(nullptr);
}

TEST_F(ServerTest, AKilledKernelProcessEndsItsSandboxAndNoOther) {
  RunDetached("a", {"sleep"});
  RunDetached("b", {"sleep"});
  kill(Get("a").host_pid(), SIGKILL);
  const auto exit = Wait("a");
  EXPECT_TRUE(exit.kernel_lost());
  EXPECT_EQ(exit.signal(), 9);
  EXPECT_EQ(Get("a").state_message(), "the application kernel was killed by signal 9");
  EXPECT_EQ(Get("b").state(), v1::Sandbox::STATE_RUNNING);
  EXPECT_EQ(Signal("a", 15).error_code(), StatusCode::FAILED_PRECONDITION);
}

TEST_F(ServerTest, AKernelThatDiesDuringStartIsAnErrorOfStart) {
  ASSERT_TRUE(Create(Request("a", {"abort"})).ok());
  const auto status = Start("a");
  EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(status), "KERNEL_LOST");
  EXPECT_TRUE(Wait("a").kernel_lost());
}

TEST_F(ServerTest, DetachedOutputIsInTheLog) {
  RunDetached("a", {"echo", "hello", "there"});
  EXPECT_EQ(Logs("a", true), "hello there\n");
  EXPECT_EQ(Logs("a", false), "hello there\n");
}

TEST_F(ServerTest, LogsAreRotatedAndBounded) {
  auto request = Request("a", {"flood", "1000000"});
  request.mutable_spec()->mutable_containers(0)->mutable_stdio()->set_log_max_bytes(100000);
  ASSERT_TRUE(Create(request).ok());
  ASSERT_TRUE(Start("a").ok());
  Wait("a");
  AwaitIdle();
  const std::string kept = Logs("a", true);
  EXPECT_LE(kept.size(), 300000u);
  EXPECT_GE(kept.size(), 100000u);
  EXPECT_EQ(kept.back(), static_cast<char>('a' + 999999 % 26)) << "the newest output is kept";
}

TEST_F(ServerTest, ExecRunsBesideTheInitProcess) {
  auto request = Request("a", {"sleep"});
  request.mutable_spec()->mutable_containers(0)->mutable_process()->add_env("A=1");
  ASSERT_TRUE(Create(request).ok());
  ASSERT_TRUE(Start("a").ok());
  v1::ExecRequest exec;
  exec.set_sandbox_id("a");
  exec.mutable_process()->add_args("env");
  exec.mutable_process()->add_env("B=2");
  ClientContext context;
  v1::Process process;
  ASSERT_TRUE(processes_->Exec(&context, exec, &process).ok());
  EXPECT_FALSE(process.id().empty());
  const std::string env = Logs("a", true, process.id());
  EXPECT_NE(env.find("A=1\n"), std::string::npos) << env;
  EXPECT_NE(env.find("B=2\n"), std::string::npos) << env;
  ClientContext wait_context;
  v1::WaitProcessRequest wait;
  wait.mutable_process()->set_sandbox_id("a");
  wait.mutable_process()->set_process_id(process.id());
  v1::WaitProcessResponse exited;
  ASSERT_TRUE(processes_->Wait(&wait_context, wait, &exited).ok());
  EXPECT_EQ(exited.exit().code(), 0);
  ClientContext delete_context;
  v1::DeleteProcessRequest del;
  *del.mutable_process() = wait.process();
  v1::DeleteProcessResponse deleted;
  EXPECT_TRUE(processes_->Delete(&delete_context, del, &deleted).ok());
  EXPECT_TRUE(deleted.existed());
}

TEST_F(ServerTest, ExecInAStoppedSandboxIsRefused) {
  RunDetached("a", {"exit", "0"});
  Wait("a");
  v1::ExecRequest exec;
  exec.set_sandbox_id("a");
  exec.mutable_process()->add_args("env");
  ClientContext context;
  v1::Process process;
  const auto status = processes_->Exec(&context, exec, &process);
  EXPECT_EQ(ReasonOf(status), "WRONG_STATE");
  EXPECT_NE(status.error_message().find("is stopped"), std::string::npos);
}

TEST_F(ServerTest, WatchTellsEverythingAndGoesOnFromAToken) {
  ASSERT_TRUE(Create(Request("a", {"sleep"})).ok());
  ClientContext context;
  auto watch = sandboxes_->Watch(&context, {});
  v1::SandboxEvent event;
  ASSERT_TRUE(watch->Read(&event));
  EXPECT_EQ(event.type(), v1::SandboxEvent::TYPE_EXISTING);
  ASSERT_TRUE(watch->Read(&event));
  EXPECT_EQ(event.type(), v1::SandboxEvent::TYPE_BOOKMARK);
  const std::string token = event.resume_token();
  ASSERT_TRUE(Start("a").ok());
  ASSERT_TRUE(watch->Read(&event));
  EXPECT_EQ(event.type(), v1::SandboxEvent::TYPE_STARTED);
  context.TryCancel();
  watch->Finish();
  ASSERT_TRUE(Delete("a", true).ok());

  ClientContext again_context;
  v1::WatchSandboxesRequest again;
  again.set_resume_token(token);
  auto resumed = sandboxes_->Watch(&again_context, again);
  std::vector<int> types;
  while (resumed->Read(&event)) {
    types.push_back(event.type());
    if (event.type() == v1::SandboxEvent::TYPE_DELETED) break;
  }
  EXPECT_EQ(types,
            (std::vector<int>{v1::SandboxEvent::TYPE_STARTED, v1::SandboxEvent::TYPE_PROCESS_EXITED,
                              v1::SandboxEvent::TYPE_DELETED}));
  again_context.TryCancel();
  resumed->Finish();
}

TEST_F(ServerTest, ATokenOfAnotherDaemonIsOutOfRange) {
  ClientContext context;
  v1::WatchSandboxesRequest request;
  request.set_resume_token("0123456789ab-5");
  auto watch = sandboxes_->Watch(&context, request);
  v1::SandboxEvent event;
  EXPECT_FALSE(watch->Read(&event));
  EXPECT_EQ(ReasonOf(watch->Finish()), "WATCH_WINDOW_LOST");
}

TEST_F(ServerTest, AutoDeleteFollowsTheReportOfTheExit) {
  auto request = Request("a", {"exit", "0"});
  request.mutable_spec()->set_auto_delete(true);
  ASSERT_TRUE(Create(request).ok());
  ASSERT_TRUE(Start("a").ok());
  Wait("a");
  while (StateFolderHas("a")) std::this_thread::yield();
}

TEST_F(ServerTest, ListHasPagesAndSelectors) {
  for (const char* id : {"a", "b", "c"}) {
    auto request = Request(id, {"sleep"});
    (*request.mutable_labels())["odd"] = std::string(id) == "b" ? "no" : "yes";
    ASSERT_TRUE(Create(request).ok());
  }
  v1::ListSandboxesRequest request;
  request.set_page_size(1);
  (*request.mutable_label_selector())["odd"] = "yes";
  std::string seen;
  do {
    ClientContext context;
    v1::ListSandboxesResponse page;
    ASSERT_TRUE(sandboxes_->List(&context, request, &page).ok());
    for (const auto& s : page.sandboxes()) seen += s.id();
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  EXPECT_EQ(seen, "ac");
}

TEST_F(ServerTest, WhatIsNotBuiltSaysSo) {
  ClientContext context;
  v1::CloneSandboxRequest request;
  v1::Sandbox sandbox;
  const auto status = sandboxes_->Clone(&context, request, &sandbox);
  EXPECT_EQ(status.error_code(), StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(ReasonOf(status), "NOT_IMPLEMENTED");
}

TEST_F(ServerTest, ARestartedDaemonGoesOnWithWhatRuns) {
  RunDetached("runs", {"trap"});
  RunDetached("ends", {"cat"});
  ASSERT_TRUE(Create(Request("created", {"exit", "4"})).ok());
  RunDetached("ended", {"exit", "5"});
  Wait("ended");
  const int kernel = Get("runs").host_pid();
  StopServer();
  StartServer();
  EXPECT_EQ(Get("runs").state(), v1::Sandbox::STATE_RUNNING);
  EXPECT_EQ(Get("runs").host_pid(), kernel);
  ASSERT_TRUE(Signal("runs", 10).ok());
  ASSERT_TRUE(Signal("runs", 9).ok());
  EXPECT_EQ(Wait("runs").signal(), 9);
  EXPECT_EQ(Logs("runs", true), "got 10\n");
  ASSERT_TRUE(Start("created").ok());
  EXPECT_EQ(Wait("created").code(), 4);
  EXPECT_EQ(Wait("ended").code(), 5);
}

TEST_F(ServerTest, AnExitWhileNoDaemonRanIsReportedByTheNext) {
  RunDetached("a", {"flood", "2000000"});
  RunDetached("lost", {"sleep"});
  const int lost = Get("lost").host_pid();
  StopServer();
  kill(lost, SIGKILL);
  StartServer();
  EXPECT_EQ(Wait("a").code(), 0);
  EXPECT_TRUE(Wait("lost").kernel_lost());
  EXPECT_EQ(Logs("a", true).size(), 2000000u);
  EXPECT_EQ(Logs("lost", true), "");
}

TEST_F(ServerTest, ASecondDaemonOnTheSameFolderIsRefused) {
  ServerOptions options;
  options.state_dir = dir_ + "/state";
  auto second = Server::Start(std::move(options));
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.error().message().find("in use by another sandboxd"), std::string::npos);
}

TEST_F(ServerTest, ManyAtOnce) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([this, i] {
      const std::string id = "s" + std::to_string(i);
      EXPECT_TRUE(Create(Request(id, {"exit", std::to_string(i)})).ok());
      EXPECT_TRUE(Start(id).ok());
      EXPECT_EQ(Wait(id).code(), i);
      EXPECT_TRUE(Delete(id, false).ok());
    });
  }
  for (auto& thread : threads) thread.join();
}

// Calls a method by its name with an empty request and gives the bytes of the answer.
std::string CallByName(const std::string& address, const std::string& method,
                       const std::string& request) {
  auto channel = grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
  grpc::GenericStub stub(channel);
  grpc::CompletionQueue queue;
  ClientContext context;
  grpc::Slice slice(request);
  grpc::ByteBuffer in(&slice, 1), out;
  auto stream = stub.PrepareCall(&context, method, &queue);
  void* tag;
  bool ok = true;
  const auto next = [&] { return queue.Next(&tag, &ok) && ok; };
  stream->StartCall(&tag);
  if (!next()) return "";
  stream->Write(in, &tag);
  if (!next()) return "";
  stream->Read(&out, &tag);
  std::string answer;
  if (next()) {
    std::vector<grpc::Slice> slices;
    out.Dump(&slices);
    for (const auto& s : slices) answer.append(reinterpret_cast<const char*>(s.begin()), s.size());
  }
  context.TryCancel();
  grpc::Status status;
  stream->Finish(&status, &tag);
  queue.Next(&tag, &ok);
  queue.Shutdown();
  while (queue.Next(&tag, &ok)) {
  }
  return answer;
}

TEST_F(ServerTest, HealthSaysServing) {
  // HealthCheckResponse{status: SERVING}
  EXPECT_EQ(CallByName("unix://" + dir_ + "/sock", "/grpc.health.v1.Health/Check", ""),
            std::string("\x08\x01"));
}

TEST_F(ServerTest, ReflectionNamesTheServices) {
  // ServerReflectionRequest{list_services: "*"}
  const std::string answer =
      CallByName("unix://" + dir_ + "/sock",
                 "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "\x3a\x01*");
  for (const char* service : {"sandboxd.v1.SandboxService", "sandboxd.v1.ProcessService",
                              "sandboxd.v1.DaemonService", "grpc.health.v1.Health"}) {
    EXPECT_NE(answer.find(service), std::string::npos) << service;
  }
}

TEST_F(ServerTest, InfoNamesFeatures) {
  ClientContext context;
  v1::InfoResponse info;
  ASSERT_TRUE(daemon_->Info(&context, {}, &info).ok());
  EXPECT_EQ(info.default_platform(), "fake");
  EXPECT_GT(info.features_size(), 5);
}

}  // namespace
}  // namespace sandboxd::daemon
