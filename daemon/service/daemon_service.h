// DaemonService, and the services that are declared and not built yet.
#pragma once

#include "daemon/service/calls.h"
#include "proto/sandboxd/v1/daemon.grpc.pb.h"
#include "proto/sandboxd/v1/file.grpc.pb.h"
#include "proto/sandboxd/v1/network.grpc.pb.h"

namespace sandboxd::daemon {

inline constexpr char kVersion[] = "0.1.0";

class DaemonServiceImpl final : public v1::DaemonService::CallbackService {
 public:
  explicit DaemonServiceImpl(ServiceContext context);

  using Call = grpc::CallbackServerContext;
  using Unary = grpc::ServerUnaryReactor;
  Unary* Version(Call*, const v1::VersionRequest*, v1::VersionResponse*) override;
  Unary* Info(Call*, const v1::InfoRequest*, v1::InfoResponse*) override;
  Unary* ListPlatforms(Call*, const v1::ListPlatformsRequest*, v1::ListPlatformsResponse*) override;

 private:
  ServiceContext context_;
  google::protobuf::Timestamp start_time_;
};

// Every method answers UNIMPLEMENTED: that is what gRPC's own base classes do.
class FileServiceImpl final : public v1::FileService::CallbackService {};
class NetworkServiceImpl final : public v1::NetworkService::CallbackService {};

}  // namespace sandboxd::daemon
