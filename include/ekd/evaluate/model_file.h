// From what a user names, a run or a weights file, to a network with these weights.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "ekd/core/tensor_file.h"
#include "ekd/models/classifier.h"

namespace ekd {

struct ModelSource {
  std::string text;            // as given: RUN, RUN:best, RUN:ema or FILE
  std::filesystem::path file;  // the weights
  std::filesystem::path run;   // the run directory, or empty for a bare file
};

// Whether there is something where the text leads: RUN, RUN:best, RUN:ema or FILE.
bool source_exists(const std::string& text);

// Finds the weights; an unfinished run warns. Throws WeightsError where there are none.
ModelSource resolve_model_source(const std::string& text);

struct LoadedModel {
  std::unique_ptr<Classifier> model;           // on the CPU, in evaluation mode
  std::string sha256;                          // of the tensors' names, shapes and values as loaded
  nlohmann::json own;                          // ekd's metadata, null for files of other tools
  std::optional<Normalisation> normalisation;  // of the images it was trained on, where the file says it
};

// Throws WeightsError where the network takes images of another number of channels than the data has.
void check_channels(const ModelSource& source, const ModelSpec& spec, std::int64_t channels);

// Which network it is: the file's metadata ("ekd", else plain "model" and "num_classes"), else its tensor names over
// the registry, else `fallback_model`. Throws WeightsError where none fits or a tensor is missing, extra or mis-shaped.
LoadedModel load_model(const ModelSource& source, const std::string& fallback_model = "");

// Copies a file's weights into a network's. Throws WeightsError where they do not fit or are not finite, with the cause
// where it can be told: another network's, or names with something before them.
void copy_weights(const TensorFile& file, const Classifier& model);

// A network's state (model_state) with metadata: kind, model, classes, and what `more` holds. Throws IoError.
void save_weights(const std::filesystem::path& path, const ModelSpec& spec, const std::vector<NamedTensor>& state,
                  const nlohmann::json& more);

}  // namespace ekd
