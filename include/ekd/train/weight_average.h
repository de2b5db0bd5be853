// An exponential moving average of a network's weights over the steps of its training (Polyak and Juditsky, 1992, in
// the form of Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017).
#pragma once

#include <memory>
#include <vector>

#include "ekd/models/classifier.h"

namespace ekd {

class WeightAverage {
 public:
  // Begins as a copy of the model, which is on its device and in its final layout. `decay` in [0, 1).
  WeightAverage(const Classifier& model, double decay);

  // After a step: average += (1 − d) · (weights − average), in float32, with d = min(decay, (1 + t)/(10 + t)) after t
  // earlier updates, so that the start is soon forgotten (TensorFlow's ExponentialMovingAverage with num_updates). Of
  // the buffers those that are numbers, batch norm's running statistics, are averaged with the parameters, and counters
  // are copied. A CUDA graph may replay it: t lives on the device.
  void update();

  // The network that holds the average, in evaluation mode.
  Classifier& model() const { return *average_; }

  // The average and t: what a checkpoint holds.
  std::vector<NamedTensor> state() const;

 private:
  double decay_;
  std::unique_ptr<Classifier> average_;
  std::vector<at::Tensor> averaged_, weights_;  // in float32, each beside what it is the average of
  std::vector<at::Tensor> copied_, counters_;   // likewise
  at::Tensor updates_;                          // int64, 0-dim
};

}  // namespace ekd
