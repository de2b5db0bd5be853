#include "ekd/data/settings.h"

#include "ekd/data/load.h"

namespace ekd {

std::vector<Field> data_fields(DataConfig& data) {
  return {
      {"data.dataset", &data.dataset, one_of(dataset_registry().names()), "--dataset", "where the images come from"},
      {"data.dir", &data.dir, {}, "--data", "folder with the data set's files", OnResume::kFree},
      {"data.train_limit", &data.train_limit, between(0, kMaxCount), "--train-limit",
       "first N training records of those that --classes and --val-size leave; 0: all"},
      {"data.test_limit", &data.test_limit, between(0, kMaxCount), "--test-limit",
       "first N test records of those that --classes leaves; 0: all"},
      {"data.classes", &data.classes, between(0, kMaxCount), "--classes",
       "only the first N classes, and an N-way network; 0: all"},
      {"data.val_size", &data.val_size, between(0, kMaxCount), "--val-size",
       "last N training records held out for validation"},
      {"data.mean", &data.mean, between(0, 1), "",
       "of each channel, of pixels / 255, taken off in normalising; empty: the data set's own, which is measured on "
       "the "
       "training images where none is published"},
      {"data.std", &data.std, above_up_to(0, 1), "",
       "of each channel, of pixels / 255, divided by in normalising; goes with data.mean"},
  };
}

}  // namespace ekd
