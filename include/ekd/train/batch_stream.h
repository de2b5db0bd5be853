// Augmented batches, each with the answers of the teachers attached. One stream may feed several learners.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "ekd/augment/augmentation.h"
#include "ekd/core/device.h"
#include "ekd/train/teacher_pass.h"

namespace ekd {

class BatchStream {
 public:
  // The context's images and labels lie on the device that trains; `precision` decides what images it makes. `graph` as
  // in TeacherPass.
  BatchStream(const AugmentationContext& context, std::vector<Teacher> teachers, Precision precision,
              bool graph = true);

  std::int64_t size() const { return size_; }
  // The last batch of an epoch may be smaller.
  std::int64_t steps_per_epoch() const { return (size_ + batch_size_ - 1) / batch_size_; }

  // Fixes the order and the draws of an epoch, whatever was asked for before.
  void begin_epoch(std::int64_t epoch);

  // The batch of 0-based `step` of that epoch: a function of (seed, epoch, step). Its teachers are asked these
  // questions and no other.
  Batch batch(std::int64_t step, const TeacherQuestions& questions = {}) const;

  const std::vector<Teacher>& teachers() const { return teachers_->teachers(); }

 private:
  std::int64_t size_, batch_size_;
  std::uint32_t seed_;
  std::unique_ptr<Augmentation> augmentation_;
  std::unique_ptr<TeacherPass> teachers_;
  at::Device device_;
  at::Tensor order_;  // int64 [size], on the device
};

}  // namespace ekd
