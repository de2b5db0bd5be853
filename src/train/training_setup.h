// What trainings need before they have a directory: the part that the runs of a process share, and each run's own.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ekd/core/device.h"
#include "ekd/train/batch_stream.h"
#include "ekd/train/learner.h"
#include "ekd/train/training_run.h"

namespace ekd {

struct SharedSetup {
  at::Device device = at::kCPU;
  Precision precision = Precision::kFp32;
  bool graph = true;              // on CUDA: run.graph
  Dataset data;                   // on the device
  std::vector<Teacher> teachers;  // each network once, whatever the runs call it
  std::unique_ptr<BatchStream> stream;
  // What teachers said about the validation split, by path: each is asked once.
  std::map<std::string, Predictions> val_answers;
};

struct RunSetup {
  std::unique_ptr<Classifier> model;
  std::vector<Teacher> teachers;  // as the run's settings name them
  RunIdentity identity;
  std::optional<Objective> objective;
  std::vector<double> teacher_temperatures;  // for the objective; none: their logits stay as they are
};

// Throws UsageError where the folder holds a run that is not to be resumed, or settings cannot go together.
void check_request(const TrainingRequest& request);

// Threads, device, precision and data. Throws UsageError and DataError.
SharedSetup prepare_shared(const Config& config);

// A run's network, teachers and objective; the teachers join the shared ones. Throws WeightsError and UsageError.
RunSetup prepare_run(const TrainingRequest& request, SharedSetup& shared);

// The stream, once every run's teachers are among the shared ones. Throws UsageError.
void prepare_stream(const Config& config, SharedSetup& shared);

// What a learner is made from; it takes over the network and the objective. `label` as in LearnerSetup.
LearnerSetup learner_setup(const TrainingRequest& request, RunSetup& run, const SharedSetup& shared,
                           const std::string& label);

}  // namespace ekd
