// The frozen networks' answers to a batch.
#pragma once

#include <map>
#include <vector>

#include "ekd/core/device.h"
#include "ekd/core/step_graph.h"
#include "ekd/train/teacher.h"

namespace ekd {

class TeacherPass {
 public:
  // The teachers are on `device`. `graph`: on CUDA their passes become graphs, one for all that is asked at
  // once.
  TeacherPass(std::vector<Teacher> teachers, Precision precision, at::Device device, bool graph)
      : teachers_(std::move(teachers)), precision_(precision), graph_(device, graph, "teachers") {}

  const std::vector<Teacher>& teachers() const { return teachers_; }

  // What the teachers that are asked say about images [B, C, H, W], by index; nothing for the others.
  std::vector<Outputs> answers(const at::Tensor& images, const TeacherQuestions& questions);

 private:
  std::vector<Teacher> teachers_;
  Precision precision_;
  std::map<TeacherQuestions, std::int64_t> numbers_;  // of what was asked, for the keys
  std::map<ReplayCache::Key, Batch> answers_;         // where graphs leave them
  StepGraph graph_;
};

}  // namespace ekd
