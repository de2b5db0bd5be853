#include "train/run_under_way.h"

#include <spdlog/spdlog.h>

#include "ekd/core/atomic_file.h"
#include "ekd/core/error.h"
#include "ekd/core/signals.h"
#include "ekd/core/strict_json.h"
#include "ekd/core/text.h"
#include "ekd/data/record.h"
#include "ekd/settings/config.h"
#include "ekd/settings/config_io.h"
#include "ekd/settings/stored_settings.h"
#include "ekd/train/finished_run.h"
#include "train/result.h"
#include "train/schedule.h"
#include "train/teacher_calibration.h"

namespace ekd {
namespace {

void write_config(const TrainingRequest& request, const std::filesystem::path& path) {
  Config config = request.config;
  write_file_atomically(path, json_text(config_json(config_fields(config, request.command)), 2) + "\n");
}

nlohmann::ordered_json read_result(const std::filesystem::path& path) {
  if (!read_own_json(path).is_object()) throw WeightsError(path.string() + ": is damaged: no JSON object");
  return nlohmann::ordered_json::parse(read_text(path));  // in its own order
}

}  // namespace

RunUnderWay::RunUnderWay(const TrainingRequest& request) : request_(request) {}

WorkContext RunUnderWay::work() const {
  const Config& config = request_.config;
  return {"training " + config.model.name + " with batch size " + std::to_string(config.optim.batch_size), device_,
          log_.get()};
}

void RunUnderWay::fail(const Failure& failure) {
  outcome_.failure = failure;
  trains_ = false;
  if (log_ != nullptr) log_->append("error: " + failure.message + "\n");
  try {
    if (record_) record_->end("failed", failure.message);
  } catch (const Error&) {  // the first error says what is wrong
  }
  release();
}

void RunUnderWay::release() {
  learner_.reset();
  setup_ = {};
  log_.reset();
  record_.reset();
  dir_.reset();
}

// Whether the run is finished and need not go on. Teachers that lie elsewhere now are compared once they are loaded.
bool RunUnderWay::take_finished() {
  if (!request_.resume || run_state(request_.run_dir) != RunState::kFinished) return false;
  const std::int64_t epochs = finished_epochs(request_.run_dir);
  if (epochs == 0)
    throw WeightsError(RunFiles(request_.run_dir).result().string() + ": is damaged: there are no \"epochs\"");
  if (request_.config.optim.epochs > epochs) return false;
  const auto stored = stored_settings(request_.run_dir, request_.command);
  if (request_.config.distill.teachers != stored.distill.teachers) {
    if (setup_.model == nullptr) return false;
    check_teachers();
  }
  spdlog::info("{}: this run is finished", request_.run_dir.string());
  outcome_.result = read_result(RunFiles(request_.run_dir).result());
  trains_ = false;
  return true;
}

void RunUnderWay::check() {
  check_request(request_);
  take_finished();
}

void RunUnderWay::prepare(SharedSetup& shared) {
  device_ = shared.device;
  setup_ = prepare_run(request_, shared);
}

// A finished run's teachers are those of its record, wherever they lie.
void RunUnderWay::check_teachers() const {
  std::vector<std::string> before;
  std::vector<double> weights;
  for (const auto& teacher : recorded_teachers(RunFiles(request_.run_dir).record())) {
    before.push_back(teacher.sha256);
    weights.push_back(teacher.weight);
  }
  if (before != setup_.identity.teacher_sha256) {
    throw UsageError(request_.run_dir.string() +
                     ": the teachers are not those this run was trained with (their sha256 differ)");
  }
  if (weights != setup_.identity.teacher_weights)
    throw UsageError(request_.run_dir.string() + ": the teachers' weights are not those this run was trained with");
}

// A run that goes on has its temperatures in the checkpoint, and what was measured when it began in its record.
void RunUnderWay::calibrate_teachers(SharedSetup& shared) {
  const bool goes_on = path_exists(dir_->checkpoint());
  const auto before = recorded_teachers(dir_->record());
  const std::string& setting = request_.config.distill.teacher_temperature;
  for (std::size_t i = 0; i < setup_.teachers.size(); ++i) {
    const Teacher& teacher = setup_.teachers[i];
    TeacherCalibration calibration;
    if (!goes_on)
      calibration = calibrate_teacher(teacher, setting, shared);
    else if (i < before.size() && before[i].sha256 == teacher.sha256)
      calibration.val = before[i].val;
    if (!calibration.warning.empty()) warnings_.push_back("teacher " + teacher.name + ": " + calibration.warning);
    if (setting != "none") setup_.teacher_temperatures.push_back(calibration.temperature);
    teachers_.push_back({{"name", teacher.name},
                         {"path", teacher.path},
                         {"sha256", teacher.sha256},
                         {"weight", teacher.weight},
                         {"normalisation", normalisation_json(teacher.normalisation, teacher.model->spec().channels)},
                         {"temperature", nullptr},
                         {"val", calibration.val}});
  }
}

void RunUnderWay::begin(SharedSetup& shared, const std::vector<std::string>& group) {
  dir_.emplace(request_.run_dir);
  check_request(request_);  // again: another process may have been here before the lock was ours
  if (take_finished()) return;
  if (run_state(request_.run_dir) == RunState::kFinished && !path_exists(dir_->checkpoint()))
    throw WeightsError(dir_->checkpoint().string() + ": no such file; without it this finished run cannot go on");
  const bool among_others = !group.empty() || request_.pace != nullptr;
  const std::string label = among_others ? request_.run_dir.filename().string() + ": " : "";
  calibrate_teachers(shared);
  LearnerSetup setup = learner_setup(request_, setup_, shared, label);
  setup.work = work();
  learner_ = std::make_unique<Learner>(std::move(setup), *dir_, shared.stream->steps_per_epoch());
  const at::Tensor& temperatures = learner_->setup().objective.teacher_temperatures();
  for (std::size_t i = 0; temperatures.defined() && i < teachers_.size(); ++i)
    teachers_[i]["temperature"] = temperatures[static_cast<std::int64_t>(i)].item<double>();
  const Config before =
      learner_->began_on().empty() ? request_.config : stored_settings(request_.run_dir, request_.command);
  // Nothing is in the way: from here on the folder changes.
  write_config(request_, dir_->config());
  record_.emplace(dir_->record(), provenance(shared, group));
  log_ = std::make_unique<LogFile>(dir_->log().string());
  learner_->log_to(log_.get());
  const LogScope scope(log_.get());
  announce(shared, before);
  remove_file(dir_->result());  // where a finished run goes on for more epochs
}

// What is trained, on what, and from where.
void RunUnderWay::announce(const SharedSetup& shared, const Config& before) const {
  const Config& config = request_.config;
  const std::string compute = learner_->setup().identity.compute;
  spdlog::info("{}: {} of {} parameters on {}; {} training, {} validation, {} test images; {} epochs of {} steps",
               learner_->folder(), config.model.name, parameter_count(learner_->model()), compute,
               shared.data.train.size(), shared.data.val.size(), shared.data.test.size(), config.optim.epochs,
               shared.stream->steps_per_epoch());
  for (const auto& teacher : setup_.teachers)
    spdlog::debug("{}: teacher {}: {}, {}, sha256 {}", learner_->folder(), teacher.name, teacher.path,
                  teacher.model->spec().name, teacher.sha256);
  if (learner_->began_on().empty()) return announce_calibration();
  spdlog::info("{}: going on at {}", learner_->folder(), learner_->place());
  if (learner_->began_on() != compute)
    spdlog::warn("resuming on '{}', this run began on '{}': the same bits are not promised", compute,
                 learner_->began_on());
  if (config.optim.epochs == before.optim.epochs) return;
  const auto [epoch, step] = learner_->position();
  const std::int64_t steps = shared.stream->steps_per_epoch(), last = epoch * steps + step - 1;
  const auto rate = [&](const Config& of, std::int64_t at) { return learning_rate_at(of.optim, at, steps); };
  if (last < 0 || rate(before, last) == rate(config, last)) return;
  spdlog::warn(
      "{}: a {} schedule of {} epochs is another one than of {}: the rate goes from {:.4g} to {:.4g}, and this run "
      "will "
      "differ from one of {} epochs that was never stopped",
      learner_->folder(), config.optim.schedule, config.optim.epochs, before.optim.epochs, rate(before, last),
      rate(config, last + 1), config.optim.epochs);
}

// How well teachers are calibrated on the validation split, before and after their temperatures.
void RunUnderWay::announce_calibration() const {
  for (const auto& teacher : teachers_) {
    const auto &temperature = teacher["temperature"], &val = teacher["val"];
    std::vector<std::string> parts;
    const auto numbers = [&val](const char* nll, const char* ece) {
      return fmt::format("nll {:.4f}, ece {:.4f}", val[nll].get<double>(), val[ece].get<double>());
    };
    if (!val.is_null()) parts.push_back(numbers("nll", "ece15") + " on " + val["n"].dump() + " validation images");
    if (!temperature.is_null()) parts.push_back(fmt::format("temperature {:.4g}", temperature.get<double>()));
    if (parts.size() == 2) parts.push_back(numbers("nll_scaled", "ece15_scaled"));
    if (parts.empty()) continue;
    spdlog::log(temperature.is_null() ? spdlog::level::debug : spdlog::level::info, "{}: teacher {}: {}",
                learner_->folder(), teacher["name"].get<std::string>(), join(parts, "; "));
  }
  for (const auto& warning : warnings_) spdlog::warn("{}: {}", learner_->folder(), warning);
}

void RunUnderWay::complete(const SharedSetup& shared) {
  outcome_.result = make_result(request_.command, request_.config, shared.data, *learner_, *dir_);
  record_->end("finished");
  write_file_atomically(dir_->result(), json_text(outcome_.result, 2) + "\n");
  trains_ = false;
}

void RunUnderWay::stop(int request) {
  record_->end("stopped", request == kDeadline  ? "out of time"
                          : request == kGivenUp ? "the program ended by an error in another run"
                                                : "signal " + std::to_string(request));
  spdlog::info("{}: stopped at {}; {} goes on", learner_->folder(), learner_->place(), request_.goes_on);
  outcome_.stopped = request;
  trains_ = false;
}

Provenance RunUnderWay::provenance(const SharedSetup& shared, const std::vector<std::string>& group) const {
  return {.command_line = request_.command_line,
          .command = command_name(request_.command),
          .compute = compute_description(shared.device),
          .precision = precision_name(shared.precision),
          .dataset_sha256 = shared.data.sha256,
          .data = dataset_json(shared.data),
          .teachers = teachers_,
          .group = group,
          .overrides = request_.overrides};
}

}  // namespace ekd
