// `ekd evaluate`: options to an EvaluationRequest, its result to JSON or a table.
#include <cstdio>
#include <memory>

#include "commands/settings.h"
#include "ekd/commands/command.h"
#include "ekd/core/strict_json.h"
#include "ekd/evaluate/evaluation.h"
#include "ekd/train/training_run.h"

namespace ekd {
namespace {

struct EvaluateOptions {
  std::unique_ptr<Settings> settings;
  EvaluationRequest request;
  std::vector<std::string> models, predictions;
  bool json = false;
};

void print_table(const EvaluationResult& result, const EvaluationRequest& request) {
  const std::string name =
      request.members.size() == 1 ? request.members[0].path : "ensemble of " + std::to_string(request.members.size());
  std::printf("%s", metrics_table({{name, result.metrics}}).c_str());
  if (result.temperature) std::printf("temperature %.4f\n", result.temperature->value);
}

int run(EvaluateOptions& options) {
  EvaluationRequest& request = options.request;
  const auto fields = evaluation_fields(request);
  request.given = options.settings->apply(fields);
  if (options.settings->printed(fields)) return 0;
  for (const auto& text : options.models) request.members.push_back(parse_member(text, false));
  for (const auto& text : options.predictions) request.members.push_back(parse_member(text, true));
  const EvaluationResult result = run_evaluation(request);
  if (options.json) {
    std::printf("%s\n", json_text(to_json(result)).c_str());
  } else {
    print_table(result, request);
  }
  return 0;
}

}  // namespace

CommandRow add_evaluate_command(CLI::App& root, GlobalOptions& global) {
  CLI::App* app =
      root.add_subcommand("evaluate", "Accuracy and calibration of a model, a weighted ensemble, or saved predictions");
  auto options = std::make_shared<EvaluateOptions>();
  app->add_option("RUN_OR_WEIGHTS", options->models,
                  "RUN, RUN:best, RUN:ema or a weights file, each with @WEIGHT in an ensemble");
  app->add_option("--predictions", options->predictions, "saved predictions, with @WEIGHT; repeat for several")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false)
      ->type_name("FILE")
      ->group("Members");
  options->settings = std::make_unique<Settings>(*app, evaluation_fields(options->request));
  app->add_flag("--json", options->json, "print one object on stdout")->group("Output");
  add_output_options(*app, global);
  return {app, [app, options] {
            apply_environment(*app, options->settings->option_names());
            return run(*options);
          }};
}

}  // namespace ekd
