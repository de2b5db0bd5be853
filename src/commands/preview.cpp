// `ekd preview`: a PNG of what a network sees under an augmentation.
#include <algorithm>
#include <cstdio>
#include <memory>

#include "ekd/augment/preview.h"
#include "ekd/augment/registry.h"
#include "ekd/commands/command.h"
#include "ekd/commands/environment.h"
#include "ekd/commands/settings.h"
#include "ekd/core/error.h"
#include "ekd/data/load.h"
#include "ekd/engine/batch_stream.h"

namespace ekd {
namespace {

struct PreviewOptions {
  std::unique_ptr<Settings> settings;
  std::string out = "preview.png";
  std::int64_t columns = 8, rows = 4, scale = 3, epoch = 0;
};

int run(const PreviewOptions& options) {
  Config config = default_config(Command::kTrainTeacher);
  options.settings->apply(config);
  const Dataset data = load_dataset(config.data);
  const AugmentationContext context{.train = data.train,
                                    .classes = data.classes,
                                    .normalisation = data.normalisation,
                                    .config = config.augment,
                                    .seed = static_cast<std::uint32_t>(config.run.seed),
                                    .batch_size = std::min(options.columns * options.rows, data.train.size())};
  BatchStream stream(context, {}, Precision::kFp32);
  stream.begin_epoch(options.epoch);
  const Batch batch = stream.batch(0);
  write_png(options.out, preview_grid(batch.images, data.normalisation, options.columns, options.scale));
  std::printf("%s: %lld images%s\n", options.out.c_str(), static_cast<long long>(batch.images.size(0)),
              batch.views > 1 ? ", the clean views first" : "");
  return 0;
}

}  // namespace

CommandRow add_preview_command(CLI::App& root, GlobalOptions& global) {
  CLI::App* app = root.add_subcommand("preview", "Write a PNG of what a network sees under an augmentation");
  auto options = std::make_shared<PreviewOptions>();
  options->settings = std::make_unique<Settings>(*app, Command::kTrainTeacher);
  const auto count = CLI::Range(std::int64_t{1}, std::int64_t{64});
  app->add_option("--out", options->out, "the PNG file")->capture_default_str()->type_name("FILE")->group("Output");
  app->add_option("--columns", options->columns, "images side by side")
      ->capture_default_str()
      ->check(count)
      ->group("Output");
  app->add_option("--rows", options->rows, "lines of images, for each view")
      ->capture_default_str()
      ->check(count)
      ->group("Output");
  app->add_option("--scale", options->scale, "pixels of the PNG for a pixel of an image")
      ->capture_default_str()
      ->check(CLI::Range(1, 16))
      ->group("Output");
  app->add_option("--epoch", options->epoch, "which epoch's draws")
      ->capture_default_str()
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1'000'000}))
      ->group("Output");
  add_output_options(*app, global);
  return {app, [app, options] {
            apply_environment(*app, options->settings->option_names());
            return run(*options);
          }};
}

}  // namespace ekd
