#include "daemon/oci/spec.h"

#include <algorithm>

#include "daemon/oci/readers.h"

namespace sandboxd::daemon::oci {
namespace {

using nlohmann::json;

constexpr char kFile[] = "config.json";

bool HasOption(const v1::Mount& mount, const std::string& option) {
  return std::find(mount.options().begin(), mount.options().end(), option) != mount.options().end();
}

void ReadMount(ObjectReader& in, v1::Mount& out) {
  in.Require("destination");
  out.set_destination(in.String("destination").value_or(""));
  out.set_source(in.String("source").value_or(""));
  out.set_type(in.String("type").value_or(""));
  size_t i = 0;
  for (std::string& option : in.Strings("options")) {
    if (option == "tmpcopyup") {
      in.findings().notes.push_back(in.PathOf("options[" + std::to_string(i++) + "]") +
                                    ": tmpcopyup: the file system begins empty");
      continue;
    }
    if (!IsMountOption(option)) {
      in.findings().unsupported.push_back({in.PathOf("options[" + std::to_string(i) + "]"),
                                           "unknown mount option \"" + option + "\""});
    }
    ++i;
    out.add_options(std::move(option));
  }
  in.Unsupported("uidMappings", "ids are not mapped yet");
  in.Unsupported("gidMappings", "ids are not mapped yet");
  if (!out.destination().empty() && out.destination()[0] != '/') {
    in.Wrong("destination", "must be an absolute path");
  }
  if (HasOption(out, "bind") || HasOption(out, "rbind")) out.set_type("bind");
  if (out.type() == "cgroup2") out.set_type("cgroup");
  if (out.type().empty()) {
    in.Wrong("type", "is missing, and options have no \"bind\"");
  } else if (!IsMountType(out.type())) {
    in.findings().unsupported.push_back(
        {in.PathOf("type"), "file system \"" + out.type() + "\" is not supported"});
  }
  if (out.type() == "bind" && out.source().empty()) in.Wrong("source", "is missing");
}

// Checked here; run by whoever runs the bundle.
void ReadHooks(ObjectReader& in, Spec& out) {
  for (const char* kind : {"prestart", "createRuntime", "createContainer", "startContainer",
                           "poststart", "poststop"}) {
    in.Array(kind, [&](const json& element, const std::string& path) {
      ObjectReader hook(element, path, in.findings());
      hook.Require("path");
      const std::string program = hook.String("path").value_or("");
      if (!program.empty() && program[0] != '/') hook.Wrong("path", "must be an absolute path");
      (void)hook.Strings("args");
      (void)hook.Strings("env");
      (void)hook.Int("timeout", 1, INT32_MAX);
      hook.Done();
      if (out.hooks.empty() || out.hooks.back() != kind) out.hooks.push_back(kind);
    });
  }
}

void ReadDocument(ObjectReader& in, Spec& out) {
  in.Require("ociVersion");
  in.Require("root");
  out.oci_version = in.String("ociVersion").value_or("");
  if (!out.oci_version.empty() && out.oci_version.rfind("1.", 0) != 0) {
    in.Wrong("ociVersion", "is \"" + out.oci_version + "\"; versions 1.x are understood");
  }
  if (in.Has("process")) {
    out.has_process = true;
    in.Object("process", [&](ObjectReader& process) { ReadProcess(process, out.process); });
  }
  in.Object("root", [&](ObjectReader& root) {
    root.Require("path");
    out.root_path = root.String("path").value_or("");
    out.root_readonly = root.Bool("readonly").value_or(false);
  });
  in.Array("mounts", [&](const json& element, const std::string& path) {
    ObjectReader mount(element, path, in.findings());
    out.mounts.emplace_back();
    ReadMount(mount, out.mounts.back());
    mount.Done();
  });
  out.hostname = in.String("hostname").value_or("");
  out.domainname = in.String("domainname").value_or("");
  for (auto& [key, value] : in.StringMap("annotations")) out.annotations[key] = value;
  in.Object("linux", [&](ObjectReader& linux_part) { ReadLinux(linux_part, out); });
  in.Object("hooks", [&](ObjectReader& hooks) { ReadHooks(hooks, out); });
  in.Unsupported("solaris", "is for Solaris only");
  in.Unsupported("windows", "is for Windows only");
  in.Unsupported("vm", "is for virtual machines only");
  in.Unsupported("zos", "is for z/OS only");
  in.Unsupported("freebsd", "is for FreeBSD only");
}

std::vector<FieldViolation> Prefixed(const std::vector<FieldViolation>& in) {
  std::vector<FieldViolation> out;
  for (const FieldViolation& v : in)
    out.push_back({std::string(kFile) + ":" + v.field, v.description});
  return out;
}

Outcome<void> Judge(const Findings& findings) {
  if (findings.wrong.empty() && findings.unsupported.empty()) return {};
  std::vector<FieldViolation> all = Prefixed(findings.wrong);
  for (FieldViolation& v : Prefixed(findings.unsupported)) all.push_back(std::move(v));
  return Error::Fields(std::move(all), findings.wrong.empty() ? v1::ERROR_REASON_FEATURE_UNSUPPORTED
                                                              : v1::ERROR_REASON_BUNDLE_INVALID);
}

}  // namespace

Outcome<Spec> ParseSpec(const std::string& config_json) {
  const json document = TRY(ParseJson(config_json, kFile));
  Findings findings;
  Spec spec;
  ObjectReader reader(document, "", findings);
  if (document.is_object()) {
    ReadDocument(reader, spec);
    reader.Done();
  }
  TRY(Judge(findings));
  spec.notes = std::move(findings.notes);
  return spec;
}

Outcome<v1::ProcessSpec> ParseProcess(const std::string& process_json,
                                      std::vector<std::string>* notes) {
  const json document = TRY(ParseJson(process_json, "the process file"));
  Findings findings;
  v1::ProcessSpec process;
  ObjectReader reader(document, "process", findings);
  if (document.is_object()) {
    ReadProcess(reader, process);
    reader.Done();
  }
  TRY(Judge(findings));
  if (notes != nullptr) *notes = std::move(findings.notes);
  return process;
}

Outcome<v1::Resources> ParseResources(const std::string& resources_json,
                                      std::vector<std::string>* notes) {
  const json document = TRY(ParseJson(resources_json, "the resources"));
  Findings findings;
  v1::Resources resources;
  ObjectReader reader(document, "resources", findings);
  if (document.is_object()) {
    ReadResources(reader, resources);
    reader.Done();
  }
  TRY(Judge(findings));
  if (notes != nullptr) *notes = std::move(findings.notes);
  return resources;
}

}  // namespace sandboxd::daemon::oci
