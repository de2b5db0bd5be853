// A block of a fused kernel (kernels/fused/block.h) on the CPU: each of its threads runs on a stack of its own until it
// waits for others, in an order that changes from turn to turn, so that a missing barrier shows. Shared memory starts
// as NaN, and copies arrive no earlier than they are waited for.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#include "ekd/kernels/host_device.h"
#include "kernels/fused/launch.h"

namespace ekd {

class EmulatedGrid {
 public:
  class Block;

  // Runs every block of a launch, one after another.
  template <class Kernel>
  int operator()(const Kernel& kernel, const LaunchShape& shape) const;
};

class EmulatedGrid::Block {
 public:
  Block(const LaunchShape& shape, int x, int y, int z, std::mt19937& random)
      : shape_(shape),
        x_(x),
        y_(y),
        z_(z),
        random_(random),
        threads_(shape.threads),
        warps_((shape.threads + kWarp - 1) / kWarp),
        memory_(shape.shared_bytes / 16 + 1) {
    std::memset(memory_.data(), 0xff, memory_.size() * sizeof memory_[0]);
  }

  void run(const std::function<void()>& work) {
    work_ = &work;
    static std::vector<std::unique_ptr<char[]>> stacks;
    while (stacks.size() < threads_.size()) stacks.emplace_back(new char[kStackBytes]);
    std::vector<int> order;
    for (int t = 0; t < shape_.threads; ++t) {
      order.push_back(t);
      getcontext(&threads_[t].context);
      threads_[t].context.uc_stack.ss_sp = stacks[t].get();
      threads_[t].context.uc_stack.ss_size = kStackBytes;
      threads_[t].context.uc_link = &scheduler_;
      makecontext(&threads_[t].context, reinterpret_cast<void (*)()>(&Block::enter), 2,
                  static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(this)),
                  static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(this) >> 32));
    }
    running_ = shape_.threads;
    while (running_ > 0) {
      // Warps in any order; lanes of a warp too.
      std::shuffle(order.begin(), order.end(), random_);
      bool moved = false;
      for (const int t : order) {
        Thread& thread = threads_[t];
        if (thread.done || (thread.gate != nullptr && thread.gate->opened < thread.turn)) continue;
        thread.gate = nullptr;
        moved = true;
        current_ = t;
        swapcontext(&scheduler_, &thread.context);
      }
      if (!moved) throw std::logic_error("the threads of a block wait for each other");
    }
  }

  int thread() const { return current_; }
  int threads() const { return shape_.threads; }
  int x() const { return x_; }
  int y() const { return y_; }
  int z() const { return z_; }
  int blocks_x() const { return shape_.x; }
  char* shared() { return reinterpret_cast<char*>(memory_.data()); }

  void sync() {
    arrive(block_gate_, shape_.threads, [] {});
  }

  template <int kBytes>
  void copy(void* to, const void* from) {
    check(to, kBytes);
    check(from, kBytes);
    threads_[current_].copies.push_back({to, from, kBytes, threads_[current_].groups});
  }
  void close_copies() { ++threads_[current_].groups; }
  template <int kOpen>
  void wait_for_copies() {
    Thread& thread = threads_[current_];
    std::erase_if(thread.copies, [&](const Copy& copy) {
      if (copy.group >= thread.groups - kOpen) return false;
      std::memcpy(copy.to, copy.from, copy.bytes);
      return true;
    });
  }

  void load_matrices(unsigned (&to)[4], const void* row) { load(to, row, false); }
  void load_matrices_transposed(unsigned (&to)[4], const void* row) { load(to, row, true); }

  void multiply_add(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    Warp& warp = own_warp();
    const int lane = current_ % kWarp;
    std::copy_n(a, 4, warp.a[lane]);
    warp.b[lane][0] = b0;
    warp.b[lane][1] = b1;
    std::copy_n(c, 4, warp.c[lane]);
    arrive(warp.gate, kWarp, [&warp] { multiply(warp); });
    std::copy_n(warp.c[lane], 4, c);
    arrive(warp.gate, kWarp, [] {});
  }

  float exchange(float value, int mask) {
    Warp& warp = own_warp();
    warp.values[current_ % kWarp] = value;
    arrive(warp.gate, kWarp, [] {});
    const float other = warp.values[current_ % kWarp ^ mask];
    arrive(warp.gate, kWarp, [] {});
    return other;
  }

  void add(long long* to, long long value) { *to += value; }

 private:
  static constexpr std::size_t kStackBytes = 256 << 10;

  // Threads that come to a gate wait until all have come.
  struct Gate {
    int here = 0;
    long turn = 1, opened = 0;
  };
  struct Copy {
    void* to;
    const void* from;
    int bytes, group;
  };
  struct Thread {
    ucontext_t context;
    bool done = false;
    Gate* gate = nullptr;
    long turn = 0;
    std::vector<Copy> copies;
    int groups = 0;
  };
  struct Warp {
    Gate gate;
    const char* rows[kWarp];
    unsigned a[kWarp][4], b[kWarp][2];
    float c[kWarp][4], values[kWarp];
  };

  static void enter(unsigned low, unsigned high) {
    auto* self = reinterpret_cast<Block*>(static_cast<std::uintptr_t>(high) << 32 | low);
    (*self->work_)();
    self->threads_[self->current_].done = true;
    --self->running_;
  }

  static void check(const void* address, int bytes) {
    if (reinterpret_cast<std::uintptr_t>(address) % bytes != 0) throw std::logic_error("a copy is not aligned");
  }

  template <class Last>
  void arrive(Gate& gate, int count, const Last& last) {
    if (++gate.here == count) {
      last();
      gate.here = 0;
      gate.opened = gate.turn++;
      return;
    }
    Thread& thread = threads_[current_];
    thread.gate = &gate;
    thread.turn = gate.turn;
    swapcontext(&thread.context, &scheduler_);
  }

  Warp& own_warp() { return warps_[current_ / kWarp]; }

  void load(unsigned (&to)[4], const void* row, bool transposed) {
    check(row, 16);
    Warp& warp = own_warp();
    const int lane = current_ % kWarp;
    warp.rows[lane] = static_cast<const char*>(row);
    arrive(warp.gate, kWarp, [] {});
    for (int m = 0; m < 4; ++m) {
      const auto number = [&](int r, int c) {
        std::uint16_t bits;
        std::memcpy(&bits, warp.rows[m * 8 + r] + 2 * c, 2);
        return static_cast<unsigned>(bits);
      };
      const int r = lane / 4, c = lane % 4 * 2;
      to[m] = transposed ? number(c, r) | number(c + 1, r) << 16 : number(r, c) | number(r, c + 1) << 16;
    }
    arrive(warp.gate, kWarp, [] {});
  }

  static float half_of_pair(unsigned pair, int which) {
    return to_float(Bf16{static_cast<std::uint16_t>(which == 0 ? pair : pair >> 16)});
  }

  // The fragments as the PTX manual draws them for mma.m16n8k16.
  static void multiply(Warp& warp) {
    float a[16][16], b[16][8];
    for (int lane = 0; lane < kWarp; ++lane)
      for (int i = 0; i < 2; ++i) {
        const int group = lane / 4, k = lane % 4 * 2 + i;
        a[group][k] = half_of_pair(warp.a[lane][0], i);
        a[group + 8][k] = half_of_pair(warp.a[lane][1], i);
        a[group][k + 8] = half_of_pair(warp.a[lane][2], i);
        a[group + 8][k + 8] = half_of_pair(warp.a[lane][3], i);
        b[k][group] = half_of_pair(warp.b[lane][0], i);
        b[k + 8][group] = half_of_pair(warp.b[lane][1], i);
      }
    for (int lane = 0; lane < kWarp; ++lane)
      for (int i = 0; i < 4; ++i) {
        const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        for (int k = 0; k < 16; ++k) warp.c[lane][i] += a[row][k] * b[k][column];
      }
  }

  LaunchShape shape_;
  int x_, y_, z_;
  std::mt19937& random_;
  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  struct alignas(16) Sixteen {
    char bytes[16];
  };
  std::vector<Sixteen> memory_;
  Gate block_gate_;
  ucontext_t scheduler_;
  const std::function<void()>* work_ = nullptr;
  int current_ = 0, running_ = 0;
};

template <class Kernel>
int EmulatedGrid::operator()(const Kernel& kernel, const LaunchShape& shape) const {
  std::mt19937 random(7);
  for (int z = 0; z < shape.z; ++z)
    for (int y = 0; y < shape.y; ++y)
      for (int x = 0; x < shape.x; ++x) {
        Block block(shape, x, y, z, random);
        block.run([&] { kernel(block); });
      }
  return 0;
}

// While it lives, the CPU has the fused kernels.
class FusedEmulation {
 public:
  FusedEmulation() {
    set_fused_emulator([](const FusedTask& task) {
      std::visit([](const auto& one) { return run_fused(one, EmulatedGrid()); }, task);
    });
  }
  ~FusedEmulation() { set_fused_emulator({}); }
  FusedEmulation(const FusedEmulation&) = delete;
  FusedEmulation& operator=(const FusedEmulation&) = delete;
};

}  // namespace ekd
