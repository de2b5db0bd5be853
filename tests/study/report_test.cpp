#include "ekd/study/report.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>

#include <cmath>

#include "ekd/core/error.h"
#include "ekd/core/random.h"
#include "ekd/evaluate/predictions.h"
#include "ekd/metrics/evaluate.h"
#include "ekd/study/plan.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

namespace ekd {
namespace {

using test::TemporaryFolder;
using test::write_text;
namespace fs = std::filesystem;

// 500 images of 3 classes; the label's logit is raised by 1.5, `sharpness` times over.
Predictions some_predictions(std::uint32_t seed, double sharpness = 1) {
  const CountedRandom random(seed, RandomStream::kSynthetic);
  std::vector<double> logits;
  std::vector<std::int64_t> labels;
  for (std::uint32_t i = 0; i < 500; ++i) {
    labels.push_back(i % 3);
    for (std::uint32_t k = 0; k < 3; ++k)
      logits.push_back(sharpness * (3 * random.uniform(0, i, k) + (k == i % 3 ? 1.5 : 0)));
  }
  return {at::tensor(logits).view({500, 3}).to(at::kFloat), at::tensor(labels)};
}

nlohmann::json metrics_of(const Predictions& predictions) {
  return to_json(compute_metrics(log_probabilities(predictions.logits), predictions.labels, {15, 100}));
}

void write_run(const fs::path& folder, std::int64_t seed, const nlohmann::json& metrics) {
  fs::create_directories(folder);
  write_text(folder / "result.json", nlohmann::json{{"seed", seed}, {"last", metrics}}.dump());
  write_text(folder / "config.json", nlohmann::json{{"optim", {{"lr", 0.1}}}, {"run", {{"seed", seed}}}}.dump());
}

void write_predicted_run(const fs::path& folder, std::int64_t seed, const Predictions& predictions) {
  write_run(folder, seed, metrics_of(predictions));
  save_predictions(folder / "predictions.safetensors", predictions, {});
}

TEST(Report, MeanAndStdOverSeeds) {
  const TemporaryFolder folder;
  const double accuracies[] = {0.70, 0.72, 0.77};  // mean .73; deviations −.03, −.01, .04: .0026 over 2
  for (int seed = 0; seed < 3; ++seed) {
    write_run(folder / ("kd-s" + std::to_string(seed)), seed,
              {{"n", 100},
               {"accuracy", accuracies[seed]},
               {"nll", nullptr},
               {"top5", 0.9},
               {"calibration", {{"15", {{"ece", 0.1 * seed}}}}}});
  }
  write_run(folder / "alone", 0, {{"n", 100}, {"accuracy", 0.5}});
  const auto at = [&](const std::string& name) { return (folder / name).string(); };
  const auto rows = make_report({{at("kd-s0"), at("alone") + "/", at("kd-s2"), at("kd-s1"), at("kd-s1/../kd-s0")}, ""});
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].name, "kd");
  EXPECT_EQ(rows[0].seeds, (std::vector<std::int64_t>{0, 2, 1})) << "a run that is given twice counts once";
  const auto& values = rows[0].values;
  EXPECT_NEAR(*values.at("accuracy").mean, 0.73, 1e-12);
  EXPECT_NEAR(*values.at("accuracy").std, std::sqrt(0.0013), 1e-12);
  EXPECT_NEAR(*values.at("ece15").mean, 0.1, 1e-12);
  EXPECT_NEAR(*values.at("top5").mean, 0.9, 1e-12);
  EXPECT_FALSE(values.at("nll").mean.has_value()) << "null: not finite";
  EXPECT_FALSE(values.at("ece100").mean.has_value());
  EXPECT_FALSE(values.at("accuracy").low.has_value()) << "no predictions were saved";
  EXPECT_EQ(rows[1].name, "alone");
  EXPECT_FALSE(rows[1].values.at("accuracy").std.has_value());
}

TEST(Report, IntervalsAndFloorsFromPredictions) {
  const TemporaryFolder folder;
  write_predicted_run(folder / "kd-s0", 0, some_predictions(1));
  write_predicted_run(folder / "kd-s1", 1, some_predictions(2));
  const auto rows = make_report({{(folder / "kd-s0").string(), (folder / "kd-s1").string()}, ""});
  const auto& values = rows.at(0).values;
  for (const auto* column :
       {"accuracy", "top5", "nll", "brier", "mean_confidence", "ece15", "oe15", "ece100", "oe100"}) {
    const ReportValue& value = values.at(column);
    ASSERT_TRUE(value.low && value.high) << column;
    EXPECT_LE(*value.low, *value.mean + 1e-9) << column;
    EXPECT_GE(*value.high, *value.mean - 1e-9) << column;
  }
  EXPECT_FALSE(values.at("aurc").low.has_value());
  // One member's half-width is 1.96 √(a(1 − a)/500); the mean of two that are independent but for the images: between
  // that over √2 and that.
  const double a = *values.at("accuracy").mean, half = (*values.at("accuracy").high - *values.at("accuracy").low) / 2;
  const double one = 1.96 * std::sqrt(a * (1 - a) / 500);
  EXPECT_GT(half, 0.85 * one / std::sqrt(2));
  EXPECT_LT(half, 1.15 * one);
  EXPECT_GT(*values.at("ece100_floor").mean, *values.at("ece15_floor").mean);
  EXPECT_LT(*values.at("ece15_floor").low, *values.at("ece15_floor").mean);
  EXPECT_TRUE(values.at("ece15_floor").std.has_value());
  EXPECT_FALSE(values.at("temperature").mean.has_value()) << "no validation predictions";
}

TEST(Report, PredictionsOfOtherWeightsOrImagesGiveNoIntervals) {
  const TemporaryFolder folder;
  write_predicted_run(folder / "a-s0", 0, some_predictions(1));
  Predictions other = some_predictions(2);
  other.labels = (other.labels + 1).remainder(3);
  write_predicted_run(folder / "a-s1", 1, other);
  write_run(folder / "b", 0, {{"n", 500}, {"accuracy", 0.1}});
  save_predictions(folder / "b/predictions.safetensors", some_predictions(1), {});
  const auto rows =
      make_report({{(folder / "a-s0").string(), (folder / "a-s1").string(), (folder / "b").string()}, ""});
  EXPECT_FALSE(rows.at(0).values.at("ece15").low.has_value());
  EXPECT_FALSE(rows.at(1).values.at("accuracy").low.has_value());
  EXPECT_DOUBLE_EQ(*rows.at(1).values.at("accuracy").mean, 0.1);
}

TEST(Report, TemperatureIsFittedOnTheValidationSplit) {
  const TemporaryFolder folder;
  write_predicted_run(folder / "a", 0, some_predictions(1, 4));
  save_predictions(folder / "a/predictions-val.safetensors", some_predictions(3, 4), {});
  const auto row = make_report({{(folder / "a").string()}, ""}).at(0);
  const double temperature = *row.values.at("temperature").mean;
  EXPECT_GT(temperature, 1.5);
  const auto scaled = to_json(compute_metrics(log_probabilities(some_predictions(1, 4).logits, temperature),
                                              some_predictions(1).labels, {15, 100}));
  EXPECT_NEAR(*row.values.at("nll_scaled").mean, scaled["nll"].get<double>(), 1e-12);
  EXPECT_NEAR(*row.values.at("ece15_scaled").mean, scaled["calibration"]["15"]["ece"].get<double>(), 1e-12);
  EXPECT_LT(*row.values.at("nll_scaled").mean, *row.values.at("nll").mean);
}

TEST(Report, PlanGivesOrderNamesAndThePapersNumbers) {
  const TemporaryFolder folder;
  write_text(folder / "plan.json", R"({"seeds": [0, 1], "runs": [
      {"name": "late", "command": "train-student", "paper": {"accuracy": 0.75, "ece100": 0.1}},
      {"name": "never", "command": "train-student"}, {"name": "early", "command": "train-student"}],
    "evaluations": [{"name": "both", "members": [{"run": "late"}, {"run": "early"}], "paper": {"accuracy": 0.8, "ece100": 0.07, "oe100": 0.0003}}]})");
  write_run(folder / "out/late-s0", 0, {{"n", 10000}, {"accuracy", 0.74}, {"calibration", {{"100", {{"ece", 0.1}}}}}});
  write_run(folder / "out/late-s1", 1, {{"n", 10000}, {"accuracy", 0.76}, {"calibration", {{"100", {{"ece", 0.1}}}}}});
  write_run(folder / "out/early-s0", 0, {{"n", 10000}, {"accuracy", 0.7}});
  write_predicted_run(folder / "out/both-s0", 0, some_predictions(1));
  write_run(folder / "out/both-ish-s0", 0, {{"accuracy", 0}});
  const auto rows = make_report({{(folder / "plan.json").string()}, (folder / "out").string()});
  ASSERT_EQ(rows.size(), 3U);
  EXPECT_EQ(rows[0].name, "late");
  EXPECT_EQ(rows[1].name, "early");
  EXPECT_EQ(rows[2].name, "both");
  EXPECT_EQ(rows[0].seeds.size(), 2U);
  // s² = .02²/2; σ² = 2 · .75 · .25/10,000 (ours and the paper's) + s²/2 + s².
  const double seeds = 0.0002, images = 0.75 * 0.25 / 10'000;
  EXPECT_NEAR(*rows[0].paper.at("accuracy").sigma, std::sqrt(2 * images + 1.5 * seeds), 1e-12);
  EXPECT_NEAR(rows[0].paper.at("accuracy").difference, 0, 1e-12);
  EXPECT_EQ(rows[0].paper.at("accuracy").within(), true);
  EXPECT_FALSE(rows[0].paper.at("ece100").sigma.has_value()) << "sampling is not known without predictions";
  EXPECT_FALSE(rows[0].paper.contains("oe100"));
  EXPECT_FALSE(rows[1].has_paper);
  // One seed: sampling alone. The bootstrap is 1/√2000 off the binomial, the paper's at its own accuracy.
  const double a = *rows[2].values.at("accuracy").mean;
  const double sigma = std::sqrt(a * (1 - a) / 500 + 0.8 * 0.2 / 10'000);
  EXPECT_NEAR(*rows[2].paper.at("accuracy").sigma, sigma, 0.1 * sigma);
  EXPECT_TRUE(rows[2].paper.at("ece100").sigma.has_value());
  EXPECT_TRUE(rows[2].paper.at("oe100").within().has_value());
}

TEST(Report, TwoSeedsThatAgreeByChanceDoNotContradictThePaper) {
  const TemporaryFolder folder;
  write_text(folder / "plan.json", R"({"seeds": [0, 1], "runs": [
      {"name": "kd", "command": "train-student", "paper": {"accuracy": 0.80}},
      {"name": "seen", "command": "train-student", "paper": {"accuracy": 0.9, "ece100": 0.1, "oe100": 0.1}}]})");
  write_run(folder / "out/kd-s0", 0, {{"n", 10000}, {"accuracy", 0.74}});
  write_run(folder / "out/kd-s1", 1, {{"n", 10000}, {"accuracy", 0.76}});
  write_predicted_run(folder / "out/seen-s0", 0, some_predictions(1));
  write_predicted_run(folder / "out/seen-s1", 1, some_predictions(2));
  const auto rows = make_report({{(folder / "plan.json").string()}, (folder / "out").string()});
  const PublishedValue& kd = rows.at(0).paper.at("accuracy");
  EXPECT_GT(std::abs(kd.difference), 2.5 * *kd.sigma);
  EXPECT_LT(kd.degrees, 2) << "two seeds are most of what is known of σ";
  EXPECT_EQ(kd.within(), true);
  // The seeds' answers to an image are nearly independent, so all scatter over images is a seed's own: s² holds it, and
  // at least 1.5 times of it is in σ², not 1.5 for the seeds and again 1.5 for the images.
  const double a = *rows.at(1).values.at("accuracy").mean, s = *rows.at(1).values.at("accuracy").std;
  const double images = a * (1 - a) / 500, found = *rows.at(1).paper.at("accuracy").sigma;
  EXPECT_GT(found * found, 1.2 * images);
  EXPECT_LT(found * found, 1.5 * std::max(s * s, images) + 0.35 * images);
  for (const auto* column : {"ece100", "oe100"})
    EXPECT_TRUE(rows.at(1).paper.at(column).within().has_value()) << column;
}

TEST(Report, RowsOfOneNameInTwoPlacesKeepTheirPaths) {
  const TemporaryFolder folder;
  for (const std::string place : {"x", "y"}) write_run(folder / (place + "/kd-s0"), 0, {{"n", 1}, {"accuracy", 1}});
  const auto rows = make_report({{(folder / "x/kd-s0").string(), (folder / "y/kd-s0").string()}, ""});
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].name, (folder / "x/kd").string());
}

TEST(Report, RefusesWhatIsNoRun) {
  const TemporaryFolder folder;
  fs::create_directories(folder / "begun");
  write_text(folder / "begun/config.json", "{}");
  EXPECT_ERROR(make_report({{}, ""}), UsageError, "nothing to report");
  EXPECT_ERROR(make_report({{(folder / "absent").string()}, ""}), UsageError, "no such run folder");
  EXPECT_ERROR(make_report({{(folder / "begun").string()}, ""}), UsageError, "nothing has finished");
  EXPECT_ERROR(make_report({{"a", "b"}, "out"}), UsageError, "one plan");
  write_text(folder / "plan.json", "{}");
  EXPECT_ERROR(make_report({{(folder / "plan.json").string()}, ""}), UsageError, "at least one run");
  EXPECT_ERROR(make_report({{(folder / "plan.json").string(), (folder / "begun").string()}, ""}), UsageError,
               "stands alone");
  for (const std::string text : {"{", "[]", R"({"last": 3})", R"({"last": {}, "last": {}})"}) {
    write_text(folder / "begun/result.json", text);
    EXPECT_ERROR(make_report({{(folder / "begun").string()}, ""}), WeightsError, "result.json: is damaged");
  }
  // A result without anything in it is a row without numbers.
  write_text(folder / "begun/result.json", R"({"last": {}})");
  EXPECT_FALSE(make_report({{(folder / "begun").string()}, ""}).at(0).values.at("accuracy").mean.has_value());
}

TEST(Report, SettingsOfRuns) {
  const TemporaryFolder folder;
  write_run(folder / "a-s0", 0, {});
  write_run(folder / "a-s1", 1, {});
  const auto rows = run_settings({{(folder / "a-s0").string(), (folder / "a-s1").string()}, ""});
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[1].name, "a-s1");
  EXPECT_EQ(rows[1].settings, (std::map<std::string, std::string>{{"optim.lr", "0.1"}, {"run.seed", "1"}}));
}

}  // namespace
}  // namespace ekd
