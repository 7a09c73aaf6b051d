#include "daemon/oci/json_reader.h"

#include <algorithm>

namespace sandboxd::daemon::oci {
namespace {

using nlohmann::json;

const json kEmptyObject = json::object();

std::string KindOf(const json& value) {
  switch (value.type()) {
    case json::value_t::object:
      return "an object";
    case json::value_t::array:
      return "an array";
    case json::value_t::string:
      return "a string";
    case json::value_t::boolean:
      return "a boolean";
    case json::value_t::null:
      return "null";
    default:
      return "a number";
  }
}

bool IsEmpty(const json& value) {
  if (value.is_null()) return true;
  if (value.is_boolean()) return !value.get<bool>();
  if (value.is_number()) return value.get<double>() == 0;
  if (value.is_string()) return value.get_ref<const std::string&>().empty();
  return value.empty();
}

}  // namespace

Outcome<json> ParseJson(const std::string& text, const std::string& file_name) {
  try {
    return json::parse(text);
  } catch (const json::parse_error& e) {
    // `byte` counts from 1 and points behind the last byte that was read.
    const size_t at = std::min(e.byte > 0 ? e.byte - 1 : 0, text.size());
    const size_t line = 1 + std::count(text.begin(), text.begin() + at, '\n');
    const size_t start = at == 0 ? 0 : text.rfind('\n', at - 1) + 1;  // npos + 1 is 0
    const size_t column = at - start + 1;
    const std::string what = at >= text.size() ? "it ends too early" : "unexpected text here";
    return Error(v1::ERROR_REASON_BUNDLE_INVALID, file_name + " is not JSON: line " +
                                                      std::to_string(line) + ", column " +
                                                      std::to_string(column) + ": " + what)
        .With("line", std::to_string(line))
        .With("column", std::to_string(column));
  }
}

ObjectReader::ObjectReader(const json& value, std::string path, Findings& findings)
    : object_(value.is_object() ? value : kEmptyObject),
      path_(std::move(path)),
      findings_(findings) {
  if (!value.is_object()) {
    findings_.wrong.push_back(
        {path_.empty() ? "(document)" : path_, "must be an object, not " + KindOf(value)});
  }
}

const json* ObjectReader::Take(const char* name) {
  asked_.insert(name);
  auto it = object_.find(name);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

bool ObjectReader::Has(const char* name) const {
  auto it = object_.find(name);
  return it != object_.end() && !it->is_null();
}

void ObjectReader::Wrong(const std::string& name, const std::string& description) {
  findings_.wrong.push_back({PathOf(name), description});
}

std::optional<std::string> ObjectReader::String(const char* name) {
  const json* value = Take(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) {
    Wrong(name, "must be a string, not " + KindOf(*value));
    return std::nullopt;
  }
  const auto& text = value->get_ref<const std::string&>();
  if (text.find('\0') != std::string::npos) {
    Wrong(name, "must not contain a zero byte");
    return std::nullopt;
  }
  return text;
}

std::optional<bool> ObjectReader::Bool(const char* name) {
  const json* value = Take(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_boolean()) return value->get<bool>();
  Wrong(name, "must be true or false, not " + KindOf(*value));
  return std::nullopt;
}

std::optional<int64_t> ObjectReader::Int(const char* name, int64_t min, int64_t max) {
  const json* value = Take(name);
  if (value == nullptr) return std::nullopt;
  const bool whole = value->is_number_integer();
  const bool too_big =
      value->is_number_unsigned() && value->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX);
  if (whole && !too_big && value->get<int64_t>() >= min && value->get<int64_t>() <= max) {
    return value->get<int64_t>();
  }
  Wrong(name, "must be a whole number from " + std::to_string(min) + " to " + std::to_string(max));
  return std::nullopt;
}

std::optional<uint64_t> ObjectReader::Unsigned(const char* name, uint64_t max) {
  const json* value = Take(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_number_unsigned() && value->get<uint64_t>() <= max) return value->get<uint64_t>();
  Wrong(name, "must be a whole number from 0 to " + std::to_string(max));
  return std::nullopt;
}

void ObjectReader::Array(const char* name,
                         const std::function<void(const json&, std::string)>& each) {
  const json* value = Take(name);
  if (value == nullptr) return;
  if (!value->is_array()) {
    Wrong(name, "must be an array, not " + KindOf(*value));
    return;
  }
  size_t i = 0;
  for (const json& element : *value) {
    each(element, PathOf(name) + "[" + std::to_string(i++) + "]");
  }
}

std::vector<std::string> ObjectReader::Strings(const char* name) {
  std::vector<std::string> out;
  Array(name, [&](const json& element, const std::string& path) {
    if (!element.is_string()) {
      findings_.wrong.push_back({path, "must be a string, not " + KindOf(element)});
    } else if (element.get_ref<const std::string&>().find('\0') != std::string::npos) {
      findings_.wrong.push_back({path, "must not contain a zero byte"});
    } else {
      out.push_back(element.get<std::string>());
    }
  });
  return out;
}

std::vector<std::pair<std::string, std::string>> ObjectReader::StringMap(const char* name) {
  std::vector<std::pair<std::string, std::string>> out;
  const json* value = Take(name);
  if (value == nullptr) return out;
  if (!value->is_object()) {
    Wrong(name, "must be an object, not " + KindOf(*value));
    return out;
  }
  for (const auto& [key, element] : value->items()) {
    if (element.is_string()) {
      out.emplace_back(key, element.get<std::string>());
    } else {
      Wrong(std::string(name) + "[\"" + key + "\"]", "must be a string, not " + KindOf(element));
    }
  }
  return out;
}

void ObjectReader::Object(const char* name, const std::function<void(ObjectReader&)>& read) {
  const json* value = Take(name);
  if (value == nullptr) return;
  ObjectReader reader(*value, PathOf(name), findings_);
  read(reader);
  reader.Done();
}

void ObjectReader::Unsupported(const char* name, const std::string& why) {
  const json* value = Take(name);
  if (value != nullptr && !IsEmpty(*value)) findings_.unsupported.push_back({PathOf(name), why});
}

void ObjectReader::Note(const char* name, const std::string& why) {
  const json* value = Take(name);
  if (value != nullptr && !IsEmpty(*value)) findings_.notes.push_back(PathOf(name) + ": " + why);
}

void ObjectReader::Require(const char* name) {
  if (!Has(name)) Wrong(name, "is missing");
}

void ObjectReader::Done() {
  for (const auto& [key, value] : object_.items()) {
    if (asked_.count(key) == 0) Wrong(key, "unknown field");
  }
}

}  // namespace sandboxd::daemon::oci
