// `ekd predict`: options to an ImagePredictionRequest, its result to JSON or a table.
#include <spdlog/fmt/fmt.h>

#include <cstdio>
#include <memory>

#include "commands/settings.h"
#include "ekd/commands/command.h"
#include "ekd/core/strict_json.h"
#include "ekd/evaluate/image_prediction.h"
#include "ekd/runs/table_format.h"

namespace ekd {
namespace {

struct PredictCommand {
  std::unique_ptr<Settings> settings;
  ImagePredictionRequest request;
  std::vector<std::string> models;
  bool json = false;
};

// A row a class; an image's name stands beside its first. A class is its label where no run names it.
void print_classes(const ImagePredictionResult& result) {
  std::vector<std::vector<std::string>> cells{{"", "class", "confidence %"}};
  for (const auto& [path, classes] : result.images) {
    for (const auto& [label, name, confidence] : classes) {
      const bool first = &label == &classes.front().label;
      cells.push_back(
          {first ? path : "", name.empty() ? std::to_string(label) : name, fmt::format("{:.2f}", 100 * confidence)});
    }
  }
  std::printf("%s", format_table(cells, TableFormat::kText).c_str());
  if (result.temperature)
    std::printf("temperature %.4f%s\n", result.temperature->value, result.temperature->nll ? ", fitted" : "");
}

int run(PredictCommand& command) {
  ImagePredictionRequest& request = command.request;
  const auto fields = prediction_fields(request);
  command.settings->apply(fields);
  if (command.settings->printed(fields)) return 0;
  for (const auto& text : command.models) request.members.push_back(parse_member(text, false));
  const ImagePredictionResult result = predict_images(request);
  if (command.json) {
    std::printf("%s\n", json_text(to_json(result)).c_str());
  } else {
    print_classes(result);
  }
  return 0;
}

}  // namespace

CommandRow add_predict_command(CLI::App& root, GlobalOptions& global) {
  CLI::App* app = root.add_subcommand("predict", "The classes that a model or an ensemble sees in images");
  auto command = std::make_shared<PredictCommand>();
  app->add_option("IMAGE", command->request.images, "PNG or JPEG files");
  app->add_option("--model-from", command->models,
                  "RUN, RUN:best, RUN:ema or a weights file, with @WEIGHT in an ensemble; repeat for several")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false)
      ->type_name("RUN_OR_WEIGHTS")
      ->group("Members");
  command->settings = std::make_unique<Settings>(*app, prediction_fields(command->request));
  app->add_flag("--json", command->json, "print one object on stdout")->group("Output");
  add_output_options(*app, global);
  return {app, [app, command] {
            apply_environment(*app, command->settings->option_names());
            return run(*command);
          }};
}

}  // namespace ekd
