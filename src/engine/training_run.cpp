#include "ekd/engine/training_run.h"

#include <algorithm>
#include <deque>

#include "ekd/augment/registry.h"
#include "ekd/core/signals.h"
#include "ekd/engine/fit.h"
#include "ekd/engine/group_member.h"
#include "ekd/engine/training_setup.h"
#include "ekd/losses/combination.h"
#include "ekd/losses/distillation.h"
#include "ekd/models/registry.h"

namespace ekd {
namespace {

// Runs that train in one process, from their requests to their results.
class Group {
 public:
  Group(const std::vector<TrainingRequest>& requests, const OnFailure& on_failure) {
    for (const auto& request : requests) {
      const std::size_t run = members_.size();
      members_.emplace_back(request, [&on_failure, run](const std::exception_ptr& error) { on_failure(run, error); });
      if (requests.size() > 1) names_.push_back(request.run_dir.filename().string());
    }
  }

  std::vector<TrainingOutcome> run() {
    each([](GroupMember& member) { member.look(); });
    try {
      if (first() != nullptr) train(first()->request());
    } catch (const std::exception& error) {  // in what all share
      for (auto& member : members_)
        if (member.trains()) member.fail(error);
    }
    std::vector<TrainingOutcome> outcomes;
    for (const auto& member : members_) outcomes.push_back(member.outcome());
    return outcomes;
  }

 private:
  template <class Work>
  void each(Work work) {
    for (auto& member : members_)
      if (member.trains()) member.attempt([&] { work(member); });
  }

  GroupMember* first() {
    const auto found = std::ranges::find_if(members_, &GroupMember::trains);
    return found == members_.end() ? nullptr : &*found;
  }

  // `request` is one of the group's: for what they agree in.
  void train(const TrainingRequest& request) {
    CommonSetup common = prepare_common(request.config);
    each([&](GroupMember& member) { member.prepare(common); });
    if (first() == nullptr) return;
    prepare_stream(request.config, common);
    each([&](GroupMember& member) { member.begin(common, names_); });
    each([&](GroupMember& member) {
      if (member.learner()->finished()) member.complete(common);  // its last process ended before it had a result
    });
    int stopped = fit_all(*common.stream, request.progress);
    each([&](GroupMember& member) {
      if (stopped != 0) return member.stop(stopped);
      member.complete(common);
      stopped = stop_request();  // the next call makes the other runs' results
    });
  }

  int fit_all(BatchStream& stream, ProgressStyle progress) {
    std::vector<Learner*> learners;
    for (const auto& member : members_)
      if (member.trains()) learners.push_back(member.learner());
    return fit(stream, learners, progress, [this](Learner& learner, const std::function<void()>& work) {
      return std::ranges::find(members_, &learner, &GroupMember::learner)->attempt(work);
    });
  }

  std::deque<GroupMember> members_;
  std::vector<std::string> names_;  // none where there is one run
};

}  // namespace

Catalogue catalogue() {
  return {.names = {{"model.name", model_registry().names()},
                    {"augment.name", augmentation_registry().names()},
                    {"distill.loss", distillation_loss_registry().names()},
                    {"distill.kd", combination_registry().names()}},
          .loss_settings = distillation_loss_settings()};
}

nlohmann::ordered_json plan_training(const TrainingRequest& request) {
  check_request(request);
  CommonSetup common = prepare_common(request.config);
  const OwnSetup own = prepare_own(request, common);
  prepare_stream(request.config, common);
  nlohmann::ordered_json teachers = nlohmann::ordered_json::array();
  for (const auto& teacher : own.teachers) teachers.push_back(teacher.name);
  return {{"command", command_name(request.command)},
          {"run_dir", request.run_dir.string()},
          {"compute", compute_description(common.device)},
          {"precision", precision_name(common.precision)},
          {"model", request.config.model.name},
          {"classes", common.data.classes},
          {"parameters", parameter_count(*own.model)},
          {"train_images", common.data.train.size()},
          {"val_images", common.data.val.size()},
          {"test_images", common.data.test.size()},
          {"teachers", teachers},
          {"epochs", request.config.optim.epochs},
          {"steps_per_epoch", common.stream->steps_per_epoch()}};
}

TrainingOutcome run_training(const TrainingRequest& request) {
  std::exception_ptr error;
  const auto outcomes = run_group({request}, [&](std::size_t, const std::exception_ptr& thrown) { error = thrown; });
  if (error != nullptr) std::rethrow_exception(error);
  return outcomes.front();
}

std::vector<TrainingOutcome> run_group(const std::vector<TrainingRequest>& requests, const OnFailure& on_failure) {
  return Group(requests, on_failure).run();
}

}  // namespace ekd
