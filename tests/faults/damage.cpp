// Flips bits in a file and cuts it short, and reads each copy.
//   ekd_damage READER FILE FLIPS TRUNCATIONS SEED
// Every length up to the first TRUNCATIONS / 2 and as many random ones; all where the file is shorter than TRUNCATIONS.
// Prints one JSON object: for flips and truncations how many were tried, refused, read although changed ("harmless",
// where no checksum could tell), and lost: read although the checksum could tell, or something else than an error of
// ekd's.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "ekd/core/log.h"
#include "faults/readers.h"

namespace {

using namespace ekd::faults;

struct Tally {
  std::size_t tried = 0, refused = 0, harmless = 0, lost = 0;
};

class Damage {
 public:
  Damage(const Reader& reader, std::vector<char> whole) : reader_(reader), bytes_(std::move(whole)) {}

  Tally flips(std::size_t count, std::mt19937_64& random) {
    Tally tally;
    for (std::size_t i = 0; i < count; ++i) {
      // Half of them where a byte means more.
      const std::size_t end = i % 2 == 0 ? std::min<std::size_t>(bytes_.size(), kHead) : bytes_.size();
      const std::size_t at = random() % end, bit = random() % 8;
      bytes_[at] = static_cast<char>(bytes_[at] ^ (1 << bit));
      count_answer(tally, bytes_.size(), "bit " + std::to_string(bit) + " of byte " + std::to_string(at));
      bytes_[at] = static_cast<char>(bytes_[at] ^ (1 << bit));
    }
    return tally;
  }

  Tally truncations(std::size_t count, std::mt19937_64& random) {
    Tally tally;
    const bool all = bytes_.size() <= count;
    const std::size_t first = all ? bytes_.size() : count / 2;
    for (std::size_t size = 0; size < first; ++size) cut(tally, size);
    for (std::size_t i = first; !all && i < count; ++i) cut(tally, first + random() % (bytes_.size() - first));
    return tally;
  }

 private:
  static constexpr std::size_t kHead = 16 << 10;

  void cut(Tally& tally, std::size_t size) { count_answer(tally, size, "cut to " + std::to_string(size) + " bytes"); }

  void count_answer(Tally& tally, std::size_t size, const std::string& what) {
    ++tally.tried;
    try {
      const Answer answer = answer_to(reader_, std::as_bytes(std::span(bytes_).first(size)));
      if (answer == Answer::kRefused) {
        ++tally.refused;
      } else if (!reader_.has_checksum) {
        ++tally.harmless;
      } else {
        lose(tally, what, "read as if whole");
      }
    } catch (const std::exception& error) {
      lose(tally, what, error.what());
    }
  }

  void lose(Tally& tally, const std::string& what, const std::string& why) {
    if (++tally.lost <= 3)
      std::fprintf(stderr, "%s, %s: %s\n", std::string(reader_.name).c_str(), what.c_str(), why.c_str());
  }

  const Reader& reader_;
  std::vector<char> bytes_;
};

void print(const char* name, const Tally& tally, const char* after) {
  std::printf("\"%s\": {\"tried\": %zu, \"refused\": %zu, \"harmless\": %zu, \"lost\": %zu}%s", name, tally.tried,
              tally.refused, tally.harmless, tally.lost, after);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) return std::fprintf(stderr, "usage: ekd_damage READER FILE FLIPS TRUNCATIONS SEED\n"), 2;
  ekd::set_up_log(-1);
  const Reader& reader = reader_of(argv[1]);
  std::ifstream file(argv[2], std::ios::binary);
  const std::vector<char> whole{std::istreambuf_iterator<char>(file), {}};
  if (whole.empty() || answer_to(reader, std::as_bytes(std::span(whole))) != Answer::kRead)
    return std::fprintf(stderr, "%s: the whole file is not read\n", argv[2]), 2;
  Damage damage(reader, whole);
  std::mt19937_64 random(std::stoull(argv[5]));
  const Tally flips = damage.flips(std::stoull(argv[3]), random);
  const Tally truncations = damage.truncations(std::stoull(argv[4]), random);
  std::printf("{");
  print("flips", flips, ", ");
  print("truncations", truncations, "}\n");
  return 0;
}
