#include "train/run_under_way.h"

#include <spdlog/spdlog.h>

#include "ekd/core/atomic_file.h"
#include "ekd/core/error.h"
#include "ekd/core/signals.h"
#include "ekd/core/strict_json.h"
#include "ekd/settings/config.h"
#include "ekd/settings/config_io.h"
#include "ekd/settings/stored_settings.h"
#include "train/result.h"

namespace ekd {
namespace {

void write_config(const TrainingRequest& request, const std::filesystem::path& path) {
  Config config = request.config;
  write_file_atomically(path, json_text(config_json(config_fields(config, request.command)), 2) + "\n");
}

nlohmann::ordered_json read_result(const std::filesystem::path& path) {
  auto result = nlohmann::ordered_json::parse(read_text(path), nullptr, /*allow_exceptions=*/false);
  if (!result.is_object()) throw WeightsError(path.string() + ": is damaged: no JSON object");
  return result;
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

// Whether the run is finished and need not go on.
bool RunUnderWay::take_finished() {
  if (!request_.resume || run_state(request_.run_dir) != RunState::kFinished) return false;
  if (request_.config.optim.epochs != stored_settings(request_.run_dir, request_.command).optim.epochs) return false;
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

void RunUnderWay::begin(const SharedSetup& shared, const std::vector<std::string>& group) {
  dir_.emplace(request_.run_dir);
  check_request(request_);  // again: another process may have been here before the lock was ours
  if (take_finished()) return;
  std::filesystem::remove(dir_->result());  // where a finished run is to go on for more epochs
  write_config(request_, dir_->config());
  record_.emplace(dir_->record(), provenance(shared, group));
  log_ = std::make_unique<LogFile>(dir_->log().string());
  const LogScope scope(log_.get());
  const std::string label = group.empty() ? "" : request_.run_dir.filename().string() + ": ";
  LearnerSetup setup = learner_setup(request_, setup_, shared, label);
  setup.work = work();
  learner_ = std::make_unique<Learner>(std::move(setup), *dir_, shared.stream->steps_per_epoch());
}

void RunUnderWay::complete(const SharedSetup& shared) {
  outcome_.result = make_result(request_.command, request_.config, shared.data, *learner_, *dir_);
  record_->end("finished");
  write_file_atomically(dir_->result(), json_text(outcome_.result, 2) + "\n");
  trains_ = false;
}

void RunUnderWay::stop(int request) {
  record_->end("stopped", request == kDeadline ? "out of time" : "signal " + std::to_string(request));
  spdlog::info("{}: stopped at epoch {}, step {}; --resume goes on", learner_->folder(), learner_->position().epoch,
               learner_->position().step);
  outcome_.stopped = request;
  trains_ = false;
}

Provenance RunUnderWay::provenance(const SharedSetup& shared, const std::vector<std::string>& group) const {
  Provenance record{.command_line = request_.command_line,
                    .command = command_name(request_.command),
                    .compute = compute_description(shared.device),
                    .precision = precision_name(shared.precision),
                    .dataset_sha256 = shared.data.sha256,
                    .teachers = nlohmann::json::array(),
                    .group = group};
  for (const auto& teacher : setup_.teachers)
    record.teachers.push_back({{"name", teacher.name}, {"path", teacher.path}, {"sha256", teacher.sha256}});
  return record;
}

}  // namespace ekd
