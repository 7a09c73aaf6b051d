// state, list, ps: what there is.
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "client/cli/output.h"
#include "client/cpp/client.h"
#include "tools/oci/commands.h"

namespace sandboxd::oci {
namespace {
using nlohmann::ordered_json;
constexpr char kSpecVersion[] = "1.0.2";
}  // namespace

std::string StateJson(const ContainerRecord& record, const std::string& status, pid_t pid) {
  ordered_json state = {
      {"ociVersion", record.oci_version.empty() ? kSpecVersion : record.oci_version},
      {"id", record.id},
      {"status", status},
      {"pid", pid},
      {"bundle", record.bundle}};
  if (!record.annotations.empty()) state["annotations"] = record.annotations;
  return state.dump(2);
}

Outcome<std::string> StatusOf(const ContainerRecord& record) {
  TRY(EnsureDaemon(GlobalOptions().daemon, record.address));
  client::Client client(record.address);
  v1::Sandbox sandbox;
  if (auto error = client.Get(record.id, &sandbox)) {
    if (error.reason() == "SANDBOX_NOT_FOUND") return std::string("stopped");
    return FromClient(error);
  }
  switch (sandbox.state()) {
    case v1::Sandbox::STATE_CREATING:
      return std::string("creating");
    case v1::Sandbox::STATE_CREATED:
      return std::string("created");
    case v1::Sandbox::STATE_RUNNING:
      return std::string("running");
    case v1::Sandbox::STATE_PAUSED:
      return std::string("paused");
    default:
      return std::string("stopped");
  }
}

int StateCommand(const Args& args) {
  const ContainerStore store(GlobalOptions().root);
  auto record = store.Load(args.positional()[0]);
  if (!record.ok()) return Fail(record.error());
  auto status = StatusOf(*record);
  if (!status.ok()) return Fail(status.error());
  ordered_json state = ordered_json::parse(
      StateJson(*record, *status, *status == "stopped" ? 0 : record->monitor_pid));
  state["created"] = record->created;
  printf("%s\n", state.dump(2).c_str());
  return 0;
}

int ListCommand(const Args& args) {
  const ContainerStore store(GlobalOptions().root);
  std::vector<std::vector<std::string>> rows = {{"ID", "PID", "STATUS", "BUNDLE", "CREATED"}};
  ordered_json all = ordered_json::array();
  for (const ContainerRecord& record : store.List()) {
    auto status = StatusOf(record);
    const std::string text = status.ok() ? *status : "unknown";
    const pid_t pid = text == "stopped" ? 0 : record.monitor_pid;
    if (args.Has("quiet")) {
      printf("%s\n", record.id.c_str());
      continue;
    }
    rows.push_back({record.id, std::to_string(pid), text, record.bundle, record.created});
    ordered_json one = ordered_json::parse(StateJson(record, text, pid));
    one["created"] = record.created;
    all.push_back(std::move(one));
  }
  if (args.Has("quiet")) return 0;
  if (args.Get("format", "table") == "json") {
    printf("%s\n", all.dump().c_str());
  } else {
    cli::PrintTable(rows);
  }
  return 0;
}

int PsCommand(const Args& args) {
  const ContainerStore store(GlobalOptions().root);
  auto record = store.Load(args.positional()[0]);
  if (!record.ok()) return Fail(record.error());
  if (args.Get("format", "table") == "json") {
    // Pids of the host are asked for; the programs inside have none, so it is the monitor's.
    ordered_json pids = ordered_json::array();
    if (record->MonitorAlive()) pids.push_back(record->monitor_pid);
    printf("%s\n", pids.dump().c_str());
    return 0;
  }
  client::Client client(record->address);
  v1::ListProcessesRequest request;
  request.set_sandbox_id(record->id);
  v1::ListProcessesResponse response;
  if (auto error = client.ListProcesses(request, &response)) return Fail(FromClient(error));
  std::vector<std::vector<std::string>> rows = {{"PID", "PPID", "UID", "STATE", "COMMAND"}};
  for (const v1::Process& p : response.processes()) {
    if (p.state() != v1::Process::STATE_RUNNING) continue;
    rows.push_back({std::to_string(p.pid()), std::to_string(p.ppid()), std::to_string(p.uid()),
                    p.scheduler_state(), p.command()});
  }
  cli::PrintTable(rows);
  return 0;
}

}  // namespace sandboxd::oci
