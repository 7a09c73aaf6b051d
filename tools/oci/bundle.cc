#include "tools/oci/bundle.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tools/oci/container_store.h"

namespace sandboxd::oci {
namespace {

using nlohmann::json;

Error Invalid(const std::string& path, const std::string& what) {
  return Error(v1::ERROR_REASON_BUNDLE_INVALID, path + "/config.json: " + what);
}

void ReadNetwork(const json& document, Bundle* bundle) {
  for (const json& ns : document.at("linux").value("namespaces", json::array())) {
    if (ns.value("type", "") != "network") continue;
    bundle->network_path = ns.value("path", "");
    bundle->network = bundle->network_path.empty() ? Bundle::Network::kNew : Bundle::Network::kJoin;
  }
}

}  // namespace

Outcome<Bundle> LoadBundle(const std::string& path) {
  Bundle bundle;
  std::error_code error;
  bundle.path = std::filesystem::absolute(path, error).lexically_normal().string();
  while (bundle.path.size() > 1 && bundle.path.back() == '/') bundle.path.pop_back();
  const std::string text = TRY(ReadWholeFile(bundle.path + "/config.json"));
  const json document = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object()) return Invalid(bundle.path, "is not a JSON object");
  try {
    bundle.oci_version = document.value("ociVersion", "");
    if (document.contains("process")) {
      const json& process = document.at("process");
      bundle.terminal = process.value("terminal", false);
      bundle.oom_score_adj = process.value("oomScoreAdj", 0);
      if (process.contains("consoleSize")) {
        bundle.rows = process.at("consoleSize").value("height", uint16_t{0});
        bundle.cols = process.at("consoleSize").value("width", uint16_t{0});
      }
    }
    bundle.annotations = document.value("annotations", std::map<std::string, std::string>());
    if (document.contains("linux")) ReadNetwork(document, &bundle);
    if (document.contains("hooks")) bundle.hooks = document.at("hooks").dump();
  } catch (const json::exception& e) {
    return Invalid(bundle.path, e.what());
  }
  return bundle;
}

}  // namespace sandboxd::oci
