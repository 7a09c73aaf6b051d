#include "daemon/service/daemon_service.h"

#include <google/protobuf/util/time_util.h>
#include <unistd.h>

namespace sandboxd::daemon {
namespace {

constexpr uint32_t kControlVersion = 1;

// A name here is a promise to clients: see InfoResponse.features.
constexpr const char* kFeatures[] = {"create",      "start", "watch",  "wait",   "exec",
                                     "attach",      "logs",  "bundle", "rootfs", "detach_keys",
                                     "auto_delete", "pause", "update", "stats",  "limits"};

}  // namespace

DaemonServiceImpl::DaemonServiceImpl(ServiceContext context)
    : context_(context), start_time_(google::protobuf::util::TimeUtil::GetCurrentTime()) {}

grpc::ServerUnaryReactor* DaemonServiceImpl::Version(Call* call, const v1::VersionRequest* request,
                                                     v1::VersionResponse* response) {
  return UnaryCall<v1::VersionRequest, v1::VersionResponse>::Run(
      context_, *call, request, response,
      [](CallContext&, const Caller&, const auto&, auto* response) -> Outcome<void> {
        response->set_version(kVersion);
        response->set_api_version("v1");
        response->set_control_version(kControlVersion);
        return {};
      });
}

grpc::ServerUnaryReactor* DaemonServiceImpl::Info(Call* call, const v1::InfoRequest* request,
                                                  v1::InfoResponse* response) {
  return UnaryCall<v1::InfoRequest, v1::InfoResponse>::Run(
      context_, *call, request, response,
      [this](CallContext&, const Caller&, const auto&, auto* response) -> Outcome<void> {
        const Settings& settings = context_.env.settings;
        response->set_version(kVersion);
        for (const char* feature : kFeatures) response->add_features(feature);
        response->set_state_dir(context_.env.store.path());
        response->set_rootless(settings.rootless);
        response->set_default_platform(settings.default_platform);
        *response->mutable_start_time() = start_time_;
        uint64_t running = 0;
        const auto all = context_.manager.All();
        for (const Ref<Sandbox>& sandbox : all) {
          running += sandbox->Snapshot().state() == v1::Sandbox::STATE_RUNNING;
        }
        response->set_sandboxes(all.size());
        response->set_running_sandboxes(running);
        response->set_kernel_binary(settings.kernel_path);
        response->set_gofer_binary(settings.gofer_path);
        response->set_pid(::getpid());
        response->set_guest_release("6.1");
        response->set_guest_machine("x86_64");
        return {};
      });
}

grpc::ServerUnaryReactor* DaemonServiceImpl::ListPlatforms(Call* call,
                                                           const v1::ListPlatformsRequest* request,
                                                           v1::ListPlatformsResponse* response) {
  return UnaryCall<v1::ListPlatformsRequest, v1::ListPlatformsResponse>::Run(
      context_, *call, request, response,
      [this](CallContext&, const Caller&, const auto&, auto* response) -> Outcome<void> {
        const std::vector<PlatformState> platforms = TRY(context_.env.platforms.List());
        const auto automatic = PickAutomatically(platforms);
        if (automatic.ok()) {
          response->set_auto_platform(automatic->name);
          response->set_auto_reason(automatic->reason);
        } else {
          response->set_auto_reason(automatic.error().message());
        }
        std::string preset = context_.env.settings.default_platform;
        if (preset == kAutoPlatform) preset = response->auto_platform();
        for (const PlatformState& known : platforms) {
          v1::Platform& platform = *response->add_platforms();
          platform.set_name(known.name);
          platform.set_available(known.available);
          platform.set_detail(known.detail);
          platform.set_is_default(preset == known.name);
        }
        return {};
      });
}

}  // namespace sandboxd::daemon
