// Many students, one stream: what a run of a group writes is what it writes alone.
#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <map>

#include "ekd/core/error.h"
#include "ekd/core/signals.h"
#include "ekd/evaluate/model_file.h"
#include "ekd/models/registry.h"
#include "ekd/runs/run_dir.h"
#include "ekd/runs/run_record.h"
#include "ekd/train/training_run.h"
#include "tests/support/temporary_folder.h"
#include "train/training_setup.h"

namespace ekd {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

class GroupTest : public ::testing::Test {
 protected:
  GroupTest() {
    spdlog::set_level(spdlog::level::off);
    for (const auto& [name, seed] : {std::pair("t0", 100), std::pair("t1", 101)}) {
      const auto model = make_model({.name = "shufflenet_v1", .classes = 4}, seed);
      save_weights(teacher(name), model->spec(), model_state(*model), {});
    }
  }
  ~GroupTest() override {
    set_stop_deadline(std::chrono::steady_clock::time_point::max());
    spdlog::set_level(spdlog::level::warn);
  }

  fs::path teacher(const std::string& name) const { return folder_ / (name + ".safetensors"); }

  // Students of one stream that differ in all that may differ. 10 images in batches of 4: 3 steps an epoch.
  Config config(const std::string& name) const {
    Config config = default_config(Command::kDistill);
    config.data = {.dataset = "synthetic", .train_limit = 10, .test_limit = 6, .classes = 4, .val_size = 6};
    config.augment.name = "mixup";
    config.optim.epochs = 2;
    config.optim.batch_size = 4;
    config.optim.lr = name.starts_with("diverging") ? 1e30 : 0.002;
    config.run = {.seed = 3, .device = "cpu", .precision = "fp32", .threads = 1};
    const std::string one = teacher("t0").string(), other = teacher("t1").string();
    config.distill.teachers = {one, other};
    if (name == "softmax") {
      config.distill = {{"x=" + other, "y=" + one}, "avg-softmax", 4, 0.5, 0.5};
      config.optim.nesterov = true;
      config.optim.schedule = "onecycle";
      config.eval = {.every = 2, .batch_size = 3};
    } else if (name == "averaged") {
      config.distill.teacher_temperature = "fit";
      config.optim.ema = 0.9;
    } else if (name == "adamw") {
      config.optim.name = "adamw";
      config.optim.clip_norm = 1;
      config.optim.label_smoothing = 0.1;
    } else if (name == "plain") {
      config.distill.teachers = {"z=" + other};
      config.optim.momentum = 0;
      config.optim.lr = 0.01;
      config.model.init = one;
    }
    return config;
  }

  TrainingRequest request(const std::string& under, const std::string& name) const {
    return {.command = Command::kDistill,
            .config = config(name),
            .run_dir = folder_ / under / name,
            .resume = true,
            .command_line = {"ekd"}};
  }

  // Failures of the last call land in failures_ by name, as they are told.
  std::vector<TrainingOutcome> train(const std::vector<std::string>& names,
                                     const std::function<void()>& on_failure = {}) {
    failures_.clear();
    std::vector<TrainingRequest> requests;
    for (const auto& name : names) requests.push_back(request("group", name));
    auto outcomes = run_trainings(requests, [&](std::size_t run, const Failure& failure) {
      failures_[names.at(run)] = failure;
      if (on_failure) on_failure();
    });
    for (std::size_t i = 0; i < names.size(); ++i) {
      EXPECT_EQ(outcomes[i].failure.has_value(), failures_.contains(names[i])) << names[i];
      if (!outcomes[i].failure) continue;
      EXPECT_EQ(outcomes[i].failure->message, failures_[names[i]].message);
    }
    return outcomes;
  }

  void expect_failure(const std::string& name, ExitCode code, const std::string& words) {
    ASSERT_TRUE(failures_.contains(name)) << name;
    EXPECT_EQ(failures_[name].code, code) << name;
    EXPECT_THAT(failures_[name].message, ::testing::HasSubstr(words));
  }

  // The group's run against one alone.
  void expect_as_alone(const std::string& name) {
    SCOPED_TRACE(name);
    const fs::path alone = folder_ / "alone" / name, grouped = folder_ / "group" / name;
    const TrainingOutcome outcome = run_trainings({request("alone", name)}).front();
    ASSERT_FALSE(outcome.failure) << outcome.failure->message;
    ASSERT_EQ(run_state(grouped), RunState::kFinished);
    for (const char* file : {"config.json", "last.safetensors", "best.safetensors", "predictions.safetensors",
                             "predictions-val.safetensors"})
      EXPECT_EQ(test::read_text(alone / file), test::read_text(grouped / file)) << file;
    EXPECT_EQ(fs::exists(grouped / "ema.safetensors"), name == "averaged");
    if (name == "averaged") {
      EXPECT_EQ(test::read_text(alone / "ema.safetensors"), test::read_text(grouped / "ema.safetensors"));
    }
    EXPECT_EQ(timeless_metrics(alone), timeless_metrics(grouped));
    EXPECT_EQ(timeless_metrics(grouped).size(), 2U);
    ordered_json ours = json(grouped / "result.json"), theirs = outcome.result;
    ours.erase("seconds");
    theirs.erase("seconds");
    EXPECT_EQ(ours, theirs);
    const ordered_json record = json(grouped / "run.json"), alone_record = json(alone / "run.json");
    EXPECT_EQ(record["teachers"], alone_record["teachers"]);
    EXPECT_EQ(record["status"], "finished");
    EXPECT_EQ(alone_record["group"], ordered_json::array());
  }

  static std::vector<ordered_json> timeless_metrics(const fs::path& run) {
    auto lines = read_metrics(run / "metrics.jsonl");
    for (auto& line : lines) {
      EXPECT_GT(line["seconds"].get<double>(), 0);
      line.erase("seconds");
      line.erase("images_per_s");
    }
    return lines;
  }

  static ordered_json json(const fs::path& path) { return ordered_json::parse(test::read_text(path)); }

  test::TemporaryFolder folder_;
  std::map<std::string, Failure> failures_;
};

TEST_F(GroupTest, StudentsTrainAsIfAlone) {
  const auto outcomes = train({"add", "softmax", "averaged", "adamw", "plain"});
  EXPECT_TRUE(failures_.empty());
  for (const auto& outcome : outcomes) EXPECT_EQ(outcome.result["epochs"], 2);
  for (const char* name : {"add", "softmax", "averaged", "adamw", "plain"}) expect_as_alone(name);
  EXPECT_EQ(json(folder_ / "group/plain/run.json")["group"],
            ordered_json({"add", "softmax", "averaged", "adamw", "plain"}));
}

TEST_F(GroupTest, CutOffWithinAnEpochAndGoneOnInOtherCompany) {
  // The diverging student fails in its second step; the others stop after it.
  const auto stop = [] { set_stop_deadline(std::chrono::steady_clock::now()); };
  const auto go_on = [] { set_stop_deadline(std::chrono::steady_clock::time_point::max()); };
  auto outcomes = train({"add", "diverging-1", "averaged"}, stop);
  EXPECT_EQ(outcomes[0].stopped, kDeadline);
  expect_failure("diverging-1", ExitCode::kNonFinite, "epoch 1/2, step 2/");
  go_on();
  outcomes = train({"softmax", "diverging-2", "add"}, stop);  // add stands at step 2 and waits
  EXPECT_EQ(outcomes[0].stopped, kDeadline);
  EXPECT_EQ(outcomes[2].stopped, kDeadline);
  go_on();
  outcomes = train({"add", "plain", "softmax", "averaged"});  // plain is new
  for (const char* name : {"add", "softmax", "plain", "averaged"}) expect_as_alone(name);

  // A finished run tells its result; one whose process ended just before the result makes it.
  const auto result = outcomes[0].result;
  fs::remove(folder_ / "group/add/result.json");
  outcomes = train({"add", "plain"});
  EXPECT_EQ(outcomes[0].result, result);
  EXPECT_EQ(outcomes[1].result, json(folder_ / "group/plain/result.json"));
}

TEST_F(GroupTest, ARunThatFailsEndsAlone) {
  fs::create_directories(folder_ / "group/blocked/last.safetensors/in the way");
  fs::create_directories(folder_ / "group/unreadable/checkpoint.safetensors");
  const RunDir held(folder_ / "group/held");
  std::vector<TrainingRequest> requests;
  train({"diverging", "blocked", "add", "held", "unreadable", "plain"});
  EXPECT_EQ(failures_.size(), 4U);
  expect_failure("diverging", ExitCode::kNonFinite, "'kd' is not finite");
  expect_failure("blocked", ExitCode::kIo, "last.safetensors");
  expect_failure("held", ExitCode::kLocked, "held by pid");
  expect_failure("unreadable", ExitCode::kIo, "checkpoint.safetensors");
  EXPECT_FALSE(fs::exists(folder_ / "group/held/config.json"));
  EXPECT_FALSE(fs::exists(folder_ / "group/unreadable/config.json")) << "what is refused is left as it was";
  EXPECT_NO_THROW(RunDir(folder_ / "group/unreadable"));
  for (const char* name : {"diverging", "blocked"}) {
    const auto record = json(folder_ / "group" / name / "run.json");
    EXPECT_EQ(record["status"], "failed");
    EXPECT_THAT(test::read_text(folder_ / "group" / name / "log.txt"),
                ::testing::HasSubstr("error: " + record["reason"].get<std::string>()));
    EXPECT_NO_THROW(RunDir(folder_ / "group" / name)) << "the lock is let go";
  }
  for (const char* name : {"add", "plain"}) expect_as_alone(name);
}

TEST_F(GroupTest, WhatAllShareFailsAllOnce) {
  auto one = request("group", "add"), other = request("group", "plain");
  for (auto* request : {&one, &other}) request->config.data = {.dataset = "cifar100", .dir = folder_ / "absent"};
  int failures = 0;
  const auto outcomes = run_trainings({one, other}, [&](std::size_t, const Failure& failure) {
    ++failures;
    EXPECT_EQ(failure.code, ExitCode::kData);
    EXPECT_THAT(failure.message, ::testing::HasSubstr("absent"));
  });
  EXPECT_EQ(failures, 2);
  EXPECT_TRUE(outcomes[0].result.empty());
  EXPECT_FALSE(fs::exists(folder_ / "group"));
}

TEST_F(GroupTest, EachTeacherIsLoadedAndAskedOnce) {
  const auto one = request("group", "add"), other = request("group", "softmax");
  SharedSetup shared = prepare_shared(one.config);
  const RunSetup first = prepare_run(one, shared), second = prepare_run(other, shared);
  ASSERT_EQ(shared.teachers.size(), 2U);
  EXPECT_EQ(second.teachers[0].name, "x");
  EXPECT_EQ(first.teachers[1].name, "t1");
  EXPECT_EQ(second.teachers[0].model, first.teachers[1].model);
  prepare_stream(one.config, shared);
  shared.stream->begin_epoch(0);
  const Batch batch = shared.stream->batch(0, {{1, {}}});  // of those that are needed
  EXPECT_FALSE(batch.teachers[0].logits.defined());
  EXPECT_TRUE(batch.teachers[1].logits.defined());
  EXPECT_TRUE(batch.teachers[1].features.empty());
}

}  // namespace
}  // namespace ekd
