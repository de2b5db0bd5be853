// What the command line does not show: order of files and labels, channels, the cache's digest.
#include "data/folder.h"

#include <ATen/ops/equal.h>
#include <gmock/gmock.h>

#include "ekd/core/error.h"
#include "ekd/core/tensor_file.h"
#include "tests/data/logged_folder.h"

namespace ekd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class ImageFolder : public LoggedFolder {
 protected:
  void put(const std::string& name, const std::string& golden) const {
    std::filesystem::create_directories((dir_ / name).parent_path());
    const at::Tensor& bytes = file_.at(golden);
    write(name, {static_cast<const char*>(bytes.const_data_ptr()), bytes.nbytes()});
  }

  TensorFile file_ = read_tensor_file(EKD_GOLDEN_DIR "/image_files.safetensors");
};

TEST_F(ImageFolder, FilesAndClassesGoByTheirNames) {
  put("train/b/2.png", "rgb.png");
  put("train/b/10.png", "palette.png");
  put("train/B/1.JPG", "rgb.jpeg");
  put("test/b/1.png", "grey.png");
  const Source source = open_folder(dir_);
  EXPECT_THAT(source.class_names, ElementsAre("B", "b"));
  EXPECT_THAT(source.train.labels, ElementsAre(0, 1, 1));
  const ImageSet train = all_records(source.train);
  EXPECT_TRUE(at::equal(train.images[0], file_.at("rgb.jpeg.pixels")));
  EXPECT_TRUE(at::equal(train.images[1], file_.at("palette.png.pixels")));  // 10 before 2
  EXPECT_TRUE(at::equal(train.images[2], file_.at("rgb.png.pixels")));
  // The grey one has three channels like the others.
  const ImageSet test = all_records(source.test);
  EXPECT_TRUE(at::equal(test.images[0], file_.at("grey.png.pixels").expand({3, -1, -1})));
  // From the cache the same; rows in any order.
  const Source again = open_folder(dir_);
  EXPECT_TRUE(at::equal(all_records(again.train).images, train.images));
  const ImageSet chosen = again.train.records(std::vector<std::int64_t>{2, 0});
  EXPECT_TRUE(at::equal(chosen.images[1], train.images[0]));
  EXPECT_EQ(chosen.labels[0].item<int>(), 1);
}

// So that --val-size, which takes the last ones, takes all classes.
TEST_F(ImageFolder, RecordsAreDealtOut) {
  for (const char* name : {"a/1", "a/2", "a/3", "b/1", "c/1", "c/2"})
    put("train/" + std::string(name) + ".png", "rgb.png");
  put("test/c/1.png", "rgb.png");
  EXPECT_THAT(open_folder(dir_).train.labels, ElementsAre(0, 1, 2, 0, 2, 0));
}

TEST_F(ImageFolder, ACacheOfOtherShapesIsReadAnew) {
  put("train/a/1.png", "rgb.png");
  put("test/a/1.png", "rgb.png");
  open_folder(dir_);
  const auto path = dir_ / ".ekd-cache" / "folder.safetensors";
  TensorFile cache = read_tensor_file(path);
  const nlohmann::json own = {{"kind", "images"}, {"dataset", "folder"}, {"sources", cache.own.at("sources")}};
  for (auto& [name, tensor] : cache.tensors)
    if (name == "test_images") tensor = tensor.narrow(2, 0, 3);
  write_tensor_file(path, cache.tensors, own);
  EXPECT_TRUE(at::equal(all_records(open_folder(dir_).test).images[0], file_.at("rgb.png.pixels")));
  EXPECT_THAT(log_.str(), HasSubstr("does not hold what it says"));
}

}  // namespace
}  // namespace ekd
