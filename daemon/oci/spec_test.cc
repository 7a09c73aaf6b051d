#include "daemon/oci/spec.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "daemon/oci/documents.h"

namespace sandboxd::daemon::oci {
namespace {

// What `runc spec` writes, in short.
constexpr char kTypical[] = R"({
  "ociVersion": "1.0.2-dev",
  "process": {
    "terminal": true,
    "user": {"uid": 1000, "gid": 1001, "additionalGids": [5, 6], "umask": 18},
    "args": ["sh", "-c", "echo hi"],
    "env": ["PATH=/usr/bin:/bin", "TERM=xterm"],
    "cwd": "/work",
    "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"]},
    "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 512}],
    "noNewPrivileges": true,
    "oomScoreAdj": 100,
    "consoleSize": {"height": 50, "width": 132}
  },
  "root": {"path": "rootfs", "readonly": true},
  "hostname": "box",
  "mounts": [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/data", "source": "/srv", "options": ["rbind", "ro"]}
  ],
  "annotations": {"a": "b"},
  "linux": {
    "resources": {"devices": [{"allow": false, "access": "rwm"}]},
    "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "mount"}],
    "maskedPaths": ["/proc/kcore"],
    "readonlyPaths": ["/proc/sys"],
    "sysctl": {"kernel.msgmax": "65536"}
  }
})";

std::string With(std::string from, std::string to) {
  std::string text = kTypical;
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

bool HasViolation(const Error& error, const std::string& field, const std::string& word) {
  return std::any_of(error.violations().begin(), error.violations().end(), [&](const auto& v) {
    return v.field == field && v.description.find(word) != std::string::npos;
  });
}

TEST(SpecTest, ATypicalBundleIsRead) {
  auto spec = ParseSpec(kTypical);
  ASSERT_TRUE(spec.ok()) << spec.error().message();
  EXPECT_EQ(spec->process.args_size(), 3);
  EXPECT_EQ(spec->process.cwd(), "/work");
  EXPECT_EQ(spec->process.user().uid(), 1000u);
  EXPECT_EQ(spec->process.user().umask(), 18u);
  EXPECT_EQ(spec->process.user().additional_gids(1), 6u);
  EXPECT_EQ(spec->process.capabilities().bounding(0), "CAP_KILL");
  EXPECT_EQ(spec->process.rlimits(0).hard(), 1024u);
  EXPECT_TRUE(spec->process.terminal());
  EXPECT_EQ(spec->process.terminal_size().cols(), 132u);
  EXPECT_EQ(spec->process.oom_score_adj(), 100);
  EXPECT_TRUE(spec->root_readonly);
  EXPECT_EQ(spec->mounts[1].type(), "bind");
  EXPECT_EQ(spec->masked_paths[0], "/proc/kcore");
  EXPECT_EQ(spec->sysctl["kernel.msgmax"], "65536");
}

// A specification with this seccomp profile.
std::string WithSeccomp(const std::string& profile) {
  return With("\"maskedPaths\"", "\"seccomp\": " + profile + ", \"maskedPaths\"");
}

TEST(SpecTest, SeccompBecomesAProgram) {
  auto none = ParseSpec(kTypical);
  ASSERT_TRUE(none.ok());
  EXPECT_TRUE(none->seccomp_program.empty());
  auto spec = ParseSpec(WithSeccomp(R"({
    "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
    "flags": ["SECCOMP_FILTER_FLAG_LOG"],
    "syscalls": [
      {"names": ["read", "write", "a_call_of_tomorrow"], "action": "SCMP_ACT_ALLOW"},
      {"names": ["personality"], "action": "SCMP_ACT_ALLOW",
       "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"},
                {"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
      {"names": ["clone"], "action": "SCMP_ACT_ALLOW",
       "args": [{"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]}
    ]})"));
  ASSERT_TRUE(spec.ok()) << spec.error().message();
  constexpr size_t kInstruction = 8;  // struct sock_filter
  EXPECT_GT(spec->seccomp_program.size(), 10 * kInstruction);
  EXPECT_EQ(spec->seccomp_program.size() % kInstruction, 0u);
  EXPECT_TRUE(spec->seccomp_log);
}

TEST(SpecTest, WrongSeccompIsNamed) {
  auto wrong = ParseSpec(WithSeccomp(R"({
    "defaultAction": "SCMP_ACT_FORGIVE",
    "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW",
                  "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_ALMOST"}]}]})"));
  ASSERT_FALSE(wrong.ok());
  EXPECT_TRUE(HasViolation(wrong.error(), "config.json:linux.seccomp.defaultAction", "action"));
  EXPECT_TRUE(HasViolation(wrong.error(), "config.json:linux.seccomp.syscalls[0].args[0].op",
                           "comparison"));
  auto notify = ParseSpec(WithSeccomp(
      R"({"defaultAction": "SCMP_ACT_ALLOW",
          "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_NOTIFY"}]})"));
  ASSERT_FALSE(notify.ok());
}

TEST(SpecTest, WhatHasNoEffectIsReported) {
  auto spec = ParseSpec(kTypical);
  ASSERT_TRUE(spec.ok());
  ASSERT_EQ(spec->notes.size(), 1u);
  EXPECT_EQ(spec->notes[0].rfind("linux.resources.devices: ", 0), 0u);
}

TEST(SpecTest, AMountOptionWithoutEffectIsReportedAndNotPassedOn) {
  auto spec = ParseSpec(With("\"type\": \"proc\", \"source\": \"proc\"",
                             R"("type": "tmpfs", "source": "t", "options": ["tmpcopyup", "ro"])"));
  ASSERT_TRUE(spec.ok()) << spec.error().message();
  ASSERT_EQ(spec->mounts[0].options_size(), 1);
  EXPECT_EQ(spec->mounts[0].options(0), "ro");
  EXPECT_EQ(spec->notes[0].rfind("mounts[0].options[0]: tmpcopyup", 0), 0u);
}

TEST(SpecTest, TextThatIsNotJsonSaysLineAndColumn) {
  auto spec = ParseSpec("{\n  \"ociVersion\": nonsense\n}");
  ASSERT_FALSE(spec.ok());
  EXPECT_EQ(spec.error().code(), Code::kInvalidArgument);
  EXPECT_EQ(spec.error().metadata().at("line"), "2");
  EXPECT_EQ(spec.error().metadata().at("column"), "18");
  EXPECT_NE(spec.error().message().find("config.json is not JSON: line 2"), std::string::npos);
}

TEST(SpecTest, EmptyAndTruncatedTextAreNotJson) {
  EXPECT_NE(ParseSpec("").error().message().find("ends too early"), std::string::npos);
  EXPECT_NE(ParseSpec("{\"a\": [1,").error().message().find("ends too early"), std::string::npos);
}

TEST(SpecTest, ADocumentThatIsNoObjectIsWrong) {
  EXPECT_TRUE(HasViolation(ParseSpec("[]").error(), "config.json:(document)", "must be an object"));
}

TEST(SpecTest, UnknownFieldsAreNamedOnEveryLevel) {
  auto spec = ParseSpec(With("\"hostname\": \"box\"", "\"hostnme\": \"box\""));
  ASSERT_FALSE(spec.ok());
  EXPECT_EQ(spec.error().reason(), v1::ERROR_REASON_BUNDLE_INVALID);
  EXPECT_TRUE(HasViolation(spec.error(), "config.json:hostnme", "unknown field"));
  auto deep = ParseSpec(With("\"soft\": 512", "\"soft\": 512, \"sift\": 1"));
  EXPECT_TRUE(HasViolation(deep.error(), "config.json:process.rlimits[0].sift", "unknown field"));
}

TEST(SpecTest, EveryWrongFieldIsReportedAtOnce) {
  std::string text = With("\"uid\": 1000", "\"uid\": -1");
  auto replace = [&](const std::string& from, const std::string& to) {
    text.replace(text.find(from), from.size(), to);
  };
  replace("\"cwd\": \"/work\"", "\"cwd\": \"work\"");
  replace("[\"CAP_KILL\"]", "[\"CAP_KILLER\"]");
  replace("\"TERM=xterm\"", "\"TERM\"");
  replace("\"readonly\": true", "\"readonly\": \"yes\"");
  auto spec = ParseSpec(text);
  ASSERT_FALSE(spec.ok());
  const Error& e = spec.error();
  EXPECT_TRUE(HasViolation(e, "config.json:process.user.uid", "whole number"));
  EXPECT_TRUE(HasViolation(e, "config.json:process.cwd", "absolute"));
  EXPECT_TRUE(HasViolation(e, "config.json:process.capabilities.bounding[0]", "CAP_KILLER"));
  EXPECT_TRUE(HasViolation(e, "config.json:process.env[1]", "KEY=value"));
  EXPECT_TRUE(HasViolation(e, "config.json:root.readonly", "true or false"));
  EXPECT_EQ(e.violations().size(), 5u);
}

TEST(SpecTest, MissingFieldsAreNamed) {
  const Error e = ParseSpec("{\"process\": {}}").error();
  for (const char* field : {"ociVersion", "root", "process.args", "process.cwd"}) {
    EXPECT_TRUE(HasViolation(e, std::string("config.json:") + field, "is missing")) << field;
  }
}

TEST(SpecTest, WhatIsNotSupportedIsRefusedByName) {
  auto limits =
      ParseSpec(With("\"maskedPaths\"", "\"intelRdt\": {\"closID\": \"x\"}, \"maskedPaths\""));
  ASSERT_FALSE(limits.ok());
  EXPECT_EQ(limits.error().reason(), v1::ERROR_REASON_FEATURE_UNSUPPORTED);
  EXPECT_TRUE(HasViolation(limits.error(), "config.json:linux.intelRdt", "not supported"));
  auto join =
      ParseSpec(With("{\"type\": \"pid\"}", "{\"type\": \"pid\", \"path\": \"/proc/1/ns/pid\"}"));
  EXPECT_TRUE(HasViolation(join.error(), "config.json:linux.namespaces[0].path", "join"));
  auto fs = ParseSpec(With("\"type\": \"proc\", \"source\": \"proc\"", "\"type\": \"nfs\""));
  EXPECT_TRUE(HasViolation(fs.error(), "config.json:mounts[0].type", "nfs"));
}

TEST(SpecTest, LimitsAreRead) {
  auto spec = ParseSpec(With("\"resources\": {", R"("cgroupsPath": "box/one", "resources": {
      "memory": {"limit": 1000000, "swap": -1, "reservation": 5000},
      "cpu": {"shares": 512, "quota": 150000, "period": 100000, "cpus": "0-1"},
      "pids": {"limit": 7}, "blockIO": {"weight": 0},)"));
  ASSERT_TRUE(spec.ok()) << spec.error().message();
  EXPECT_EQ(spec->resources.memory_limit_bytes(), 1000000u);
  EXPECT_EQ(spec->resources.memory_swap_bytes(), 0u);
  EXPECT_EQ(spec->resources.memory_reservation_bytes(), 5000u);
  EXPECT_EQ(spec->resources.cpu_shares(), 512u);
  EXPECT_EQ(spec->resources.cpu_limit_millis(), 1500u);
  EXPECT_EQ(spec->resources.cpuset_cpus(), "0-1");
  EXPECT_EQ(spec->resources.pids_limit(), 7u);
  EXPECT_EQ(spec->cgroups_path, "/box/one");
}

TEST(SpecTest, LimitsThatCantBeKeptAreRefused) {
  auto spec = ParseSpec(With("\"resources\": {", R"("cgroupsPath": "system.slice:docker:abc",
      "resources": {"memory": {"disableOOMKiller": true}, "blockIO": {"weight": 10},
      "hugepageLimits": [{"pageSize": "2MB", "limit": 9}],)"));
  ASSERT_FALSE(spec.ok());
  const Error& e = spec.error();
  EXPECT_EQ(e.reason(), v1::ERROR_REASON_FEATURE_UNSUPPORTED);
  EXPECT_TRUE(HasViolation(e, "config.json:linux.cgroupsPath", "cgroupfs"));
  EXPECT_TRUE(HasViolation(e, "config.json:linux.resources.memory.disableOOMKiller", "out-of"));
  EXPECT_TRUE(HasViolation(e, "config.json:linux.resources.blockIO", "block"));
  EXPECT_TRUE(HasViolation(e, "config.json:linux.resources.hugepageLimits", "huge"));
  EXPECT_EQ(e.violations().size(), 4u);
}

TEST(SpecTest, HooksAndTheNetworkToJoinAreRead) {
  auto spec = ParseSpec(
      With("{\"type\": \"network\"}", "{\"type\": \"network\", \"path\": \"/run/netns/x\"}"));
  ASSERT_TRUE(spec.ok()) << spec.error().message();
  EXPECT_EQ(spec->network_namespace_path, "/run/netns/x");
  auto hooks =
      ParseSpec(With("\"hostname\"", R"("hooks": {"prestart": [{"path": "/x", "args": ["x"],
      "timeout": 5}, {"path": "/y"}], "poststop": [{"path": "/z"}]}, "hostname")"));
  ASSERT_TRUE(hooks.ok()) << hooks.error().message();
  EXPECT_EQ(hooks->hooks, (std::vector<std::string>{"prestart", "poststop"}));
  auto wrong = ParseSpec(
      With("\"hostname\"", R"("hooks": {"prestart": [{"path": "x", "timeout": 0}]}, "hostname")"));
  EXPECT_TRUE(HasViolation(wrong.error(), "config.json:hooks.prestart[0].path", "absolute"));
  EXPECT_TRUE(HasViolation(wrong.error(), "config.json:hooks.prestart[0].timeout", "whole number"));
}

TEST(SpecTest, TheTemplateIsUnderstood) {
  auto spec = ParseSpec(SpecTemplate());
  ASSERT_TRUE(spec.ok()) << spec.error().message();
  EXPECT_EQ(spec->root_path, "rootfs");
  EXPECT_EQ(spec->notes, std::vector<std::string>());
}

TEST(SpecTest, AProcessAloneIsReadToo) {
  auto process =
      ParseProcess(R"({"args": ["id"], "cwd": "/", "user": {"uid": 0, "gid": 0}})", nullptr);
  ASSERT_TRUE(process.ok()) << process.error().message();
  EXPECT_EQ(process->args(0), "id");
  EXPECT_FALSE(ParseProcess("{\"args\": 3}", nullptr).ok());
}

}  // namespace
}  // namespace sandboxd::daemon::oci
