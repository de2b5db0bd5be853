// A run between its request and its outcome: its directory, record, log and learner.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ekd/core/log.h"
#include "ekd/runs/run_dir.h"
#include "ekd/runs/run_record.h"
#include "ekd/train/learner.h"
#include "ekd/train/training_run.h"
#include "train/training_setup.h"

namespace ekd {

class RunUnderWay {
 public:
  explicit RunUnderWay(const TrainingRequest& request);

  // The steps of a run, in this order. They throw what goes wrong. `check` ends the run where it is finished already,
  // and so may `begin`, which takes the lock; `group`: the names of the runs that share its batches.
  void check();
  void prepare(SharedSetup& shared);
  void begin(SharedSetup& shared, const std::vector<std::string>& group);
  void complete(const SharedSetup& shared);  // after the last epoch
  void stop(int request);                    // before it

  // Ends the run: the failure is its outcome, and stands in run.json and the log.
  void fail(const Failure& failure);

  // Destroys what a run holds that has ended, its lock included.
  void release();

  bool trains() const { return trains_; }
  Learner* learner() const { return learner_.get(); }  // from begin on while the run trains
  WorkContext work() const;
  const TrainingRequest& request() const { return request_; }
  const TrainingOutcome& outcome() const { return outcome_; }

 private:
  bool take_finished();
  void check_teachers() const;
  void calibrate_teachers(SharedSetup& shared);
  void announce(const SharedSetup& shared, const Config& before) const;
  void announce_calibration() const;
  Provenance provenance(const SharedSetup& shared, const std::vector<std::string>& group) const;

  const TrainingRequest& request_;
  bool trains_ = true;
  at::Device device_ = at::kCPU;
  RunSetup setup_;
  nlohmann::json teachers_ = nlohmann::json::array();  // as run.json has them
  std::vector<std::string> warnings_;                  // of their temperatures
  std::optional<RunDir> dir_;
  std::optional<RunRecord> record_;
  std::unique_ptr<LogFile> log_;
  std::unique_ptr<Learner> learner_;
  TrainingOutcome outcome_;
};

}  // namespace ekd
