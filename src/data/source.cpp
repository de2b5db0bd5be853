#include "data/source.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstring>
#include <numeric>

namespace ekd {
namespace {

bool are_neighbours(std::span<const std::int64_t> rows) {
  return std::ranges::adjacent_find(rows, [](std::int64_t a, std::int64_t b) { return b != a + 1; }) == rows.end();
}

at::Tensor copies_of(const at::Tensor& images, std::span<const std::int64_t> rows) {
  constexpr std::int64_t kRowsPerChunk = 256;
  std::vector<std::int64_t> shape = images.sizes().vec();
  shape[0] = static_cast<std::int64_t>(rows.size());
  const at::Tensor copies = at::empty(shape, at::kByte);
  const auto bytes = static_cast<std::size_t>(images.stride(0));
  const auto* from = images.const_data_ptr<std::uint8_t>();
  auto* to = copies.mutable_data_ptr<std::uint8_t>();
  at::parallel_for(0, shape[0], kRowsPerChunk, [&](std::int64_t begin, std::int64_t end) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i)
      std::memcpy(to + i * bytes, from + static_cast<std::size_t>(rows[i]) * bytes, bytes);
  });
  return copies;
}

ImageSet chosen(const ImageSet& set, std::span<const std::int64_t> rows) {
  const auto count = static_cast<std::int64_t>(rows.size());
  const at::Tensor labels = at::empty({count}, at::kLong);
  const auto* from = set.labels.const_data_ptr<std::int64_t>();
  std::ranges::transform(rows, labels.mutable_data_ptr<std::int64_t>(), [&](std::int64_t row) { return from[row]; });
  if (count > 0 && are_neighbours(rows)) return {set.images.narrow(0, rows.front(), count), labels};
  return {copies_of(set.images, rows), labels};
}

}  // namespace

Source::Split split_of(const ImageSet& set) {
  const auto* labels = set.labels.const_data_ptr<std::int64_t>();
  return {{labels, labels + set.size()}, [set](std::span<const std::int64_t> rows) { return chosen(set, rows); }};
}

ImageSet all_records(const Source::Split& split) {
  std::vector<std::int64_t> rows(split.labels.size());
  std::iota(rows.begin(), rows.end(), 0);
  return split.records(rows);
}

}  // namespace ekd
