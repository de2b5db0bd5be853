#include "ekd/train/training_run.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <deque>
#include <optional>

#include "ekd/augment/augmentation.h"
#include "ekd/core/cuda_streams.h"
#include "ekd/core/device.h"
#include "ekd/core/signals.h"
#include "ekd/losses/combination.h"
#include "ekd/losses/distillation.h"
#include "ekd/models/registry.h"
#include "train/run_under_way.h"
#include "train/training_setup.h"

namespace ekd {
namespace {

// Runs that train in one process, from their requests to their outcomes.
class Trainings {
 public:
  Trainings(const std::vector<TrainingRequest>& requests, const OnFailure& on_failure) : on_failure_(on_failure) {
    for (const auto& request : requests) {
      runs_.emplace_back(request);
      if (requests.size() > 1) names_.push_back(request.run_dir.filename().string());
    }
  }

  std::vector<TrainingOutcome> run() {
    each([](RunUnderWay& run) { run.check(); });
    try {
      train();
    } catch (const std::exception& error) {  // in what all share
      for (std::size_t i = 0; i < runs_.size(); ++i)
        if (runs_[i].trains()) fail(i, failure_of(error, runs_[i].work()));
    }
    std::vector<TrainingOutcome> outcomes;
    for (const auto& run : runs_) outcomes.push_back(run.outcome());
    return outcomes;
  }

 private:
  // A step of every run that still trains.
  template <class Step>
  void each(Step step) {
    for (std::size_t i = 0; i < runs_.size(); ++i) {
      RunUnderWay& run = runs_[i];
      if (!run.trains()) continue;
      if (const auto failure = failure_in([&] { step(run); }, run.work())) fail(i, *failure);
      if (!run.trains()) run.release();
    }
  }

  void fail(std::size_t i, const Failure& failure) {
    runs_[i].fail(failure);
    const LogScope console_only(nullptr);
    if (on_failure_) on_failure_(i, failure);
  }

  // One of those that still train, for what all agree in; null where there is none.
  const TrainingRequest* any_request() const {
    const auto found = std::ranges::find_if(runs_, &RunUnderWay::trains);
    return found == runs_.end() ? nullptr : &found->request();
  }

  void train() {
    const TrainingRequest* request = any_request();
    if (request == nullptr) return;
    std::optional<OnOwnStream> own_stream;
    if (request->pace != nullptr) own_stream.emplace(resolve_device(request->config.run.device));
    SharedSetup shared = prepare_shared(request->config);
    each([&](RunUnderWay& run) { run.prepare(shared); });
    if (any_request() == nullptr) return;
    prepare_stream(request->config, shared);
    each([&](RunUnderWay& run) { run.begin(shared, names_); });
    each([&](RunUnderWay& run) {
      if (run.learner()->finished()) run.complete(shared);  // its last process ended before it had a result
    });
    int stopped = fit_all(*shared.stream, request->progress);
    each([&](RunUnderWay& run) {
      if (stopped != 0) return run.stop(stopped);
      run.complete(shared);
      stopped = stop_request();  // the next call makes the other runs' results
    });
  }

  int fit_all(BatchStream& stream, ProgressStyle progress) {
    std::vector<Learner*> learners;
    std::vector<std::size_t> owners;
    for (std::size_t i = 0; i < runs_.size(); ++i) {
      if (!runs_[i].trains()) continue;
      learners.push_back(runs_[i].learner());
      owners.push_back(i);
    }
    const auto failed = [&](std::size_t i, const Failure& failure) { fail(owners[i], failure); };
    return fit(stream, learners, progress, failed, companions()).stopped;
  }

  Companions companions() const {
    const TrainingRequest& first = runs_.front().request();
    if (first.pace == nullptr) return {};
    const std::string name = first.run_dir.filename().string();
    return {first.pace, runs_.size() == 1 ? name + ": " : fmt::format("{} and {} more: ", name, runs_.size() - 1)};
  }

  std::deque<RunUnderWay> runs_;
  std::vector<std::string> names_;  // none where there is one run
  const OnFailure& on_failure_;
};

}  // namespace

nlohmann::ordered_json plan_training(const TrainingRequest& request) {
  check_request(request);
  SharedSetup shared = prepare_shared(request.config);
  const RunSetup run = prepare_run(request, shared);
  prepare_stream(request.config, shared);
  nlohmann::ordered_json teachers = nlohmann::ordered_json::array();
  for (const auto& teacher : run.teachers) teachers.push_back(teacher.name);
  return {{"command", command_name(request.command)},
          {"run_dir", request.run_dir.string()},
          {"compute", compute_description(shared.device)},
          {"precision", precision_name(shared.precision)},
          {"model", request.config.model.name},
          {"classes", shared.data.classes},
          {"parameters", parameter_count(*run.model)},
          {"train_images", shared.data.train.size()},
          {"val_images", shared.data.val.size()},
          {"test_images", shared.data.test.size()},
          {"teachers", teachers},
          {"epochs", request.config.optim.epochs},
          {"steps_per_epoch", shared.stream->steps_per_epoch()}};
}

std::vector<TrainingOutcome> run_trainings(const std::vector<TrainingRequest>& requests, const OnFailure& on_failure) {
  return Trainings(requests, on_failure).run();
}

}  // namespace ekd
