// The frozen networks' answers to a batch.
#pragma once

#include <map>
#include <set>
#include <vector>

#include "ekd/core/device.h"
#include "ekd/engine/step_graph.h"
#include "ekd/engine/teacher.h"

namespace ekd {

class TeacherPass {
 public:
  // The teachers are on `device`. `graph`: on CUDA their passes become graphs, one for each set that is asked.
  TeacherPass(std::vector<Teacher> teachers, Precision precision, at::Device device, bool graph)
      : teachers_(std::move(teachers)), precision_(precision), graph_(device, graph, "teachers") {}

  const std::vector<Teacher>& teachers() const { return teachers_; }

  // float32 [B, classes] of images [B, C, H, W] for each teacher whose index is asked for, undefined for the others.
  std::vector<at::Tensor> logits(const at::Tensor& images, const std::set<std::size_t>& asked);

 private:
  std::vector<Teacher> teachers_;
  Precision precision_;
  std::map<ReplayCache::Key, std::vector<at::Tensor>> answers_;  // where graphs leave them
  StepGraph graph_;
};

}  // namespace ekd
