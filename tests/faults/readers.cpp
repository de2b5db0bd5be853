#include "faults/readers.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>

#include "data/cifar.h"
#include "data/npy.h"
#include "ekd/core/error.h"
#include "ekd/core/tensor_file.h"
#include "ekd/data/image_file.h"
#include "ekd/evaluate/predictions.h"
#include "ekd/runs/run_record.h"
#include "ekd/settings/config.h"
#include "ekd/settings/config_io.h"
#include "ekd/study/plan.h"
#include "ekd/train/finished_run.h"

namespace ekd::faults {
namespace {

namespace fs = std::filesystem;

// Deflate packs 1,040 bytes of pixels into one, which may have 1 bit where a pixel with alpha has 4 bytes; a JPEG's
// byte may hold eight blocks of 64 pixels in three channels.
constexpr std::size_t kBinary = 4, kJson = 16, kPng = 1040 * 32, kJpeg = 4 * 64 * 8;

void read_tensors(const fs::path& path) { read_tensor_file(path); }

void read_predictions(const fs::path& path) { load_predictions(path); }

void read_cifar(const fs::path& path) {
  std::vector<std::string> warnings;
  const CifarFile file = read_cifar_file(path, kCifarTrainRecords, warnings);
  std::vector<std::int64_t> rows;
  for (std::int64_t row = 0; row < file.size(); ++row) rows.push_back(row);
  gather_records(file, rows);
}

void read_cifar10(const fs::path& path) {
  std::vector<std::string> warnings;
  read_cifar_file(path, 10'000, warnings, kCifar10);
}

void read_array(const fs::path& path) { read_npy(path); }

void read_image(const fs::path& path) { read_image_file(path); }

void read_settings(const fs::path& path) {
  Config config;
  const auto fields = config_fields(config, Command::kDistill);
  apply_file(fields, path.string());
  config_json(fields);
}

void read_a_plan(const fs::path& path) {
  for (const auto& run : read_plan(path).runs) {
    Config config;
    for (const auto& layer : run.layers) apply_json(config_fields(config, run.command), layer, path.string());
  }
}

// As a run that goes on: what is kept is written again.
void go_on_with_metrics(const fs::path& path) { MetricLog(path, std::numeric_limits<std::int64_t>::max()); }

void go_on_with_record(const fs::path& path) { RunRecord(path, {}); }

void read_result(const fs::path& path) { read_finished_run(path.parent_path()); }

constexpr Reader kReaders[] = {
    {"weights", "last.safetensors", true, kBinary, read_tensors},
    {"checkpoint", "checkpoint.safetensors", true, kBinary, read_tensors},
    {"predictions", "predictions.safetensors", true, kBinary, read_predictions},
    {"cifar", "train.bin", false, kBinary, read_cifar},
    {"cifar10", "data_batch_1.bin", false, kBinary, read_cifar10},
    {"npy", "train_images.npy", false, kBinary, read_array},
    {"png", "image.png", false, kPng, read_image},
    {"jpeg", "image.jpeg", false, kJpeg, read_image},
    {"settings", "config.json", false, kJson, read_settings},
    {"plan", "plan.json", false, kJson, read_a_plan},
    {"metrics", "metrics.jsonl", false, kJson, go_on_with_metrics},
    {"record", "run.json", false, kJson, go_on_with_record},
    {"result", "result.json", false, kJson, read_result},
};

fs::path own_folder() {
  const char* base = std::getenv("EKD_FAULTS_FOLDER");
  const fs::path folder =
      fs::path(base != nullptr ? base : fs::temp_directory_path().c_str()) / ("ekd-faults-" + std::to_string(getpid()));
  fs::create_directories(folder);
  return folder;
}

void write(const fs::path& path, std::span<const std::byte> bytes) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  const bool whole = fd >= 0 && ::write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size());
  if (fd >= 0) close(fd);
  if (whole) return;
  std::perror(path.c_str());
  std::exit(2);
}

}  // namespace

std::span<const Reader> readers() { return kReaders; }

const Reader& reader_of(std::string_view name) {
  for (const auto& reader : kReaders)
    if (reader.name == name) return reader;
  std::fprintf(stderr, "no reader '%s'\n", std::string(name).c_str());
  std::exit(2);
}

Answer answer_to(const Reader& reader, std::span<const std::byte> bytes) {
  static const struct Folder {
    fs::path path = own_folder();
    ~Folder() { fs::remove_all(path); }
  } folder;
  const fs::path path = folder.path / reader.file;
  write(path, bytes);
  try {
    reader.read(path);
  } catch (const Error& error) {
    if (error.code() == ExitCode::kInternal) throw;
    return Answer::kRefused;
  }
  return Answer::kRead;
}

}  // namespace ekd::faults
