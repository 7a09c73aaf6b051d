// Twalk and the compound walks.
#include "gofer/server/session.h"

namespace sandboxd::gofer {

Result<Rwalk> Session::Handle(const Twalk& request) {
  if (request.names.size() > kMaxWalkNames) return Errno::kEINVAL;
  Ref<Node> node = TRY(fids_.GetNode(request.fid));
  if (request.newfid != request.fid) TRY(fids_.CheckFree(request.newfid));
  Rwalk response;
  for (const std::string& name : request.names) {
    Result<Ref<Node>> next = Walk(host_, node, name);
    if (!next.ok()) {
      // walk(5): an error only if the very first name can't be walked; otherwise newfid is not set.
      if (response.qids.empty()) return next.error();
      return response;
    }
    node = *next;
    response.qids.push_back(node->qid());
  }
  fids_.Set(request.newfid, Fid{.node = std::move(node)});
  return response;
}

Result<Rwalkgetattr> Session::Handle(const Twalkgetattr& request) {
  if (request.steps.size() > kMaxSteps) return Errno::kEINVAL;
  Ref<Node> node = TRY(fids_.GetNode(request.fid));
  Rwalkgetattr response;
  for (const WalkStep& step : request.steps) {
    Result<void> free = step.newfid == kNoFid ? Ok() : fids_.CheckFree(step.newfid);
    Result<Ref<Node>> next = free.ok() ? Walk(host_, node, step.name) : free.error();
    if (!next.ok()) {
      response.error = static_cast<uint32_t>(next.error());
      break;
    }
    node = *next;
    response.stats.push_back(node->stat());
    if (step.newfid != kNoFid) fids_.Set(step.newfid, Fid{.node = node});
  }
  return response;
}

Result<Rwalkopen> Session::Handle(const Twalkopen& request) {
  if (request.names.size() > kMaxSteps) return Errno::kEINVAL;
  Ref<Node> node = TRY(fids_.GetNode(request.fid));
  TRY(fids_.CheckFree(request.newfid));
  Rwalkopen response;
  for (const std::string& name : request.names) {
    Result<Ref<Node>> next = Walk(host_, node, name);
    if (!next.ok()) {
      response.error = static_cast<uint32_t>(next.error());
      return response;
    }
    node = *next;
    response.stats.push_back(node->stat());
  }
  Result<UniqueFd> opened = S_ISREG(node->mode()) ? OpenNode(*node, request.flags) : Errno::kENXIO;
  if (!opened.ok()) {
    response.error = static_cast<uint32_t>(opened.error());
    return response;
  }
  Donate(std::move(opened).value());
  response.has_fd = true;
  fids_.Set(request.newfid, Fid{.node = std::move(node)});
  return response;
}

}  // namespace sandboxd::gofer
