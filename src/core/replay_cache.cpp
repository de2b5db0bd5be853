#include "ekd/core/replay_cache.h"

#include <spdlog/spdlog.h>

#include <exception>

namespace ekd {

void ReplayCache::run(const Key& key, const std::function<void()>& work) {
  Entry& entry = entries_[key];
  if (entry.recording == nullptr && recorder_ && entry.plain_runs >= kPlainRuns) entry.recording = record(key, work);
  if (entry.recording != nullptr) return entry.recording->replay();
  work();
  ++entry.plain_runs;
}

std::unique_ptr<Recording> ReplayCache::record(const Key& key, const std::function<void()>& work) {
  try {
    auto recording = recorder_(work);
    spdlog::debug("{}: recorded as a CUDA graph for {} images", name_, key.front());
    return recording;
  } catch (const std::exception& error) {
    const std::string reason = error.what();
    spdlog::warn("{}: goes on without CUDA graphs, with the same results: {}", name_,
                 reason.substr(0, reason.find('\n')));
    recorder_ = nullptr;
    return nullptr;
  }
}

}  // namespace ekd
