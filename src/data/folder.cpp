#include "data/folder.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "data/image_list.h"
#include "data/layout.h"
#include "data/source_file.h"
#include "ekd/core/error.h"
#include "ekd/core/text.h"
#include "ekd/data/image_file.h"

namespace ekd {
namespace {

namespace fs = std::filesystem;

constexpr const char* kAccepted = "accepted: .png, .jpg and .jpeg";

bool is_other_image_name(const fs::path& path) {
  static const std::set<std::string> others{".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"};
  return others.contains(lower_extension(path));
}

// Links are followed.
bool is_folder_of_data(const fs::path& path) {
  std::error_code error;
  const bool folder = fs::is_directory(path, error);
  if (error == std::errc::too_many_symbolic_link_levels)
    throw DataError(path.string() + ": is a link that leads back to itself");
  return folder;
}

// What lies in a folder, sorted by bytes, without hidden names.
std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
    if (!entry->path().filename().native().starts_with('.')) entries.push_back(entry->path());
  if (error) throw IoError(folder.string() + ": cannot read: " + error.message());
  std::ranges::sort(entries, {}, [](const fs::path& path) -> const std::string& { return path.native(); });
  return entries;
}

// The image files of a class, in its folder or in images/ there.
void list_class(const fs::path& folder, std::int64_t label, bool outer, std::vector<ListedImage>& images) {
  for (const auto& path : entries_of(folder)) {
    if (is_image_name(path)) {
      images.push_back(listed_image(path, label));
    } else if (is_other_image_name(path)) {
      throw DataError(path.string() + ": is of a kind that ekd does not read; " + kAccepted);
    } else if (is_folder_of_data(path)) {
      if (!outer || path.filename() != "images")
        throw DataError(path.string() + ": is a folder within a class; accepted: images/ alone");
      list_class(path, label, false, images);
    }
  }
}

void add_class(const fs::path& folder, std::int64_t label, std::vector<ListedImage>& images) {
  const std::size_t before = images.size();
  list_class(folder, label, true, images);
  if (images.size() == before) throw DataError(folder.string() + ": is a class without an image; " + kAccepted);
}

std::vector<fs::path> class_folders(const fs::path& split, const std::string& hint) {
  if (!is_folder_of_data(split)) throw DataError(split.string() + ": no such folder" + hint);
  std::vector<fs::path> folders;
  for (auto& path : entries_of(split))
    if (is_folder_of_data(path)) folders.push_back(std::move(path));
  if (folders.empty()) throw DataError(split.string() + ": holds no folder of a class" + hint);
  return folders;
}

// By name, each class's label.
using Labels = std::map<std::string, std::int64_t>;

Labels add_training_classes(ImageList& list) {
  Labels labels;
  for (const auto& folder : class_folders(list.dir / "train", what_lies_in(list.dir, list.dataset))) {
    const auto label = static_cast<std::int64_t>(labels.size());
    add_class(folder, label, list.train);
    labels.emplace(folder.filename().string(), label);
  }
  return labels;
}

std::vector<std::string> names_of(const Labels& labels) {
  std::vector<std::string> names;
  for (const auto& [name, label] : labels) names.push_back(name);  // labels follow the names' order
  return names;
}

// The first image of each class, then the second of each: so that the first and the last N, which settings take, are of
// all classes.
void deal_out(std::vector<ListedImage>& images) {
  std::map<std::int64_t, std::int64_t> seen;
  std::vector<std::pair<std::int64_t, ListedImage>> placed;
  for (auto& image : images) {
    const std::int64_t place = seen[image.label]++;
    placed.emplace_back(place, std::move(image));
  }
  std::ranges::stable_sort(placed, {}, [](const auto& one) { return one.first; });
  std::ranges::transform(placed, images.begin(), [](auto& one) { return std::move(one.second); });
}

Source source_of(const ImageList& list, std::vector<std::string> class_names, std::vector<std::string> warnings) {
  const ListedSets sets = read_listed_images(list);
  Source source{split_of(sets.train), split_of(sets.test), static_cast<std::int64_t>(class_names.size()), {}, {}};
  source.class_names = std::move(class_names);
  source.warnings = std::move(warnings);
  return source;
}

// The lines of a text file, without line ends; empty ones are left out.
std::vector<std::string> lines_in(const fs::path& path) {
  const auto bytes = read_source_file(path);
  std::istringstream text(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);) {
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty()) lines.push_back(line);
  }
  return lines;
}

// "a\tb\tc" → "a", "b".
std::pair<std::string, std::string> first_two(const std::string& line) {
  const auto tab = line.find('\t');
  if (tab == std::string::npos) return {line, ""};
  return {line.substr(0, tab), line.substr(tab + 1, line.find('\t', tab + 1) - tab - 1)};
}

// wnids.txt, where it is there, names the classes of train/, all of them and no others.
void check_wnids(const fs::path& path, const Labels& labels) {
  std::error_code error;
  if (!fs::exists(path, error)) return;
  std::set<std::string> stated;
  for (const auto& wnid : lines_in(path)) {
    stated.insert(wnid);
    if (!labels.contains(wnid)) throw DataError(path.string() + ": names '" + wnid + "', which train/ lacks");
  }
  for (const auto& [wnid, label] : labels)
    if (!stated.contains(wnid)) throw DataError(path.string() + ": lacks '" + wnid + "', which is in train/");
}

void add_annotated_images(const fs::path& val, const Labels& labels, std::vector<ListedImage>& images) {
  const fs::path annotations = val / "val_annotations.txt";
  std::set<std::string> annotated;
  for (const auto& line : lines_in(annotations)) {
    const auto [name, wnid] = first_two(line);
    const auto label = labels.find(wnid);
    if (label == labels.end()) {
      throw DataError(annotations.string() + ": gives '" + name + "' the class '" + wnid + "', which train/ lacks");
    }
    images.push_back(listed_image(val / "images" / name, label->second));
    annotated.insert(name);
  }
  if (images.empty()) throw DataError(annotations.string() + ": names no image");
  if (annotated.size() != images.size()) throw DataError(annotations.string() + ": names an image twice");
  for (const auto& path : entries_of(val / "images"))
    if (is_image_name(path) && !annotated.contains(path.filename().string()))
      throw DataError(annotations.string() + ": lacks " + path.filename().string());
}

// WNIDs with the words that words.txt has for them.
std::vector<std::string> words_for(std::vector<std::string> wnids, const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return wnids;
  std::map<std::string, std::string> words;
  for (const auto& line : lines_in(path)) words.insert(first_two(line));
  for (auto& wnid : wnids)
    if (const auto found = words.find(wnid); found != words.end() && !found->second.empty()) wnid = found->second;
  return wnids;
}

}  // namespace

Source open_folder(const fs::path& dir) {
  ImageList list{dir, "folder", {}, {}};
  const Labels labels = add_training_classes(list);
  std::vector<std::string> warnings;
  const bool has_test = is_folder_of_data(dir / "test"), has_val = is_folder_of_data(dir / "val");
  if (has_test && has_val)
    warnings.push_back((dir / "val").string() +
                       ": is left alone; test/ is the test split, and --val-size N holds out "
                       "training images");
  const fs::path test = dir / (has_test || !has_val ? "test" : "val");
  std::size_t classes = 0;
  for (const auto& folder : class_folders(test, what_lies_in(dir, list.dataset))) {
    const auto label = labels.find(folder.filename().string());
    if (label == labels.end()) throw DataError(folder.string() + ": is a class that train/ lacks");
    add_class(folder, label->second, list.test);
    ++classes;
  }
  if (classes < labels.size())
    warnings.push_back(test.string() + ": " + std::to_string(labels.size() - classes) + " of " +
                       std::to_string(labels.size()) + " classes have no folder");
  deal_out(list.train);
  deal_out(list.test);
  return source_of(list, names_of(labels), std::move(warnings));
}

Source open_tiny_imagenet(const fs::path& dir) {
  ImageList list{dir, "tiny-imagenet", {}, {}};
  const Labels labels = add_training_classes(list);
  check_wnids(dir / "wnids.txt", labels);
  deal_out(list.train);
  add_annotated_images(dir / "val", labels, list.test);
  return source_of(list, words_for(names_of(labels), dir / "words.txt"), {});
}

}  // namespace ekd
