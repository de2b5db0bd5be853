// `ekd config-docs`, which no help lists: docs/config.md from the field lists (`ekd config-docs > docs/config.md`), and
// the table of docs/models.md.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>

#include <cstdio>
#include <memory>

#include "commands/settings.h"
#include "ekd/augment/preview.h"
#include "ekd/commands/command.h"
#include "ekd/evaluate/evaluation.h"
#include "ekd/evaluate/image_prediction.h"
#include "ekd/models/registry.h"
#include "ekd/settings/config.h"
#include "ekd/settings/config_io.h"
#include "ekd/study/plan_runner.h"
#include "ekd/study/report.h"
#include "ekd/train/training_run.h"

namespace ekd {
namespace {

std::string value_text(const Field& field) {
  const std::string text = field_json(field).dump();
  return text == "\"\"" || text == "[]" || text == "null" ? "" : "`" + text + "`";
}

// A table for each section. `others` hold defaults that come before those of `fields` where the two differ.
std::string tables(const std::vector<Field>& fields, const std::vector<Field>& others, const std::string& level) {
  std::string text, section;
  for (const auto& field : fields) {
    const auto dot = field.key.find('.');
    if (field.key.substr(0, dot) != section) {
      section = field.key.substr(0, dot);
      text +=
          "\n" + level + " " + section + "\n\n| key | flag | accepts | default | meaning |\n|---|---|---|---|---|\n";
    }
    std::string value = value_text(field);
    for (const auto& other : others)
      if (other.key == field.key && field_json(other) != field_json(field))
        value = value_text(other) + " (" + value + ")";
    text += "| `" + field.key + "` | " + (field.flag.empty() ? "" : "`" + field.flag + "`") + " | " +
            accepted_text(field) + " | " + value + " | " + field.help + " |\n";
  }
  return text;
}

std::string config_document() {
  Config teacher = default_config(Command::kTrainTeacher), student = default_config(Command::kDistill);
  EvaluationRequest evaluation;
  ImagePredictionRequest prediction;
  ReportRequest report;
  PictureConfig picture;
  PlanSettings plan;
  return "# Settings\n\n"
         "Made from the program's field lists. A configuration is a JSON object of sections, as `--print-config` shows "
         "it; "
         "every key can also be given\n"
         "as `--set section.key=value`. Defaults are those of `train-teacher`; in parentheses those of `train-student` "
         "and `distill` where they differ.\n"
         "The section `distill` belongs to that command.\n" +
         tables(config_fields(student, Command::kDistill), config_fields(teacher, Command::kTrainTeacher), "##") +
         "\n## `ekd evaluate`\n\nData settings that are not given are those of the runs under evaluation.\n" +
         tables(evaluation_fields(evaluation), {}, "###") + "\n## `ekd predict`\n" +
         tables(prediction_fields(prediction), {}, "###") + "\n## `ekd report`\n" +
         tables(report_fields(report), {}, "###") +
         "\n## `ekd run`\n\nEvery setting of the trainings goes to the runs of the plan that know it. And\n" +
         tables(plan_fields(plan), {}, "###") + "\n## `ekd preview`\n\nThe settings of `train-teacher`, and\n" +
         tables(picture_fields(picture), {}, "###");
}

// Of images of 32×32 pixels, in 100 classes.
std::string models_table() {
  const at::NoGradGuard no_grad;
  std::string text = "| `--model` | | parameters | features: channels × side |\n|---|---|---:|---|\n";
  for (const auto& row : model_registry().rows()) {
    const auto model = make_model({.name = row.name}, /*seed=*/0);
    model->set_training(false);
    std::vector<std::string> features;
    for (const auto& [name, tensor] : model->forward(at::zeros({1, 3, 32, 32})).features)
      features.push_back("`" + name + "` " + std::to_string(tensor.size(1)) +
                         (tensor.dim() == 4 ? " × " + std::to_string(tensor.size(2)) : ""));
    text += "| `" + row.name + "` | " + row.help + " | " + std::to_string(parameter_count(*model)) + " | " +
            join(features) + " |\n";
  }
  return text;
}

}  // namespace

CommandRow add_config_docs_command(CLI::App& root) {
  CLI::App* app = root.add_subcommand("config-docs", "Print docs/config.md")->group("");
  const auto models = std::make_shared<bool>(false);
  app->add_flag("--models", *models, "Print the table of docs/models.md instead");
  return {app, [models] {
            std::printf("%s", (*models ? models_table() : config_document()).c_str());
            return 0;
          }};
}

}  // namespace ekd
