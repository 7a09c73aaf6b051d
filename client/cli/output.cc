#include "client/cli/output.h"

#include <google/protobuf/util/json_util.h>

#include <cstdio>
#include <cstring>
#include <ctime>

namespace sandboxd::cli {

void PrintTable(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); i++) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); i++) {
      line += row[i];
      if (i + 1 < row.size()) line.append(widths[i] - row[i].size() + 2, ' ');
    }
    printf("%s\n", line.c_str());
  }
}

void PrintJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string text;
  auto status = google::protobuf::util::MessageToJsonString(message, &text, options);
  if (!status.ok()) {
    fprintf(stderr, "sandboxctl: can't print the answer as JSON\n");
    return;
  }
  fputs(text.c_str(), stdout);
}

int Fail(const client::Error& error) {
  fprintf(stderr, "sandboxctl: %s\n", error.message().c_str());
  for (const auto& v : error.field_violations()) {
    fprintf(stderr, "  %s: %s\n", v.field.c_str(), v.description.c_str());
  }
  if (error.reason() == "PROGRAM_NOT_FOUND") return kExitNotFound;
  if (error.reason() == "PROGRAM_NOT_EXECUTABLE" || error.reason() == "PROGRAM_WRONG_FORMAT")
    return kExitNotExecutable;
  return kExitOwnFailure;
}

int Fail(const std::string& sentence) {
  fprintf(stderr, "sandboxctl: %s\n", sentence.c_str());
  return kExitOwnFailure;
}

std::string ExitText(const v1::ExitStatus& exit) {
  std::string text;
  if (exit.kernel_lost()) {
    text = "lost: its application kernel ended";
  } else if (exit.signal() != 0) {
    const char* name = sigabbrev_np(exit.signal());
    text = "killed by " + (name != nullptr ? "SIG" + std::string(name)
                                           : "signal " + std::to_string(exit.signal()));
    if (exit.oom_killed()) text += " (out of memory)";
  } else {
    text = "exit status " + std::to_string(exit.code());
  }
  return exit.message().empty() ? text : text + ": " + exit.message();
}

std::string StateText(const v1::Sandbox& sandbox) {
  std::string name = v1::Sandbox::State_Name(sandbox.state());
  constexpr char kPrefix[] = "STATE_";
  if (name.rfind(kPrefix, 0) == 0) name = name.substr(strlen(kPrefix));
  for (char& c : name) c = static_cast<char>(tolower(c));
  if (sandbox.state() == v1::Sandbox::STATE_STOPPED && sandbox.has_exit()) {
    name += " (" + ExitText(sandbox.exit()) + ")";
  }
  return name;
}

int ExitCodeOf(const v1::ExitStatus& exit) {
  return exit.signal() != 0 ? 128 + exit.signal() : exit.code();
}

int ParseSignal(const std::string& text) {
  if (!text.empty() && text.find_first_not_of("0123456789") == std::string::npos &&
      text.size() <= 2) {
    int signo = std::stoi(text);
    return signo <= 64 ? signo : 0;
  }
  std::string name = text.rfind("SIG", 0) == 0 ? text.substr(3) : text;
  for (int signo = 1; signo < 32; signo++) {
    const char* known = sigabbrev_np(signo);
    if (known != nullptr && name == known) return signo;
  }
  return 0;
}

std::string AgeText(const google::protobuf::Timestamp& since) {
  if (since.seconds() == 0) return "-";
  int64_t seconds = std::max<int64_t>(0, time(nullptr) - since.seconds());
  if (seconds < 120) return std::to_string(seconds) + "s";
  if (seconds < 7200) return std::to_string(seconds / 60) + "m";
  if (seconds < 172800) return std::to_string(seconds / 3600) + "h";
  return std::to_string(seconds / 86400) + "d";
}

}  // namespace sandboxd::cli
