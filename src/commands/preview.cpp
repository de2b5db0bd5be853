// `ekd preview`: a PNG of what a network sees under an augmentation, or how fast such images are made.
#include <algorithm>
#include <cstdio>
#include <memory>

#include "commands/settings.h"
#include "ekd/augment/augmentation.h"
#include "ekd/augment/preview.h"
#include "ekd/commands/command.h"
#include "ekd/core/device.h"
#include "ekd/core/error.h"
#include "ekd/core/strict_json.h"
#include "ekd/data/load.h"
#include "ekd/settings/config.h"
#include "ekd/train/augmentation_rate.h"
#include "ekd/train/batch_stream.h"

namespace ekd {
namespace {

struct PreviewOptions {
  std::unique_ptr<Settings> settings;
  Config config = default_config(Command::kTrainTeacher);
  PictureConfig picture;
  bool rate = false, json = false;
};

// The settings of a training and those of the picture.
std::vector<Field> preview_fields(PreviewOptions& options) {
  std::vector<Field> fields = config_fields(options.config, Command::kTrainTeacher);
  for (auto& field : picture_fields(options.picture)) fields.push_back(std::move(field));
  return fields;
}

AugmentationContext context_of(const Config& config, const Dataset& data, std::int64_t batch_size) {
  return {.train = data.train,
          .classes = data.classes,
          .normalisation = data.normalisation,
          .config = config.augment,
          .seed = static_cast<std::uint32_t>(config.run.seed),
          .batch_size = batch_size};
}

int draw(const PreviewOptions& options, const Config& config) {
  const Dataset data = load_dataset(config.data);
  const std::int64_t images = std::min(options.picture.columns * options.picture.rows, data.train.size());
  BatchStream stream(context_of(config, data, images), {}, Precision::kFp32);
  stream.begin_epoch(options.picture.epoch);
  const Batch batch = stream.batch(0);
  write_png(options.picture.out,
            preview_grid(batch.images, data.normalisation, options.picture.columns, options.picture.scale));
  if (options.json) {
    const nlohmann::ordered_json result = {
        {"out", options.picture.out}, {"images", batch.images.size(0)}, {"views", batch.views}};
    std::printf("%s\n", json_text(result).c_str());
    return 0;
  }
  std::printf("%s: %lld images%s\n", options.picture.out.c_str(), static_cast<long long>(batch.images.size(0)),
              batch.views > 1 ? ", the clean views first" : "");
  return 0;
}

int measure(const PreviewOptions& options, const Config& config) {
  constexpr double kLeastSeconds = 1;
  set_threads(config.run.threads);
  const at::Device device = resolve_device(config.run.device);
  Dataset data = load_dataset(config.data);
  data.train.images = data.train.images.to(device);
  data.train.labels = data.train.labels.to(device);
  BatchStream stream(context_of(config, data, config.optim.batch_size), {}, Precision::kFp32);
  const AugmentationRate rate = measure_augmentation(stream, kLeastSeconds);
  const std::string compute = compute_description(device);
  const auto batch_size = static_cast<long long>(config.optim.batch_size);
  if (options.json) {
    const nlohmann::ordered_json result = {{"augmentation", config.augment.name},
                                           {"compute", compute},
                                           {"batch_size", batch_size},
                                           {"images", rate.images},
                                           {"seconds", rate.seconds},
                                           {"images_per_s", rate.images_per_s()}};
    std::printf("%s\n", json_text(result).c_str());
    return 0;
  }
  std::printf("%s: %.0f images/s (%s, batches of %lld)\n", config.augment.name.c_str(), rate.images_per_s(),
              compute.c_str(), batch_size);
  return 0;
}

int run(PreviewOptions& options) {
  const auto fields = preview_fields(options);
  options.settings->apply(fields);
  if (options.settings->printed(fields)) return 0;
  return options.rate ? measure(options, options.config) : draw(options, options.config);
}

}  // namespace

CommandRow add_preview_command(CLI::App& root, GlobalOptions& global) {
  CLI::App* app =
      root.add_subcommand("preview", "Write a PNG of what a network sees under an augmentation, or measure its rate");
  auto options = std::make_shared<PreviewOptions>();
  options->settings = std::make_unique<Settings>(*app, preview_fields(*options));
  app->add_flag("--rate", options->rate,
                "instead of a PNG: how many images per second the augmentation alone makes, over whole epochs")
      ->group("Output");
  app->add_flag("--json", options->json, "print one object on stdout")->group("Output");
  add_output_options(*app, global);
  return {app, [app, options] {
            apply_environment(*app, options->settings->option_names());
            return run(*options);
          }};
}

}  // namespace ekd
