#include "daemon/sandbox/state_store.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "daemon/error/fault_point.h"

namespace sandboxd::daemon {
namespace {

class StateStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/state-store-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    folder_ = name;
    Open();
  }
  void TearDown() override {
    SetFaultHook(nullptr);
    store_.reset();
    std::filesystem::remove_all(folder_);
  }
  void Open() {
    store_.reset();
    auto store = StateStore::Open(folder_ + "/state");
    ASSERT_TRUE(store.ok()) << store.error().message();
    store_ = std::move(*store);
  }
  static state::SandboxRecord Record(const std::string& id, int pid) {
    state::SandboxRecord record;
    record.mutable_sandbox()->set_id(id);
    record.mutable_kernel()->set_pid(pid);
    return record;
  }
  std::string folder_;
  std::unique_ptr<StateStore> store_;
};

TEST_F(StateStoreTest, WhatIsSavedIsLoadedByTheNext) {
  ASSERT_TRUE(store_->CreateFolder("a").ok());
  ASSERT_TRUE(store_->Save("a", Record("a", 1), Durability::kHostCrash).ok());
  ASSERT_TRUE(store_->Save("a", Record("a", 2), Durability::kProcessCrash).ok());
  Open();
  const auto all = store_->LoadAll();
  ASSERT_EQ(all.size(), 1u);
  ASSERT_TRUE(all[0].record.has_value()) << all[0].problem;
  EXPECT_EQ(all[0].record->kernel().pid(), 2);
}

TEST_F(StateStoreTest, AFailedSaveKeepsTheOldRecordAndLeavesNothing) {
  ASSERT_TRUE(store_->CreateFolder("a").ok());
  ASSERT_TRUE(store_->Save("a", Record("a", 1), Durability::kHostCrash).ok());
  SetFaultHook([](std::string_view at) { return at == "state.write" ? ENOSPC : 0; });
  const auto saved = store_->Save("a", Record("a", 2), Durability::kHostCrash);
  SetFaultHook(nullptr);
  ASSERT_FALSE(saved.ok());
  EXPECT_EQ(saved.error().reason(), v1::ERROR_REASON_STATE_STORAGE_FULL);
  EXPECT_EQ(store_->LoadAll()[0].record->kernel().pid(), 1);
  EXPECT_FALSE(std::filesystem::exists(store_->FolderPath("a") + "/state.pb.new"));
}

TEST_F(StateStoreTest, ADamagedRecordIsReportedAndTheOthersAreLoaded) {
  for (const char* id : {"a", "b", "c"}) {
    ASSERT_TRUE(store_->CreateFolder(id).ok());
    ASSERT_TRUE(store_->Save(id, Record(id, 1), Durability::kProcessCrash).ok());
  }
  std::ofstream(store_->FolderPath("b") + "/state.pb") << "\xff\xff\xff";
  std::filesystem::remove(store_->FolderPath("c") + "/state.pb");
  int good = 0, bad = 0;
  for (const auto& loaded : store_->LoadAll()) ++(loaded.record ? good : bad);
  EXPECT_EQ(good, 1);
  EXPECT_EQ(bad, 2);
}

TEST_F(StateStoreTest, ARecordUnderAnotherNameIsNotBelieved) {
  ASSERT_TRUE(store_->CreateFolder("a").ok());
  ASSERT_TRUE(store_->Save("a", Record("b", 1), Durability::kProcessCrash).ok());
  EXPECT_FALSE(store_->LoadAll()[0].record.has_value());
}

TEST_F(StateStoreTest, RemoveIsIdempotentAndOneThatWasCutShortIsFinished) {
  ASSERT_TRUE(store_->CreateFolder("a").ok());
  EXPECT_TRUE(store_->Remove("a").ok());
  EXPECT_TRUE(store_->Remove("a").ok());
  const std::string left = folder_ + "/state/sandboxes/.deleting.b.1.0";
  std::filesystem::create_directories(left + "/io");
  EXPECT_TRUE(store_->LoadAll().empty());
  EXPECT_FALSE(std::filesystem::exists(left));
}

TEST_F(StateStoreTest, ASecondDaemonIsRefused) {
  auto second = StateStore::Open(folder_ + "/state");
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.error().message().find("in use by another sandboxd"), std::string::npos);
}

TEST_F(StateStoreTest, OthersCanNotLookInside) {
  const auto mode = std::filesystem::status(folder_ + "/state").permissions();
  EXPECT_EQ(mode & std::filesystem::perms::mask, std::filesystem::perms::owner_all);
}

}  // namespace
}  // namespace sandboxd::daemon
