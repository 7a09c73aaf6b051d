// pause, resume, update, events: a running container's limits and figures.
#include <google/protobuf/util/time_util.h>
#include <time.h>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "client/cli/limit_flags.h"
#include "client/cpp/client.h"
#include "daemon/oci/documents.h"
#include "daemon/oci/spec.h"
#include "tools/oci/commands.h"

namespace sandboxd::oci {
namespace {

using google::protobuf::util::TimeUtil;
using nlohmann::ordered_json;

int64_t Ns(const google::protobuf::Duration& d) { return TimeUtil::DurationToNanoseconds(d); }

// As runc prints it, which is what readers of `events` expect.
std::string StatsJson(const std::string& id, const v1::SandboxStats& s) {
  ordered_json data;
  data["cpu"] = {{"usage",
                  {{"total", Ns(s.cpu_time())},
                   {"kernel", Ns(s.cpu_system_time())},
                   {"user", Ns(s.cpu_user_time())}}},
                 {"throttling",
                  {{"periods", s.cpu_periods()},
                   {"throttledPeriods", s.cpu_throttled_periods()},
                   {"throttledTime", Ns(s.cpu_throttled_time())}}}};
  data["memory"] = {{"cache", s.memory_cache_bytes()},
                    {"usage",
                     {{"limit", s.memory_limit_bytes()},
                      {"usage", s.memory_bytes()},
                      {"max", s.memory_peak_bytes()},
                      {"failcnt", s.memory_limit_hits()}}},
                    {"raw", {{"rss", s.memory_rss_bytes()}}}};
  data["pids"] = {{"current", s.processes()}, {"limit", s.processes_limit()}};
  return ordered_json{{"type", "stats"}, {"id", id}, {"data", data}}.dump();
}

Outcome<v1::UpdateSandboxRequest> UpdateRequestOf(const Args& args) {
  v1::UpdateSandboxRequest request;
  std::vector<std::string> fields;
  if (args.Has("resources")) {
    const std::string path = args.Get("resources");
    const std::string text = path == "-" ? std::string(std::istreambuf_iterator<char>(std::cin), {})
                                         : TRY(ReadWholeFile(path));
    std::vector<std::string> notes;
    *request.mutable_resources() = TRY(daemon::oci::ParseResources(text, &notes));
    fields = daemon::oci::FieldsOfResources(text);
  }
  const std::string wrong = cli::FillResources(args, request.mutable_resources(), &fields);
  if (!wrong.empty()) return Error::Internal(wrong);
  for (const std::string& field : fields)
    request.mutable_update_mask()->add_paths("resources." + field);
  return request;
}

// Finds the container and calls `work` with its daemon's client.
template <typename Work>
int WithContainer(const Args& args, Work work) {
  const ContainerStore store(GlobalOptions().root);
  auto record = store.Load(args.positional()[0]);
  if (!record.ok()) return Fail(record.error());
  auto there = EnsureDaemon(GlobalOptions().daemon, record->address);
  if (!there.ok()) return Fail(there.error());
  client::Client client(record->address);
  auto done = work(client, *record);
  return done.ok() ? 0 : Fail(done.error());
}

Outcome<void> Checked(const client::Error& error) {
  if (error) return FromClient(error);
  return {};
}

}  // namespace

int PauseCommand(const Args& args) {
  return WithContainer(args, [](client::Client& client, const ContainerRecord& record) {
    v1::Sandbox sandbox;
    return Checked(client.Pause(record.id, &sandbox));
  });
}

int ResumeCommand(const Args& args) {
  return WithContainer(args, [](client::Client& client, const ContainerRecord& record) {
    v1::Sandbox sandbox;
    return Checked(client.Resume(record.id, &sandbox));
  });
}

int UpdateCommand(const Args& args) {
  return WithContainer(args,
                       [&](client::Client& client, const ContainerRecord& record) -> Outcome<void> {
                         v1::UpdateSandboxRequest request = TRY(UpdateRequestOf(args));
                         if (request.update_mask().paths().empty()) return {};
                         request.set_id(record.id);
                         v1::Sandbox sandbox;
                         return Checked(client.Update(request, &sandbox));
                       });
}

int EventsCommand(const Args& args) {
  return WithContainer(
      args, [&](client::Client& client, const ContainerRecord& record) -> Outcome<void> {
        const std::string text = args.Get("interval", "5s");
        const long seconds = strtol(text.c_str(), nullptr, 10);
        if (seconds <= 0) return Error::Internal("--interval takes seconds: 5s");
        for (;;) {
          v1::SandboxStats stats;
          if (auto error = client.Stats(record.id, &stats)) {
            const bool over =
                error.reason() == "WRONG_STATE" || error.reason() == "SANDBOX_NOT_FOUND";
            if (over && !args.Has("stats")) return {};
            return FromClient(error);
          }
          printf("%s\n", StatsJson(record.id, stats).c_str());
          fflush(stdout);
          if (args.Has("stats")) return {};
          const timespec pause{seconds, 0};
          ::nanosleep(&pause, nullptr);
        }
      });
}

int SpecCommand(const Args& args) {
  const std::string path = args.Get("bundle", ".") + "/config.json";
  if (std::ifstream(path).good()) return Fail(path + " exists already");
  auto written = ReplaceFile(path, daemon::oci::SpecTemplate());
  return written.ok() ? 0 : Fail(written.error());
}

int FeaturesCommand(const Args&) {
  fputs(daemon::oci::FeaturesDocument().c_str(), stdout);
  return 0;
}

}  // namespace sandboxd::oci
