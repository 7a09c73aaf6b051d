// pause, resume, update, stats; spec, features.
#include <google/protobuf/util/time_util.h>

#include <cstdio>

#include "client/cli/commands.h"
#include "client/cli/limit_flags.h"
#include "client/cli/output.h"
#include "daemon/oci/documents.h"

namespace sandboxd::cli {
namespace {

std::string Bytes(uint64_t bytes) {
  char text[32];
  snprintf(text, sizeof text, "%.1f MiB", static_cast<double>(bytes) / (1 << 20));
  return text;
}

std::string OfLimit(const std::string& used, uint64_t limit, const std::string& text) {
  return limit == 0 ? used : used + " of " + text;
}

}  // namespace

int PauseCommand(const Args& args) {
  client::Client client = MakeClient();
  for (const auto& id : args.positional()) {
    v1::Sandbox sandbox;
    if (auto error = client.Pause(id, &sandbox)) return Fail(error);
  }
  return 0;
}

int ResumeCommand(const Args& args) {
  client::Client client = MakeClient();
  for (const auto& id : args.positional()) {
    v1::Sandbox sandbox;
    if (auto error = client.Resume(id, &sandbox)) return Fail(error);
  }
  return 0;
}

int UpdateCommand(const Args& args) {
  v1::UpdateSandboxRequest request;
  request.set_id(args.positional()[0]);
  std::vector<std::string> fields;
  if (auto error = FillResources(args, request.mutable_resources(), &fields); !error.empty())
    return Fail(error);
  if (fields.empty()) return Fail("nothing to change; see `sandboxctl update --help`");
  for (const auto& field : fields) request.mutable_update_mask()->add_paths("resources." + field);
  client::Client client = MakeClient();
  v1::Sandbox sandbox;
  if (auto error = client.Update(request, &sandbox)) return Fail(error);
  if (GlobalOptions().json) PrintJson(sandbox);
  return 0;
}

int StatsCommand(const Args& args) {
  client::Client client = MakeClient();
  std::vector<std::vector<std::string>> rows = {{"ID", "CPU TIME", "MEMORY", "PROCESSES"}};
  for (const auto& id : args.positional()) {
    v1::SandboxStats stats;
    if (auto error = client.Stats(id, &stats)) return Fail(error);
    if (GlobalOptions().json) {
      PrintJson(stats);
      continue;
    }
    char time[32];
    const int64_t ms = google::protobuf::util::TimeUtil::DurationToMilliseconds(stats.cpu_time());
    snprintf(time, sizeof time, "%.2fs", static_cast<double>(ms) / 1e3);
    rows.push_back({id, time,
                    OfLimit(Bytes(stats.memory_bytes()), stats.memory_limit_bytes(),
                            Bytes(stats.memory_limit_bytes())),
                    OfLimit(std::to_string(stats.processes()), stats.processes_limit(),
                            std::to_string(stats.processes_limit()))});
  }
  if (!GlobalOptions().json) PrintTable(rows);
  return 0;
}

int SpecCommand(const Args&) {
  fputs(daemon::oci::SpecTemplate().c_str(), stdout);
  return 0;
}

int FeaturesCommand(const Args&) {
  fputs(daemon::oci::FeaturesDocument().c_str(), stdout);
  return 0;
}

}  // namespace sandboxd::cli
