#include "daemon/sandbox/process_log.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "daemon/error/fault_point.h"

namespace sandboxd::daemon {
namespace {

class ProcessLogTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/process-log-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    folder_ = name;
  }
  void TearDown() override {
    SetFaultHook(nullptr);
    std::filesystem::remove_all(folder_);
  }
  static std::string ReadAll(LogReader& reader) {
    std::string out;
    while (auto record = reader.Next()) out += record->data;
    return out;
  }
  static void Append(LogWriter& writer, const std::string& text, uint8_t stream = 1) {
    writer.Append(stream, text.data(), text.size());
  }
  std::string folder_;
};

TEST_F(ProcessLogTest, RecordsKeepTheirStreamAndOrder) {
  LogWriter writer(folder_, "p", {});
  Append(writer, "out");
  Append(writer, "err", 2);
  LogReader reader(folder_, "p");
  auto first = reader.Next();
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(first->stream, 1);
  EXPECT_EQ(first->data, "out");
  EXPECT_GT(first->time_ns, 0);
  auto second = reader.Next();
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(second->stream, 2);
  EXPECT_FALSE(reader.Next().has_value());
  Append(writer, "more");
  EXPECT_EQ(ReadAll(reader), "more") << "a reader at the end goes on with what is added";
}

TEST_F(ProcessLogTest, OnlyTheNewestFilesAreKept) {
  LogWriter writer(folder_, "p", {.max_bytes = 1000, .max_files = 2});
  for (int i = 0; i < 100; ++i) Append(writer, std::string(90, 'x'));
  EXPECT_EQ(LogFileNumbers(folder_, "p").size(), 3u);
  for (const auto& file : std::filesystem::directory_iterator(folder_)) {
    EXPECT_LE(file.file_size(), 1000u);
  }
}

TEST_F(ProcessLogTest, AReaderThatIsOvertakenIsToldOfTheGap) {
  LogWriter writer(folder_, "p", {.max_bytes = 1000, .max_files = 1});
  Append(writer, "first");
  LogReader reader(folder_, "p");
  ASSERT_TRUE(reader.Next().has_value());
  for (int i = 0; i < 100; ++i) Append(writer, std::string(90, 'x'));
  // The file that it has open is read to its end, then comes what is still there.
  bool gap = false;
  while (auto record = reader.Next()) gap = gap || record->gap;
  EXPECT_TRUE(gap);
}

TEST_F(ProcessLogTest, ARecordThatACrashCutShortIsSkipped) {
  {
    LogWriter writer(folder_, "p", {});
    Append(writer, "whole");
    Append(writer, "cut short");
  }
  const std::string path = folder_ + "/p.log.1";
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 3);
  LogWriter next(folder_, "p", {});
  Append(next, "after");
  LogReader reader(folder_, "p");
  EXPECT_EQ(ReadAll(reader), "wholeafter");
}

TEST_F(ProcessLogTest, TheTailBeginsAtALine) {
  LogWriter writer(folder_, "p", {});
  Append(writer, "one\ntwo\nth");
  Append(writer, "ree\nfour\n");
  const auto tail = [this](uint32_t lines) {
    LogReader reader(folder_, "p");
    reader.SkipToTail(lines);
    return ReadAll(reader);
  };
  EXPECT_EQ(tail(1), "four\n");
  EXPECT_EQ(tail(2), "three\nfour\n");
  EXPECT_EQ(tail(3), "two\nthree\nfour\n");
  EXPECT_EQ(tail(99), "one\ntwo\nthree\nfour\n");
}

TEST_F(ProcessLogTest, WhatDoesNotFitOnTheDiskIsCounted) {
  LogWriter writer(folder_, "p", {});
  Append(writer, "kept");
  SetFaultHook([](std::string_view at) { return at == "log.write" ? ENOSPC : 0; });
  Append(writer, "lost");
  SetFaultHook(nullptr);
  EXPECT_EQ(writer.dropped_bytes(), 4u);
  Append(writer, " again");
  LogReader reader(folder_, "p");
  EXPECT_EQ(ReadAll(reader), "kept again");
}

TEST_F(ProcessLogTest, LogsOfOtherNamesAreNotTouched) {
  LogWriter a(folder_, "a", {});
  LogWriter ab(folder_, "a.log", {});
  Append(a, "1");
  Append(ab, "2");
  a.RemoveAll();
  LogReader reader(folder_, "a.log");
  EXPECT_EQ(ReadAll(reader), "2");
}

}  // namespace
}  // namespace sandboxd::daemon
