#include "ekd/models/classifier.h"

namespace ekd {

std::vector<NamedTensor> model_state(const Classifier& model) {
  std::vector<NamedTensor> state = model.parameters();
  for (auto& buffer : model.buffers()) state.push_back(std::move(buffer));
  return state;
}

std::int64_t parameter_count(const Classifier& model) {
  std::int64_t count = 0;
  for (const auto& [name, tensor] : model.parameters()) count += tensor.numel();
  return count;
}

}  // namespace ekd
