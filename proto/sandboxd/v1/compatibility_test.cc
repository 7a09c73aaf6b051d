// v1 never breaks: what clients may rely on is listed in api.golden.txt, one line an element. A
// line that disappears or changes is a breaking change. A new line is fine, and is recorded by
// running this test with UPDATE_GOLDEN set to the absolute path of that file.
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <string>

#include "proto/sandboxd/v1/daemon.pb.h"
#include "proto/sandboxd/v1/error.pb.h"
#include "proto/sandboxd/v1/file.pb.h"
#include "proto/sandboxd/v1/network.pb.h"
#include "proto/sandboxd/v1/process.pb.h"
#include "proto/sandboxd/v1/sandbox.pb.h"
#include "proto/sandboxd/v1/types.pb.h"

namespace sandboxd {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using google::protobuf::MethodDescriptor;

using Listing = std::set<std::string>;

std::string TypeOf(const FieldDescriptor& field) {
  if (field.message_type() != nullptr) return field.message_type()->full_name();
  if (field.enum_type() != nullptr) return field.enum_type()->full_name();
  return field.type_name();
}

void ListEnum(const EnumDescriptor& e, Listing& out) {
  for (int i = 0; i < e.value_count(); ++i) {
    out.insert("enum " + e.full_name() + " " + e.value(i)->name() + " = " +
               std::to_string(e.value(i)->number()));
  }
}

void ListMessage(const Descriptor& m, Listing& out) {
  out.insert("message " + m.full_name());
  for (int i = 0; i < m.field_count(); ++i) {
    const FieldDescriptor& field = *m.field(i);
    std::string line = "field " + m.full_name() + " " + field.name() + " = " +
                       std::to_string(field.number()) + " ";
    if (field.is_repeated()) line += "repeated ";
    if (field.has_optional_keyword()) line += "optional ";
    line += TypeOf(field) + " json " + field.json_name();
    if (field.real_containing_oneof() != nullptr) {
      line += " oneof " + field.real_containing_oneof()->name();
    }
    out.insert(line);
  }
  for (int i = 0; i < m.nested_type_count(); ++i) ListMessage(*m.nested_type(i), out);
  for (int i = 0; i < m.enum_type_count(); ++i) ListEnum(*m.enum_type(i), out);
}

void ListFile(const FileDescriptor& file, Listing& out) {
  out.insert("file " + file.name() + " package " + file.package());
  for (int i = 0; i < file.message_type_count(); ++i) ListMessage(*file.message_type(i), out);
  for (int i = 0; i < file.enum_type_count(); ++i) ListEnum(*file.enum_type(i), out);
  for (int i = 0; i < file.service_count(); ++i) {
    for (int j = 0; j < file.service(i)->method_count(); ++j) {
      const MethodDescriptor& method = *file.service(i)->method(j);
      out.insert("rpc " + method.full_name() + " (" + (method.client_streaming() ? "stream " : "") +
                 method.input_type()->full_name() + ") returns (" +
                 (method.server_streaming() ? "stream " : "") + method.output_type()->full_name() +
                 ")");
    }
  }
}

Listing PresentApi() {
  Listing out;
  ListFile(*v1::VersionRequest::descriptor()->file(), out);
  ListFile(*v1::ErrorReason_descriptor()->file(), out);
  ListFile(*v1::ReadFileRequest::descriptor()->file(), out);
  ListFile(*v1::PortForwardOpen::descriptor()->file(), out);
  ListFile(*v1::ExecRequest::descriptor()->file(), out);
  ListFile(*v1::Sandbox::descriptor()->file(), out);
  ListFile(*v1::ExitStatus::descriptor()->file(), out);
  return out;
}

Listing ReadGolden(const std::string& path) {
  Listing out;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    if (!line.empty()) out.insert(line);
  }
  return out;
}

TEST(ApiCompatibilityTest, NothingThatClientsRelyOnHasChanged) {
  const Listing present = PresentApi();
  if (const char* path = std::getenv("UPDATE_GOLDEN")) {
    std::ofstream out(path, std::ios::trunc);
    for (const std::string& line : present) out << line << "\n";
    ASSERT_TRUE(out.flush().good()) << path;
    return;
  }
  const Listing golden = ReadGolden("proto/sandboxd/v1/api.golden.txt");
  ASSERT_FALSE(golden.empty());
  for (const std::string& line : golden) {
    EXPECT_TRUE(present.count(line)) << "breaking change, gone or altered: " << line;
  }
  for (const std::string& line : present) {
    EXPECT_TRUE(golden.count(line)) << "new, record it in api.golden.txt: " << line;
  }
}

TEST(ApiCompatibilityTest, EveryEnumBeginsWithUnspecified) {
  for (const std::string& line : PresentApi()) {
    if (line.rfind("enum ", 0) != 0 || line.find(" = 0") != line.size() - 4) continue;
    EXPECT_NE(line.find("_UNSPECIFIED = 0"), std::string::npos) << line;
  }
}

}  // namespace
}  // namespace sandboxd
