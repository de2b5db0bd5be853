#include "ekd/kernels/normalise.h"

#include "ekd/core/types.h"

namespace ekd {

ChannelScale channel_scale(const Normalisation& normalisation) {
  ChannelScale scale{};
  for (std::size_t c = 0; c < kMaxChannels; ++c) {
    scale.mean[c] = normalisation.mean[c];
    scale.std[c] = normalisation.std[c];
  }
  return scale;
}

NormaliseTable normalise_table(const ChannelScale& scale) {
  NormaliseTable table{};
  for (int c = 0; c < kMaxChannels; ++c)
    for (int value = 0; value < kByteValues; ++value)
      table.value[c][value] = normalise(static_cast<std::uint8_t>(value), scale.mean[c], scale.std[c]);
  return table;
}

}  // namespace ekd
