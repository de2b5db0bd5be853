#include "ekd/engine/teacher_pass.h"

namespace ekd {

std::vector<at::Tensor> TeacherPass::logits(const at::Tensor& images, const std::set<std::size_t>& asked) {
  std::vector<at::Tensor> logits(teachers_.size());
  if (asked.empty()) return logits;
  ReplayCache::Key key{images.size(0)};
  key.insert(key.end(), asked.begin(), asked.end());
  std::vector<at::Tensor>& answers = answers_[key];
  answers.resize(teachers_.size());
  Batch batch;
  batch.images = images;
  graph_.run(batch, key,
             {[] {},
              [&](const Batch& own) {
                for (const std::size_t i : asked) answers[i] = teacher_logits(teachers_.at(i), own.images, precision_);
              }});
  graph_.join();
  // The next replay overwrites its answers.
  for (const std::size_t i : asked) logits[i] = images.is_cpu() ? std::move(answers[i]) : answers[i].clone();
  return logits;
}

}  // namespace ekd
