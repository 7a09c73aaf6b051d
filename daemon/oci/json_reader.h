// Reads a JSON document strictly: every member must be asked for by name and have the right type.
// What is wrong is collected, not thrown, so that a person sees all of it at once.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "daemon/error/error.h"

namespace sandboxd::daemon::oci {

// What reading one document has found.
struct Findings {
  // Wrong or unknown fields.
  std::vector<FieldViolation> wrong;
  // Right by the runtime specification, but this version can't do it: refused.
  std::vector<FieldViolation> unsupported;
  // Accepted without effect; each is a field and why.
  std::vector<std::string> notes;
};

// Parses text; a syntax error is a sentence with line and column.
Outcome<nlohmann::json> ParseJson(const std::string& text, const std::string& file_name);

// One JSON object. Call Done last: members that nobody asked for are unknown fields.
class ObjectReader {
 public:
  // A `value` that is no object is reported and read as an empty one.
  ObjectReader(const nlohmann::json& value, std::string path, Findings& findings);

  // Absent, or null, gives nothing. Another type is reported and gives nothing.
  std::optional<std::string> String(const char* name);
  std::optional<bool> Bool(const char* name);
  std::optional<int64_t> Int(const char* name, int64_t min, int64_t max);
  std::optional<uint64_t> Unsigned(const char* name, uint64_t max = UINT64_MAX);
  std::vector<std::string> Strings(const char* name);
  std::vector<std::pair<std::string, std::string>> StringMap(const char* name);
  // Calls `read` if the member is there.
  void Object(const char* name, const std::function<void(ObjectReader&)>& read);
  void Array(const char* name, const std::function<void(const nlohmann::json&, std::string)>& each);

  // The member must be absent or empty (null, false, 0, "", [], {}), or it is refused as
  // unsupported.
  void Unsupported(const char* name, const std::string& why = "not supported yet");
  // The member may be there and has no effect.
  void Note(const char* name, const std::string& why);
  void Require(const char* name);
  void Done();

  bool Has(const char* name) const;
  std::string PathOf(const std::string& name) const {
    return path_.empty() ? name : path_ + "." + name;
  }
  void Wrong(const std::string& name, const std::string& description);
  Findings& findings() { return findings_; }
  // The raw member, marked as asked for; null pointer if absent.
  const nlohmann::json* Take(const char* name);

 private:
  const nlohmann::json& object_;
  const std::string path_;
  Findings& findings_;
  std::set<std::string> asked_;
};

}  // namespace sandboxd::daemon::oci
