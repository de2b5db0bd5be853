#include "ekd/engine/group_member.h"

#include <spdlog/spdlog.h>

#include "ekd/core/atomic_file.h"
#include "ekd/core/config_io.h"
#include "ekd/core/error.h"
#include "ekd/core/signals.h"
#include "ekd/core/strict_json.h"
#include "ekd/engine/memory_guard.h"
#include "ekd/engine/result.h"
#include "ekd/engine/stored_settings.h"

namespace ekd {
namespace {

void write_config(const TrainingRequest& request, const std::filesystem::path& path) {
  Config config = request.config;
  write_file_atomically(path, json_text(config_json(config_fields(config, request.command, catalogue())), 2) + "\n");
}

nlohmann::ordered_json read_result(const std::filesystem::path& path) {
  const auto bytes = read_file(path);
  const auto* text = reinterpret_cast<const char*>(bytes.data());
  auto result = nlohmann::ordered_json::parse(text, text + bytes.size(), nullptr, /*allow_exceptions=*/false);
  if (!result.is_object()) throw WeightsError(path.string() + ": is damaged: no JSON object");
  return result;
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

}  // namespace

bool GroupMember::attempt(const std::function<void()>& work) {
  try {
    const LogScope scope(log_.get());
    work();
  } catch (const std::exception& error) {
    fail(error);
  }
  if (!trains_) let_go();
  return trains_;
}

void GroupMember::fail(const std::exception& error) {
  const bool told = dynamic_cast<const Error*>(&error) != nullptr;
  const std::string advice = told ? ""
                                  : memory_advice(error,
                                                  "training " + request_.config.model.name + " with batch size " +
                                                      std::to_string(request_.config.optim.batch_size),
                                                  device_);
  const std::string message = advice.empty() ? error.what() : advice;
  const auto thrown = advice.empty() ? std::current_exception() : std::make_exception_ptr(MemoryError(advice));
  trains_ = false;
  if (log_ != nullptr) log_->append("error: " + first_line(message) + "\n");
  try {
    if (record_) record_->end("failed", message);
  } catch (const Error&) {  // the first error says what is wrong
  }
  let_go();
  const LogScope console_only(nullptr);
  failed_(thrown);
}

void GroupMember::let_go() {
  learner_.reset();
  own_ = {};
  log_.reset();
  record_.reset();
  dir_.reset();
}

// Whether the run is finished and need not go on.
bool GroupMember::take_finished() {
  if (!request_.resume || run_state(request_.run_dir) != RunState::kFinished) return false;
  if (request_.config.optim.epochs != stored_settings(request_.run_dir, request_.command).optim.epochs) return false;
  spdlog::info("{}: this run is finished", request_.run_dir.string());
  outcome_.result = read_result(request_.run_dir / "result.json");
  trains_ = false;
  return true;
}

void GroupMember::look() {
  check_request(request_);
  take_finished();
}

void GroupMember::prepare(CommonSetup& common) {
  device_ = common.device;
  own_ = prepare_own(request_, common);
}

void GroupMember::begin(const CommonSetup& common, const std::vector<std::string>& group) {
  dir_.emplace(request_.run_dir);
  check_request(request_);  // again: another process may have been here before the lock was ours
  if (take_finished()) return;
  std::filesystem::remove(dir_->result());  // where a finished run is to go on for more epochs
  write_config(request_, dir_->config());
  record_.emplace(dir_->record(), provenance(common, group));
  log_ = std::make_unique<LogFile>(dir_->log().string());
  const LogScope scope(log_.get());
  const std::string label = group.empty() ? "" : request_.run_dir.filename().string() + ": ";
  learner_ =
      std::make_unique<Learner>(learner_setup(request_, own_, common, label), *dir_, common.stream->steps_per_epoch());
}

void GroupMember::complete(const CommonSetup& common) {
  outcome_.result = make_result(request_.command, request_.config, common.data, *learner_, *dir_);
  record_->end("finished");
  write_file_atomically(dir_->result(), json_text(outcome_.result, 2) + "\n");
  trains_ = false;
}

void GroupMember::stop(int request) {
  record_->end("stopped", request == kDeadline ? "out of time" : "signal " + std::to_string(request));
  spdlog::info("{}: stopped at epoch {}, step {}; --resume goes on", learner_->folder(), learner_->position().epoch,
               learner_->position().step);
  outcome_.stopped = request;
  trains_ = false;
}

Provenance GroupMember::provenance(const CommonSetup& common, const std::vector<std::string>& group) const {
  Provenance record{.command_line = request_.command_line,
                    .command = command_name(request_.command),
                    .compute = compute_description(common.device),
                    .precision = precision_name(common.precision),
                    .dataset_sha256 = common.data.sha256,
                    .teachers = nlohmann::json::array(),
                    .group = group};
  for (const auto& teacher : own_.teachers)
    record.teachers.push_back({{"name", teacher.name}, {"path", teacher.path}, {"sha256", teacher.sha256}});
  return record;
}

}  // namespace ekd
