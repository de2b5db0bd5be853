// What the operations of the fused kernels on a CPU have in common: memory, coefficients of channels, and sums.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include "kernels/fused/cpu_loops.h"
#include "kernels/fused/rows.h"

#ifdef EKD_X86_KERNELS

namespace ekd {

inline const Bf16Bits* bits(const Bf16* p) { return reinterpret_cast<const Bf16Bits*>(p); }
inline Bf16Bits* bits(Bf16* p) { return reinterpret_cast<Bf16Bits*>(p); }

// Memory of a thread that stays with it from one operation to the next, by what it is for. Begins with a page: a row of
// a tile that crosses cache lines is read twice.
enum class For { kRead, kGradient, kPairs, kTurned, kProducts, kShuffled, kPadded, kWeights, kCount };
template <class T>
T* scratch(For purpose, std::int64_t count, bool zeroed) {
  struct Freed {
    void operator()(void* p) const { std::free(p); }
  };
  struct Memory {
    std::unique_ptr<void, Freed> data;
    std::size_t bytes = 0;
  };
  thread_local std::array<Memory, static_cast<std::size_t>(For::kCount)> all;
  Memory& memory = all[static_cast<std::size_t>(purpose)];
  const std::size_t bytes = (count * sizeof(T) + 4095) / 4096 * 4096;
  if (memory.bytes < bytes) {
    memory.data.reset(std::aligned_alloc(4096, bytes));
    if (memory.data == nullptr) throw std::bad_alloc();
    memory.bytes = bytes;
  }
  if (zeroed) std::memset(memory.data.get(), 0, bytes);
  return static_cast<T*>(memory.data.get());
}

inline std::int64_t paired_place(std::int64_t channel) {
  return channel / kChannelBlock * kChannelBlock + channel % 2 * (kChannelBlock / 2) + channel % kChannelBlock / 2;
}

// Of what is to be done to channels when they are read: for each group scale, by_z and constant, paired.
class ReadCoefficients {
 public:
  ReadCoefficients(const Operand& operand, std::int64_t groups) : padded_(whole_blocks(operand.channels / groups)) {
    if (!operand.norm.is_there()) return;
    const std::int64_t channels = operand.channels / groups;
    values_.resize(groups * kCoefficients * padded_);
    for (std::int64_t c = 0; c < operand.channels; ++c) {
      float* to = values_.data() + c / channels * kCoefficients * padded_ + paired_place(c % channels);
      if (operand.z != nullptr) {
        const NormSlope slope = norm_slope(operand.norm, static_cast<int>(c));
        to[0] = slope.scale;
        to[padded_] = slope.by_x;
        to[2 * padded_] = slope.constant;
      } else {
        const NormChannel channel = norm_channel(operand.norm, static_cast<int>(c));
        to[0] = channel.scale;
        to[2 * padded_] = channel.shift;
      }
    }
  }

  const float* of(std::int64_t group) const {
    return values_.empty() ? nullptr : values_.data() + group * kCoefficients * padded_;
  }
  const float* scale() const { return of(0); }
  const float* by_x() const { return of(0) + padded_; }
  const float* constant() const { return of(0) + 2 * padded_; }

 private:
  std::int64_t padded_;
  std::vector<float> values_;
};

// Where a channel's number lies in lists in which groups are padded to whole blocks.
struct Places {
  std::int64_t groups, channels;  // of a group
  bool paired;

  std::int64_t padded() const { return whole_blocks(channels); }
  std::int64_t count() const { return groups * padded(); }
  std::int64_t of(std::int64_t channel) const {
    const std::int64_t c = channel % channels;
    return channel / channels * padded() + (paired ? paired_place(c) : c);
  }
};

// Two sums for each channel, which threads add to a norm's totals: each piece of work in fixed point, so that nothing
// depends on who does what.
class TotalSums {
 public:
  TotalSums(Fixed* totals, float one, int bad_row, const Places& places)
      : totals_(totals), one_(one), bad_row_(bad_row), places_(places) {}

  class OfThread {
   public:
    explicit OfThread(TotalSums& all) : all_(all) {
      if (all.totals_ == nullptr) return;
      sums_.resize(2 * all.places_.count());
      fixed_.resize(2 * all.places_.count());
      bad_.resize(all.places_.count());
    }
    ~OfThread() {
      if (!sums_.empty()) all_.add(fixed_, bad_);
    }
    OfThread(const OfThread&) = delete;
    OfThread& operator=(const OfThread&) = delete;

    // From a place on; null where nobody wants the sums.
    float* first(std::int64_t place) { return sums_.empty() ? nullptr : sums_.data() + place; }
    float* second(std::int64_t place) { return sums_.empty() ? nullptr : sums_.data() + bad_.size() + place; }
    // Of one piece of work, whose size depends on the tensors alone.
    void close() {
      if (sums_.empty()) return;
      const auto count = static_cast<std::int64_t>(sums_.size());
      if (!kFusedLoops.add_fixed({sums_.data()}, count, all_.one_, kMostFixed, fixed_.data()))
        for (std::int64_t i = 0; i < count; ++i)
          if (!(std::fabs(sums_[i] * all_.one_) < kMostFixed)) ++bad_[i % bad_.size()];
      std::fill(sums_.begin(), sums_.end(), 0.0f);
    }

   private:
    TotalSums& all_;
    std::vector<float> sums_;
    std::vector<Fixed> fixed_, bad_;
  };

 private:
  void add(const std::vector<Fixed>& fixed, const std::vector<Fixed>& bad) {
    const std::lock_guard lock(mutex_);
    const std::int64_t channels = places_.groups * places_.channels;
    for (std::int64_t c = 0; c < channels; ++c) {
      const std::int64_t place = places_.of(c);
      totals_[c] += fixed[place];
      totals_[channels + c] += fixed[places_.count() + place];
      totals_[bad_row_ * channels + c] += bad[place];
    }
  }

  Fixed* totals_;
  float one_;
  int bad_row_;
  Places places_;
  std::mutex mutex_;
};

// What a gradient by an input is written behind: the mask of ReLU, by the norm's input z.
struct Mask {
  Mask(const Operand& read, const Places& places) : z(read.norm.is_there() ? bits(read.x) : nullptr) {
    if (z == nullptr) return;
    for (auto* values : {&scale, &shift, &mean}) values->resize(places.count());
    for (std::int64_t c = 0; c < places.groups * places.channels; ++c) {
      const NormChannel channel = norm_channel(read.norm, static_cast<int>(c));
      scale[places.of(c)] = channel.scale;
      shift[places.of(c)] = channel.shift;
      mean[places.of(c)] = channel.mean;
    }
  }

  // From a place on; null where there is no mask.
  const float* of(const std::vector<float>& values, std::int64_t place) const {
    return values.empty() ? nullptr : values.data() + place;
  }

  const Bf16Bits* z;  // null: no mask
  std::vector<float> scale, shift, mean;
};

}  // namespace ekd

#endif
