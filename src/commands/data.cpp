// `ekd data`: check, describe or make a data folder.
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "ekd/commands/command.h"
#include "ekd/core/strict_json.h"
#include "ekd/core/text.h"
#include "ekd/data/folder_report.h"
#include "ekd/data/load.h"
#include "ekd/data/synthetic.h"
#include "ekd/runs/table_format.h"

namespace ekd {
namespace {

struct DataOptions {
  std::string source, dir, dataset;
  bool json = false;
};

nlohmann::ordered_json file_json(const DataFileReport& file) {
  return {{"bytes", file.bytes},
          {"records", file.records},
          {"sha256", file.sha256},
          {"known", file.known.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(file.known)},
          {"class_counts", file.class_counts},
          {"mean", file.mean},
          {"std", file.std}};
}

nlohmann::ordered_json folder_json(const DataFolderReport& report) {
  return {{"dir", report.dir},
          {"dataset", report.dataset},
          {"image_shape", report.image_shape},
          {"train", file_json(report.train)},
          {"test", file_json(report.test)},
          {"class_names", report.class_names},
          {"warnings", report.warnings}};
}

std::string range_of_counts(const std::vector<std::int64_t>& counts) {
  const auto [low, high] = std::ranges::minmax(counts);
  return low == high ? std::to_string(low) : fmt::format("{}-{}", low, high);
}

// Whether these are CIFAR-100's own images, file by file where the two differ; else what they are.
std::string origin_of(const DataFolderReport& report) {
  if (report.dataset != "cifar100") return dataset_registry().at(report.dataset).title;
  const auto of = [](const DataFileReport& file) -> std::string {
    if (file.known == "official") return "CIFAR-100's official";
    return file.known == "reordered" ? "CIFAR-100's images in another order" : "not CIFAR-100's (or changed)";
  };
  const std::string train = of(report.train), test = of(report.test);
  return train == test ? train : report.train.name + ": " + train + ", " + report.test.name + ": " + test;
}

std::string brief(const std::vector<double>& numbers) {
  std::string text;
  for (const auto number : numbers) text += fmt::format("{}{:.4f}", text.empty() ? "" : " ", number);
  return text;
}

void print_info(const DataFolderReport& report) {
  std::vector<std::vector<std::string>> rows{{"file", "records", "bytes", "per class", "mean", "std"}};
  for (const DataFileReport* file : {&report.train, &report.test}) {
    rows.push_back({file->name, std::to_string(file->records), std::to_string(file->bytes),
                    range_of_counts(file->class_counts), brief(file->mean), brief(file->std)});
  }
  std::printf("%s", format_table(rows, TableFormat::kText).c_str());
  const auto& shape = report.image_shape;
  std::printf("%zu classes; images [%lld, %lld, %lld]\n", report.train.class_counts.size(),
              static_cast<long long>(shape[0]), static_cast<long long>(shape[1]), static_cast<long long>(shape[2]));
  for (const DataFileReport* file : {&report.train, &report.test})
    std::printf("sha256 %s  %s\n", file->sha256.c_str(), file->name.c_str());
  std::printf("%s\n", origin_of(report).c_str());
}

void add_dataset_option(CLI::App& app, DataOptions& options) {
  app.add_option("--dataset", options.dataset,
                 "what the folder holds, one of " + join(folder_datasets()) + "; found out where it is not given")
      ->type_name("NAME")
      ->check(member_of(folder_datasets()));
}

CommandRow add_report_command(CLI::App& parent, GlobalOptions& global, const char* name, const char* help,
                              bool details) {
  CLI::App* app = parent.add_subcommand(name, help);
  auto options = std::make_shared<DataOptions>();
  app->add_option("DIR", options->dir, "folder with the data set's files")->required();
  add_dataset_option(*app, *options);
  app->add_flag("--json", options->json, "print one object on stdout")->group("Output");
  add_output_options(*app, global);
  return {app, [app, options, details] {
            apply_environment(*app);
            const DataFolderReport report = inspect_data_folder(options->dir, options->dataset);
            for (const auto& warning : report.warnings) std::fprintf(stderr, "warning: %s\n", warning.c_str());
            if (options->json) {
              std::printf("%s\n", json_text(folder_json(report)).c_str());
            } else if (details) {
              print_info(report);
            } else {
              std::printf("%s: %lld training and %lld test records, all labels valid; %s\n", report.dir.c_str(),
                          static_cast<long long>(report.train.records), static_cast<long long>(report.test.records),
                          origin_of(report).c_str());
            }
            return 0;
          }};
}

CommandRow add_import_command(CLI::App& parent, GlobalOptions& global) {
  CLI::App* app = parent.add_subcommand("import", "Write any data set as .npy files, which are read at full speed");
  auto options = std::make_shared<DataOptions>();
  app->add_option("SRC", options->source, "folder with the data set's files")->required();
  app->add_option("DIR", options->dir, "folder to write into; made where it is missing")->required();
  add_dataset_option(*app, *options);
  add_output_options(*app, global);
  return {app, [app, options] {
            apply_environment(*app);
            const ImportedData imported = import_data(options->source, options->dir, options->dataset);
            std::printf("%s: written, %lld training and %lld test images; read them with --dataset npy --data %s\n",
                        options->dir.c_str(), static_cast<long long>(imported.train),
                        static_cast<long long>(imported.test), options->dir.c_str());
            return 0;
          }};
}

CommandRow add_make_command(CLI::App& parent, GlobalOptions& global) {
  CLI::App* app =
      parent.add_subcommand("make-synthetic", "Write the built-in synthetic set in CIFAR-100's binary layout");
  auto options = std::make_shared<DataOptions>();
  app->add_option("DIR", options->dir, "folder to write into; made where it is missing")->required();
  add_output_options(*app, global);
  return {app, [app, options] {
            apply_environment(*app);
            write_synthetic(options->dir);
            std::printf("%s: written\n", options->dir.c_str());
            return 0;
          }};
}

}  // namespace

std::vector<CommandRow> add_data_commands(CLI::App& root, GlobalOptions& global) {
  CLI::App* data = root.add_subcommand("data", "Check, describe, import or make a data folder");
  data->require_subcommand(0, 1);
  return {
      add_report_command(*data, global, "verify", "Check every record of a data folder", false),
      add_report_command(*data, global, "info", "Describe a data folder: counts, classes, statistics, checksums", true),
      add_import_command(*data, global), add_make_command(*data, global)};
}

}  // namespace ekd
