// `ekd evaluate`: options to an EvaluationRequest, its JSON to a table.
#include <charconv>
#include <cmath>
#include <cstdio>
#include <memory>

#include "ekd/commands/command.h"
#include "ekd/commands/environment.h"
#include "ekd/commands/table.h"
#include "ekd/core/error.h"
#include "ekd/core/strict_json.h"
#include "ekd/engine/evaluation.h"
#include "ekd/models/registry.h"

namespace ekd {
namespace {

struct EvaluateOptions {
  EvaluationRequest request;
  std::vector<std::string> models, predictions;
  std::string bins = "15,100";
  bool json = false;
};

std::vector<int> parse_bins(const std::string& text) {
  std::vector<int> bins;
  const char* end = text.data() + text.size();
  for (const char* at = text.data(); at <= end; ++at) {
    int count = 0;
    const auto parsed = std::from_chars(at, end, count);
    const bool whole = parsed.ec == std::errc{} && (parsed.ptr == end || *parsed.ptr == ',');
    if (!whole || count < 1 || count > 100'000)
      throw UsageError("--bins: takes numbers of bins in [1, 100000] by commas, as 15,100, not '" + text + "'");
    bins.push_back(count);
    at = parsed.ptr;
  }
  return bins;
}

// Finite and above 0.
CLI::Validator positive_number() {
  return CLI::Validator(
      [](const std::string& text) {
        double number = 0;
        const char* end = text.data() + text.size();
        const auto parsed = std::from_chars(text.data(), end, number);
        const bool fits = parsed.ec == std::errc{} && parsed.ptr == end && std::isfinite(number) && number > 0;
        return fits ? std::string() : "takes a number above 0, not '" + text + "'";
      },
      "", "positive_number");
}

void print_table(const EvaluationResult& result, const EvaluationRequest& request) {
  const std::string name =
      request.members.size() == 1 ? request.members[0].path : "ensemble of " + std::to_string(request.members.size());
  std::printf("%s", metrics_table({{name, result.metrics}}).c_str());
  if (result.temperature) std::printf("temperature %.4f\n", *result.temperature);
}

int run(EvaluateOptions& options) {
  for (const auto& text : options.models) options.request.members.push_back(parse_member(text, false));
  for (const auto& text : options.predictions) options.request.members.push_back(parse_member(text, true));
  options.request.bins = parse_bins(options.bins);
  if (!options.request.model.empty()) model_registry().at(options.request.model);
  const auto result = run_evaluation(options.request);
  if (options.json) {
    std::printf("%s\n", json_text(to_json(result)).c_str());
  } else {
    print_table(result, options.request);
  }
  return 0;
}

void add_data_options(CLI::App& app, DataOverrides& data) {
  const auto count = CLI::Range(std::int64_t{0}, std::int64_t{1'000'000'000});
  app.add_option("--dataset", data.dataset, "cifar100 or synthetic")
      ->check(member_of({"cifar100", "synthetic"}))
      ->group("Data");
  app.add_option("--data", data.dir, "folder with CIFAR-100's train.bin and test.bin")->type_name("DIR")->group("Data");
  app.add_option("--train-limit", data.train_limit, "first N training records; 0: all")->check(count)->group("Data");
  app.add_option("--test-limit", data.test_limit, "first N test records; 0: all")->check(count)->group("Data");
  app.add_option("--classes", data.classes, "only the first N classes; 0: all")->check(count)->group("Data");
  app.add_option("--val-size", data.val_size, "last N training records are the validation split")
      ->check(count)
      ->group("Data");
}

}  // namespace

CommandRow add_evaluate_command(CLI::App& root, GlobalOptions& global) {
  CLI::App* app =
      root.add_subcommand("evaluate", "Accuracy and calibration of a model, a weighted ensemble, or saved predictions");
  auto options = std::make_shared<EvaluateOptions>();
  EvaluationRequest& request = options->request;
  app->add_option("RUN_OR_WEIGHTS", options->models,
                  "RUN, RUN:best or a weights file, each with @WEIGHT in an ensemble");
  app->add_option("--predictions", options->predictions, "saved predictions, with @WEIGHT; repeat for several")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false)
      ->type_name("FILE")
      ->group("Members");
  app->add_option("--model", request.model, "the network, for weights that do not say it")
      ->type_name("NAME")
      ->group("Members");
  add_data_options(*app, request.data);
  app->add_option("--split", request.split, "train, val or test")
      ->capture_default_str()
      ->check(member_of({"train", "val", "test"}))
      ->group("Data");
  app->add_option("--bins", options->bins, "numbers of bins to report")
      ->capture_default_str()
      ->type_name("LIST")
      ->group("Metrics");
  app->add_option("--temperature", request.temperature, "divide logits by this")
      ->check(positive_number())
      ->group("Metrics");
  app->add_flag("--fit-temperature", request.fit_temperature,
                "fit the temperature on the validation split, or on --fit-on")
      ->group("Metrics");
  app->add_option("--fit-on", request.fit_on, "predictions to fit the temperature on")
      ->type_name("FILE")
      ->group("Metrics");
  app->add_option("--device", request.device, "auto, cpu, cuda or cuda:N")->capture_default_str()->group("Run");
  app->add_option("--precision", request.precision, "auto, fp32 or bf16")
      ->capture_default_str()
      ->check(member_of({"auto", "fp32", "bf16"}))
      ->group("Run");
  app->add_option("--batch-size", request.batch_size, "images per step")
      ->capture_default_str()
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1'000'000'000}))
      ->group("Run");
  app->add_option("--threads", request.threads, "CPU threads; 0: one per core")
      ->check(CLI::Range(0, 1024))
      ->group("Run");
  app->add_option("--save-predictions", request.save_predictions, "write logits and labels to this file")
      ->type_name("FILE")
      ->group("Output");
  app->add_flag("--json", options->json, "print one object on stdout")->group("Output");
  add_output_options(*app, global);
  return {app, [app, options] {
            apply_environment(*app);
            return run(*options);
          }};
}

}  // namespace ekd
