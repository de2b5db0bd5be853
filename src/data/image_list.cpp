#include "data/image_list.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <string_view>

#include "ekd/core/atomic_file.h"
#include "ekd/core/error.h"
#include "ekd/core/sha256.h"
#include "ekd/core/tensor_file.h"
#include "ekd/data/image_file.h"

namespace ekd {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kColours = 3;

// What tells these files from others; a change to what is kept changes the first line.
std::string digest_of(const ImageList& list) {
  Sha256 hash;
  hash.update("images 1\n" + list.dataset + "\n");
  for (const auto* images : {&list.train, &list.test}) {
    hash.update(std::to_string(images->size()) + "\n");
    for (const auto& image : *images) {
      hash.update(image.path.lexically_relative(list.dir).native());
      const std::int64_t numbers[] = {image.label, image.bytes, image.modified};
      hash.update(numbers, sizeof numbers);
    }
  }
  return hash.hex();
}

std::string size_text(const at::Tensor& image) {
  return std::to_string(image.size(2)) + "×" + std::to_string(image.size(1));
}

// Decodes into sets whose images all have three channels.
class Decoder {
 public:
  explicit Decoder(const ImageList& list) : list_(list), first_(read_image_file(list.train.front().path)) {
    sets_ = {empty_set(list.train), empty_set(list.test)};
  }

  ListedSets decode() {
    decode(list_.train, sets_.train);
    decode(list_.test, sets_.test);
    if (coloured_) return std::move(sets_);
    for (ImageSet* set : {&sets_.train, &sets_.test}) set->images = set->images.narrow(1, 0, 1).contiguous();
    return std::move(sets_);
  }

 private:
  ImageSet empty_set(const std::vector<ListedImage>& images) const {
    const auto count = static_cast<std::int64_t>(images.size());
    const std::string shape = std::to_string(count) + " images of " + size_text(first_) + " pixels";
    ImageSet set;
    try {
      set = {at::empty({count, kColours, first_.size(1), first_.size(2)}, at::kByte), at::empty({count}, at::kLong)};
    } catch (const c10::Error&) {
      throw MemoryError(list_.dir.string() + ": not enough memory for " + shape);
    }
    std::ranges::transform(images, set.labels.mutable_data_ptr<std::int64_t>(), &ListedImage::label);
    return set;
  }

  void decode(const std::vector<ListedImage>& images, const ImageSet& set) {
    constexpr std::int64_t kImagesPerChunk = 64;
    auto* pixels = set.images.mutable_data_ptr<std::uint8_t>();
    at::parallel_for(0, set.size(), kImagesPerChunk, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i)
        decode(images[static_cast<std::size_t>(i)].path, pixels + i * kColours * first_[0].numel());
    });
  }

  void decode(const fs::path& path, std::uint8_t* pixels) {
    const at::Tensor image = read_image_file(path);
    if (image.sizes().slice(1) != first_.sizes().slice(1)) {
      throw DataError(path.string() + ": is of " + size_text(image) + " pixels, and " +
                      list_.train.front().path.string() + " of " + size_text(first_) +
                      "; all images of a data set have one size");
    }
    if (image.size(0) == kColours) coloured_ = true;
    const std::size_t plane = image[0].nbytes();
    for (std::int64_t channel = 0; channel < kColours; ++channel)
      std::memcpy(pixels + static_cast<std::size_t>(channel) * plane,
                  image.const_data_ptr<std::uint8_t>() + (channel % image.size(0)) * image[0].numel(), plane);
  }

  const ImageList& list_;
  at::Tensor first_;
  ListedSets sets_;
  std::atomic<bool> coloured_ = false;
};

// What a cache holds, by name.
std::vector<NamedTensor> tensors_of(const ListedSets& sets) {
  return {{"train_images", sets.train.images},
          {"train_labels", sets.train.labels},
          {"test_images", sets.test.images},
          {"test_labels", sets.test.labels}};
}

bool fits(const ImageSet& set, const std::vector<ListedImage>& images) {
  const auto count = static_cast<std::int64_t>(images.size());
  return set.images.scalar_type() == at::kByte && set.images.dim() == 4 && set.images.size(0) == count &&
         (set.images.size(1) == 1 || set.images.size(1) == kColours) && set.labels.scalar_type() == at::kLong &&
         set.labels.dim() == 1 && set.labels.size(0) == count &&
         std::ranges::equal(std::span(set.labels.const_data_ptr<std::int64_t>(), images.size()), images, {}, {},
                            &ListedImage::label);
}

class ImageCache {
 public:
  explicit ImageCache(const ImageList& list)
      : list_(list), path_(list.dir / ".ekd-cache" / (list.dataset + ".safetensors")), digest_(digest_of(list)) {}

  // False where there is none of these files.
  bool read(ListedSets& sets) const {
    std::error_code error;
    if (!fs::is_regular_file(path_, error)) return false;
    try {
      const TensorFile file = read_tensor_file(path_);
      if (!file.own.is_object() || file.own.value("sources", "") != digest_) return false;
      sets = {{file.at("train_images"), file.at("train_labels")}, {file.at("test_images"), file.at("test_labels")}};
      if (fits(sets.train, list_.train) && fits(sets.test, list_.test) &&
          sets.train.images.sizes().slice(1) == sets.test.images.sizes().slice(1))
        return true;
      spdlog::warn("{}: does not hold what it says; the images are read again", path_.string());
    } catch (const WeightsError& refusal) {
      spdlog::warn("{}; the images are read again", refusal.what());
    } catch (const IoError& refusal) {
      spdlog::warn("{}; the images are read again", refusal.what());
    } catch (const nlohmann::json::exception&) {
      spdlog::warn("{}: its metadata is not ekd's; the images are read again", path_.string());
    }
    return false;
  }

  // Returns whether it could.
  bool write(const ListedSets& sets) const {
    try {
      make_directories(path_.parent_path());
      remove_stale_temporaries(path_.parent_path());
      write_tensor_file(path_, tensors_of(sets),
                        {{"kind", "images"}, {"dataset", list_.dataset}, {"sources", digest_}});
      return true;
    } catch (const IoError& refusal) {
      spdlog::warn("{}; so every run reads all images anew: `ekd data import` writes them where that is not needed",
                   refusal.what());
      return false;
    }
  }

  const fs::path& path() const { return path_; }

 private:
  const ImageList& list_;
  fs::path path_;
  std::string digest_;
};

}  // namespace

ListedImage listed_image(const fs::path& path, std::int64_t label) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) throw DataError(path.string() + ": no such file");
    if (errno == ELOOP) throw DataError(path.string() + ": is a link that leads back to itself");
    throw IoError(path.string() + ": cannot look: " + std::strerror(errno));
  }
  constexpr std::int64_t kNanoseconds = 1'000'000'000;
  return {path, label, status.st_size, status.st_mtim.tv_sec * kNanoseconds + status.st_mtim.tv_nsec};
}

ListedSets read_listed_images(const ImageList& list) {
  const ImageCache cache(list);
  ListedSets sets;
  if (cache.read(sets)) return sets;
  const auto start = std::chrono::steady_clock::now();
  sets = Decoder(list).decode();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  const bool kept = cache.write(sets);
  spdlog::info("{}: {} images read in {:.1f} s{}", list.dir.string(), list.train.size() + list.test.size(),
               seconds.count(), kept ? "; kept in " + cache.path().string() : "");
  return sets;
}

}  // namespace ekd
