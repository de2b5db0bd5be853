#include "data/layout.h"

#include <algorithm>
#include <system_error>

#include "ekd/data/load.h"

namespace ekd {
namespace {

namespace fs = std::filesystem;

// "NAME" is a file, "NAME/" a folder.
bool holds(const fs::path& dir, const std::string& name) {
  std::error_code error;
  return name.ends_with('/') ? fs::is_directory(dir / name, error) : fs::is_regular_file(dir / name, error);
}

bool holds_any(const fs::path& dir, const std::vector<std::string>& names) {
  return std::ranges::any_of(names, [&](const std::string& name) { return holds(dir, name); });
}

// What the field's archives unpack to.
constexpr const char* kFoldersOfArchives[] = {"cifar-100-binary", "cifar-10-batches-bin", "tiny-imagenet-200"};

}  // namespace

std::string dataset_in(const fs::path& dir) {
  for (const auto& row : dataset_registry().rows())
    if (holds_any(dir, row.told_by)) return row.name;
  return "";
}

std::string what_lies_in(const fs::path& dir, const std::string& dataset) {
  const std::string found = dataset_in(dir);
  if (!found.empty() && found != dataset)
    return "; this looks like " + dataset_registry().at(found).title + ": --dataset " + found;
  for (const char* inner : kFoldersOfArchives)
    if (!dataset_in(dir / inner).empty()) return "; it lies in " + (dir / inner).string();
  if (holds(dir, "data_batch_1") || (holds(dir, "train") && holds(dir, "meta")))
    return "; this is CIFAR's Python version, and ekd reads the binary version";
  if (holds(dir, "train-images-idx3-ubyte") || holds(dir, "train-images-idx3-ubyte.gz"))
    return "; these are MNIST's idx files, and ekd reads them as .npy: --dataset npy";
  if (dataset == "cifar100") return "; scripts/get_cifar100.sh fetches CIFAR-100, --dataset synthetic needs no files";
  return "";
}

}  // namespace ekd
