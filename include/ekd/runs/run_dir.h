// A run's folder: who holds it, what state it is in, where its files are.
#pragma once

#include <filesystem>
#include <string>

namespace ekd {

enum class RunState {
  kAbsent,      // no folder, or one without a run
  kUnfinished,  // config.json, no result.json
  kFinished,    // result.json
};

RunState run_state(const std::filesystem::path& folder);

// The machine's name, as locks and records state it.
std::string host_name();

// Whether some process holds the folder's lock at this moment.
bool run_is_held(const std::filesystem::path& folder);

// The names of a run's files, whether they are there or not.
class RunFiles {
 public:
  explicit RunFiles(std::filesystem::path folder) : folder_(std::move(folder)) {}

  const std::filesystem::path& folder() const { return folder_; }
  std::filesystem::path config() const { return folder_ / "config.json"; }
  std::filesystem::path record() const { return folder_ / "run.json"; }
  std::filesystem::path metrics() const { return folder_ / "metrics.jsonl"; }
  std::filesystem::path log() const { return folder_ / "log.txt"; }
  std::filesystem::path checkpoint() const { return folder_ / "checkpoint.safetensors"; }
  std::filesystem::path last() const { return folder_ / "last.safetensors"; }
  std::filesystem::path best() const { return folder_ / "best.safetensors"; }
  std::filesystem::path ema() const { return folder_ / "ema.safetensors"; }
  std::filesystem::path predictions() const { return folder_ / "predictions.safetensors"; }
  std::filesystem::path val_predictions() const { return folder_ / "predictions-val.safetensors"; }
  // Of the averaged weights.
  std::filesystem::path ema_predictions() const { return folder_ / "predictions-ema.safetensors"; }
  std::filesystem::path ema_val_predictions() const { return folder_ / "predictions-ema-val.safetensors"; }
  std::filesystem::path result() const { return folder_ / "result.json"; }
  std::filesystem::path lock() const { return folder_ / ".lock"; }

 private:
  std::filesystem::path folder_;
};

// Holds the folder's lock while it lives.
class RunDir : public RunFiles {
 public:
  // Makes the folder where needed and takes its lock. Throws LockedError (naming pid and host of the holder), IoError.
  explicit RunDir(std::filesystem::path folder);
  ~RunDir();
  RunDir(RunDir&& other) noexcept;
  RunDir& operator=(RunDir&&) = delete;

 private:
  int lock_ = -1;
};

}  // namespace ekd
