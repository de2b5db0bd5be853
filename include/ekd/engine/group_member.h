// One run of a group: its directory, record, log and learner. What goes wrong with it ends this run and no other.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ekd/core/log.h"
#include "ekd/engine/learner.h"
#include "ekd/engine/training_run.h"
#include "ekd/engine/training_setup.h"
#include "ekd/run/run_dir.h"
#include "ekd/run/run_record.h"

namespace ekd {

class GroupMember {
 public:
  using Failed = std::function<void(const std::exception_ptr&)>;

  GroupMember(const TrainingRequest& request, Failed failed) : request_(request), failed_(std::move(failed)) {}

  // Does `work`, one of the steps below, with what is logged going to the console and this run's log. Where it throws,
  // the run has failed. Returns whether the run still trains; all it held is let go where it does not.
  bool attempt(const std::function<void()>& work);

  // Notes the failure in run.json and the log and tells of it. Call in the error's handler.
  void fail(const std::exception& error);

  // The steps of a run, in this order. `look` ends it where it is finished already, so may `begin`.
  void look();
  void prepare(CommonSetup& common);
  void begin(const CommonSetup& common, const std::vector<std::string>& group);  // takes the lock; names of the group
  void complete(const CommonSetup& common);                                      // after the last epoch
  void stop(int request);                                                        // before it

  bool trains() const { return trains_; }
  Learner* learner() const { return learner_.get(); }  // from begin on while the run trains
  const TrainingRequest& request() const { return request_; }
  const TrainingOutcome& outcome() const { return outcome_; }

 private:
  void let_go();
  bool take_finished();
  Provenance provenance(const CommonSetup& common, const std::vector<std::string>& group) const;

  const TrainingRequest& request_;
  Failed failed_;
  bool trains_ = true;
  at::Device device_ = at::kCPU;
  OwnSetup own_;
  std::optional<RunDir> dir_;
  std::optional<RunRecord> record_;
  std::unique_ptr<LogFile> log_;
  std::unique_ptr<Learner> learner_;
  TrainingOutcome outcome_;
};

}  // namespace ekd
