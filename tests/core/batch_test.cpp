// A batch is copied whole: a field that its list of tensors lacks does not compile (core/types.cpp), and one that the
// copy loses is found here.
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <set>

#include "ekd/core/types.h"

namespace ekd {
namespace {

at::Tensor filled(double value) { return at::full({2, 3}, value); }

// Each tensor holds another number.
Batch batch_from(double value) {
  Batch batch;
  batch.images = filled(value);
  batch.targets = filled(value + 1);
  batch.labels = filled(value + 2);
  batch.indices = filled(value + 7);
  batch.views = 3;
  batch.teachers = {
      {filled(value + 3), {{"block2", filled(value + 4)}, {"block3", filled(value + 5)}}}, {}, {filled(value + 6), {}}};
  return batch;
}

TEST(Batch, CopiesKeepTheirMemory) {
  Batch place;
  copy_in_place(place, batch_from(0));
  std::vector<const void*> addresses;
  for (const auto* tensor : place.tensors())
    addresses.push_back(tensor->defined() ? tensor->const_data_ptr() : nullptr);
  const Batch next = batch_from(10);
  copy_in_place(place, next);
  std::set<double> values;
  const auto tensors = place.tensors(), originals = Batch(next).tensors();
  ASSERT_EQ(tensors.size(), 9U);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (!tensors[i]->defined()) continue;
    EXPECT_EQ(tensors[i]->const_data_ptr(), addresses[i]);
    values.insert(tensors[i]->max().item<double>());
  }
  EXPECT_EQ(values, (std::set<double>{10, 11, 12, 13, 14, 15, 16, 17}));
  EXPECT_EQ(place.views, 3);
  EXPECT_EQ(place.teachers[0].feature("block3").max().item<double>(), 15);
  EXPECT_NE(place.images.const_data_ptr(), next.images.const_data_ptr());
}

TEST(Batch, CopiesOfOneKindAgree) {
  Batch place, fewer = batch_from(0), smaller = batch_from(0);
  copy_in_place(place, batch_from(0));
  fewer.teachers.pop_back();
  EXPECT_THROW(copy_in_place(place, fewer), c10::Error);
  fewer = batch_from(0);
  fewer.teachers[2] = {};
  EXPECT_THROW(copy_in_place(place, fewer), c10::Error);
  smaller.labels = smaller.labels.narrow(0, 0, 1);
  EXPECT_THROW(copy_in_place(place, smaller), c10::Error);
}

TEST(Batch, KeepsTheAnswersThatAreAskedFor) {
  const Batch batch = batch_from(0), part = batch.with_answers_to({{0, {"block3"}}});
  ASSERT_EQ(part.teachers.size(), 3U);
  EXPECT_TRUE(part.teachers[0].logits.is_same(batch.teachers[0].logits));
  ASSERT_EQ(part.teachers[0].features.size(), 1U);
  EXPECT_TRUE(part.teachers[0].feature("block3").is_same(batch.teachers[0].feature("block3")));
  EXPECT_THROW(part.teachers[0].feature("block2"), c10::Error);
  EXPECT_FALSE(part.teachers[2].logits.defined());
  EXPECT_THROW(batch.with_answers_to({{2, {"block3"}}}), c10::Error);
}

}  // namespace
}  // namespace ekd
