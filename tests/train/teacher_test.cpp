#include "ekd/train/teacher.h"

#include <gtest/gtest.h>

#include "ekd/core/error.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

namespace ekd {
namespace {

void expect_text(const std::string& text, const std::string& name, const std::string& path, double weight) {
  const TeacherText found = parse_teacher(text);
  EXPECT_EQ(found.name, name) << text;
  EXPECT_EQ(found.path, path) << text;
  EXPECT_EQ(found.weight, weight) << text;
}

TEST(TeacherText, IsNamePathAndWeight) {
  expect_text("runs/a", "", "runs/a", 1);
  expect_text("t=runs/a", "t", "runs/a", 1);
  expect_text("runs/a@2", "", "runs/a", 2);
  expect_text("t=runs/a:best@0.25", "t", "runs/a:best", 0.25);
  expect_text("t=runs/a@2@3", "t", "runs/a@2", 3);
  expect_text("me@home/a", "", "me@home/a", 1);
  expect_text("=a", "", "=a", 1);
}

TEST(TeacherText, WhatIsThereIsAPath) {
  const test::TemporaryFolder folder;
  for (const auto* name : {"a@2", "b=c@3"}) {
    const std::string path = folder / name;
    std::filesystem::create_directory(path);
    expect_text(path, "", path, 1);
    expect_text(path + ":best", "", path + ":best", 1);
    expect_text(path + ":ema", "", path + ":ema", 1);
    expect_text("t=" + path, "t", path, 1);
    expect_text("t=" + path + "@5", "t", path, 5);
  }
}

TEST(TeacherText, AWeightIsPositiveAndOfATeacher) {
  for (const auto* text : {"@2", "t=@2", "a@0", "a@-1", "a@x", "a@", "a@nan", "a@inf", "a@2e9", "a@1.5x", "t=a@1,5"})
    EXPECT_ERROR(parse_teacher(text), UsageError,
                 std::string("--teacher ") + text + ": takes [NAME=]RUN_OR_WEIGHTS[@W");
}

}  // namespace
}  // namespace ekd
