// When a piece of work is done as it is written, and when a recording of it is replayed instead.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace ekd {

// Work as a device has recorded it.
class Recording {
 public:
  virtual ~Recording() = default;
  virtual void replay() = 0;
};

// Records what `work` asks of the device; nothing of it is done meanwhile. Throws where something in it cannot be
// recorded, and then leaves nothing behind.
using Recorder = std::function<std::unique_ptr<Recording>(const std::function<void()>& work)>;

class ReplayCache {
 public:
  // Tells works apart that need recordings of their own. The first number is a count of images, for the log.
  using Key = std::vector<std::int64_t>;

  // Runs of a key before it is recorded: libraries choose their algorithms and get their memory in them.
  static constexpr int kPlainRuns = 3;

  // Without a recorder nothing is recorded. `name` says in the log whose work it is.
  ReplayCache(Recorder recorder, std::string name) : recorder_(std::move(recorder)), name_(std::move(name)) {}

  // Does `work` exactly once: as it is written kPlainRuns times for each key, by replaying its recording from then on.
  // With one key it is the same work on the same memory at each call; what changes from call to call is in that memory.
  // It may be begun, without effect on the device, and begun anew. Where it cannot be recorded a warning says why, and
  // nothing is recorded any more.
  void run(const Key& key, const std::function<void()>& work);

 private:
  struct Entry {
    int plain_runs = 0;
    std::unique_ptr<Recording> recording;
  };

  std::unique_ptr<Recording> record(const Key& key, const std::function<void()>& work);

  Recorder recorder_;
  std::string name_;
  std::map<Key, Entry> entries_;
};

}  // namespace ekd
