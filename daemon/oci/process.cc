#include "daemon/oci/readers.h"

namespace sandboxd::daemon::oci {
namespace {

using nlohmann::json;

void ReadUser(ObjectReader& in, v1::User& out) {
  in.Require("uid");
  in.Require("gid");
  out.set_uid(static_cast<uint32_t>(in.Unsigned("uid", UINT32_MAX).value_or(0)));
  out.set_gid(static_cast<uint32_t>(in.Unsigned("gid", UINT32_MAX).value_or(0)));
  if (auto umask = in.Unsigned("umask", 0777)) out.set_umask(static_cast<uint32_t>(*umask));
  in.Array("additionalGids", [&](const json& gid, const std::string& path) {
    if (gid.is_number_unsigned() && gid.get<uint64_t>() <= UINT32_MAX) {
      out.add_additional_gids(gid.get<uint32_t>());
    } else {
      in.findings().wrong.push_back({path, "must be a whole number from 0 to 4294967295"});
    }
  });
  in.Unsupported("username", "is for Windows only");
}

void ReadCapabilitySet(ObjectReader& in, const char* name,
                       google::protobuf::RepeatedPtrField<std::string>& out) {
  size_t i = 0;
  for (const std::string& capability : in.Strings(name)) {
    if (IsCapability(capability)) {
      *out.Add() = capability;
    } else {
      in.Wrong(std::string(name) + "[" + std::to_string(i) + "]",
               "unknown capability \"" + capability + "\"");
    }
    ++i;
  }
}

void ReadRlimits(ObjectReader& in, v1::ProcessSpec& out) {
  std::set<std::string> seen;
  in.Array("rlimits", [&](const json& element, const std::string& path) {
    ObjectReader limit(element, path, in.findings());
    for (const char* name : {"type", "soft", "hard"}) limit.Require(name);
    v1::Rlimit& rlimit = *out.add_rlimits();
    rlimit.set_type(limit.String("type").value_or(""));
    rlimit.set_soft(limit.Unsigned("soft").value_or(0));
    rlimit.set_hard(limit.Unsigned("hard").value_or(0));
    if (!rlimit.type().empty()) {
      if (!IsRlimit(rlimit.type())) limit.Wrong("type", "unknown limit \"" + rlimit.type() + "\"");
      if (!seen.insert(rlimit.type()).second) limit.Wrong("type", "is given twice");
    }
    if (rlimit.soft() > rlimit.hard()) limit.Wrong("soft", "is above hard");
    limit.Done();
  });
}

}  // namespace

void ReadProcess(ObjectReader& in, v1::ProcessSpec& out) {
  in.Require("cwd");
  for (std::string& arg : in.Strings("args")) out.add_args(std::move(arg));
  if (in.Has("args") && out.args_size() == 0) in.Wrong("args", "must not be empty");
  if (!in.Has("args")) in.Wrong("args", "is missing");
  size_t i = 0;
  for (std::string& entry : in.Strings("env")) {
    if (entry.find('=') == std::string::npos || entry[0] == '=') {
      in.Wrong("env[" + std::to_string(i) + "]", "must be KEY=value");
    }
    ++i;
    out.add_env(std::move(entry));
  }
  out.set_cwd(in.String("cwd").value_or(""));
  if (!out.cwd().empty() && out.cwd()[0] != '/') in.Wrong("cwd", "must be an absolute path");
  out.set_terminal(in.Bool("terminal").value_or(false));
  in.Object("consoleSize", [&](ObjectReader& size) {
    v1::TerminalSize& out_size = *out.mutable_terminal_size();
    out_size.set_rows(static_cast<uint32_t>(size.Unsigned("height", 65535).value_or(0)));
    out_size.set_cols(static_cast<uint32_t>(size.Unsigned("width", 65535).value_or(0)));
  });
  in.Object("user", [&](ObjectReader& user) { ReadUser(user, *out.mutable_user()); });
  in.Object("capabilities", [&](ObjectReader& sets) {
    v1::Capabilities& caps = *out.mutable_capabilities();
    ReadCapabilitySet(sets, "bounding", *caps.mutable_bounding());
    ReadCapabilitySet(sets, "effective", *caps.mutable_effective());
    ReadCapabilitySet(sets, "inheritable", *caps.mutable_inheritable());
    ReadCapabilitySet(sets, "permitted", *caps.mutable_permitted());
    ReadCapabilitySet(sets, "ambient", *caps.mutable_ambient());
  });
  ReadRlimits(in, out);
  out.set_no_new_privileges(in.Bool("noNewPrivileges").value_or(false));
  if (auto adj = in.Int("oomScoreAdj", -1000, 1000)) {
    out.set_oom_score_adj(static_cast<int32_t>(*adj));
  }
  in.Note("apparmorProfile", "host profiles do not apply inside a sandbox");
  in.Note("selinuxLabel", "host labels do not apply inside a sandbox");
  in.Unsupported("scheduler");
  in.Unsupported("ioPriority");
  in.Unsupported("execCPUAffinity");
  in.Unsupported("commandLine", "is for Windows only");
}

}  // namespace sandboxd::daemon::oci
