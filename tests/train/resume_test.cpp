// Interrupted and continued equals never interrupted, to the bit.
#include <algorithm>

#include "ekd/core/error.h"
#include "tests/support/expect_error.h"
#include "tests/train/test_losses.h"
#include "tests/train/training_fixture.h"

namespace ekd {
namespace {

using test::Training;
using test::TrainingSpec;

struct ResumeCase {
  std::string name;
  TrainingSpec spec;
};

void PrintTo(const ResumeCase& value, std::ostream* out) { *out << value.name; }

class Resume : public ::testing::TestWithParam<std::tuple<ResumeCase, Position>> {};

TEST_P(Resume, GivesTheSameBits) {
  const auto& [resume_case, cut] = GetParam();
  const TrainingSpec& spec = resume_case.spec;
  const test::TemporaryFolder folder;
  Training whole(spec, folder / "whole");
  test::train_to_the_end(whole.stream(), {&whole.learner()});
  {
    Training first(spec, folder / "cut");
    first.train_until(cut);
    if (cut.step > 0) first.learner().save_checkpoint();  // finish_epoch saves at an epoch's end
  }
  Training second(spec, folder / "cut");
  ASSERT_EQ(second.learner().position(), cut);
  test::train_to_the_end(second.stream(), {&second.learner()});

  test::expect_same_runs(whole, second);
}

const ResumeCase kCases[] = {
    {"none", {.augmentation = "none"}},
    {"mixup", {.augmentation = "mixup"}},
    {"cutmix", {.augmentation = "cutmix"}},
    {"cutout", {.augmentation = "cutout"}},
    {"augmix", {.augmentation = "augmix"}},
    {"wrn", {.augmentation = "none", .model = "wrn_40_2"}},
    {"bf16", {.augmentation = "mixup", .precision = Precision::kBf16}},
    {"distill_one", {.teachers = 1}},
    {"distill_four", {.augmentation = "cutmix", .teachers = 4}},
    {"distill_ramped", {.augmentation = "augmix", .teachers = 2, .loss = &test::kRamped}},
    {"distill_hint", {.augmentation = "augmix", .teachers = 2, .loss = &test::kHint}},
    {"distill_scaled", {.teachers = 2, .teacher_temperatures = {0.5, 3}}},
    {"averaged", {.augmentation = "mixup", .ema = 0.9}},
    {"adamw", {.augmentation = "mixup", .ema = 0.9, .optimizer = "adamw", .clip_norm = 2, .label_smoothing = 0.1}},
    {"clipped", {.model = "wrn_40_2", .clip_norm = 0.5}},
    {"distill_adamw", {.teachers = 1, .loss = &test::kHint, .optimizer = "adamw", .clip_norm = 1}},
    {"distill_fitnet", {.augmentation = "cutmix", .teachers = 1, .loss = &distillation_loss_registry().at("fitnet")}},
    {"distill_crd", {.augmentation = "mixup", .teachers = 2, .loss = &distillation_loss_registry().at("crd")}},
    {"distill_itrd", {.teachers = 2, .loss = &distillation_loss_registry().at("itrd")}},
};

std::vector<ResumeCase> every_loss() {
  std::vector<ResumeCase> cases;
  for (const auto& row : distillation_loss_registry().rows()) {
    std::string name = row.name;
    std::ranges::replace(name, '-', '_');
    cases.push_back({name, {.augmentation = "cutmix", .teachers = 2, .lr = 2e-4, .loss = &row}});
  }
  return cases;
}

std::string name_of(const ::testing::TestParamInfo<std::tuple<ResumeCase, Position>>& test_info) {
  const auto& [resume_case, cut] = test_info.param;
  return resume_case.name + (cut.step == 0 ? "_epoch_end" : "_mid_epoch");
}

INSTANTIATE_TEST_SUITE_P(Matrix, Resume,
                         ::testing::Combine(::testing::ValuesIn(kCases),
                                            ::testing::Values(Position{1, 0}, Position{0, 2})),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Losses, Resume,
                         ::testing::Combine(::testing::ValuesIn(every_loss()), ::testing::Values(Position{0, 2})),
                         name_of);

TEST(Checkpoint, AnotherRunsIsRefused) {
  const test::TemporaryFolder folder;
  Training training({}, folder / "run");
  training.train_until({0, 1});
  training.learner().save_checkpoint();
  Checkpoint stored;
  stored.model = model_state(training.learner().model());
  const auto path = training.dir().checkpoint();
  const RunIdentity own = training.learner().setup().identity;
  stored.identity = own;
  stored.identity.settings["optim.lr"] = 0.1;
  EXPECT_ERROR(load_checkpoint(path, stored, {2, 3}), UsageError, "other settings");
  EXPECT_ERROR(load_checkpoint(path, stored, {2, 3}), UsageError, "optim.lr (0.1, was 0.002)");
  stored.identity = own;
  stored.identity.dataset_sha256 = "other";
  EXPECT_ERROR(load_checkpoint(path, stored, {2, 3}), UsageError, "the data is not what this run began with");
  stored.identity = own;
  stored.identity.teacher_sha256 = {"t"};
  EXPECT_ERROR(load_checkpoint(path, stored, {2, 3}), UsageError, "the teachers are not those");
  stored.identity = own;
  stored.identity.teacher_weights = {2};
  EXPECT_ERROR(load_checkpoint(path, stored, {2, 3}), UsageError, "the teachers' weights are [2.0], and were []");
  stored.identity = own;
  EXPECT_ERROR(load_checkpoint(path, stored, {2, 1}), WeightsError, "stands at epoch 1, step 1, outside this training");
}

TEST(Checkpoint, ASettingThatItLacksHadItsDefault) {
  const test::TemporaryFolder folder;
  {
    Training training({}, folder / "run");
    training.train_until({0, 1});
    training.learner().save_checkpoint();
  }
  Training training({}, folder / "run");
  Checkpoint stored;
  stored.model = model_state(training.learner().model());
  stored.identity = training.learner().setup().identity;
  stored.identity.settings["optim.new"] = stored.identity.defaults["optim.new"] = 3;
  EXPECT_ERROR(load_checkpoint(training.dir().checkpoint(), stored, {2, 1}), WeightsError,
               "stands at");  // the next check
  stored.identity.settings["optim.new"] = 4;
  EXPECT_ERROR(load_checkpoint(training.dir().checkpoint(), stored, {2, 1}), UsageError, "optim.new (4, was 3)");
}

}  // namespace
}  // namespace ekd
