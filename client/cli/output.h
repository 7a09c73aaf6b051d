// Printing for people and for programs.
#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <vector>

#include "client/cli/command.h"
#include "client/cpp/error.h"
#include "proto/sandboxd/v1/sandbox.pb.h"

namespace sandboxd::cli {

// Columns lined up; the first row is the heading.
void PrintTable(const std::vector<std::vector<std::string>>& rows);
// Protobuf's JSON mapping with the field names of the .proto files, fields at their default
// included.
void PrintJson(const google::protobuf::Message& message);
// "sandboxctl: …" on stderr, wrong fields on a line each. The exit status that fits.
int Fail(const client::Error& error);
int Fail(const std::string& sentence);

// "running", "stopped (exit status 3)", "killed by SIGKILL".
std::string StateText(const v1::Sandbox& sandbox);
std::string ExitText(const v1::ExitStatus& exit);
// The shell's: the code, or 128 + signal.
int ExitCodeOf(const v1::ExitStatus& exit);
// "TERM", "SIGTERM", "15" → 15; 0 if there is no such signal.
int ParseSignal(const std::string& text);
std::string AgeText(const google::protobuf::Timestamp& since);

}  // namespace sandboxd::cli
