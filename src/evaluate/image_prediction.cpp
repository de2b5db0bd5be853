#include "ekd/evaluate/image_prediction.h"

#include <ATen/ops/_upsample_bilinear2d_aa.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <iterator>
#include <numeric>

#include "ekd/core/atomic_file.h"
#include "ekd/core/strict_json.h"
#include "ekd/data/image_file.h"
#include "ekd/data/load.h"
#include "ekd/data/record.h"
#include "ekd/kernels/views.h"
#include "ekd/metrics/evaluate.h"
#include "ekd/runs/run_dir.h"
#include "ekd/runs/run_record.h"
#include "evaluate/asking.h"

namespace ekd {
namespace {

// The images that a network was trained on.
struct TrainedOn {
  std::array<std::int64_t, 3> shape{3, 32, 32};  // channels, height, width
  Normalisation normalisation;
  std::vector<std::string> class_names;  // or none
};

std::string size_text(std::int64_t height, std::int64_t width) {
  return std::to_string(width) + "×" + std::to_string(height);
}

// What run.json says under "data".
TrainedOn recorded_images(const nlohmann::json& data, const std::string& path) {
  const auto normalisation = normalisation_from(value_or(data, "normalisation", nlohmann::json::object()));
  TrainedOn images;
  std::vector<std::int64_t> shape;
  try {
    data.at("image_shape").get_to(shape);
    data.at("class_names").get_to(images.class_names);
  } catch (const nlohmann::json::exception&) {
    shape.clear();
  }
  const bool possible = shape.size() == images.shape.size() &&
                        std::ranges::all_of(shape, [](auto size) { return size >= 1 && size <= kLargestImageSide; });
  if (!normalisation || !possible) throw WeightsError(path + ": what it says of the images under 'data' is damaged");
  images.normalisation = *normalisation;
  std::ranges::copy(shape, images.shape.begin());
  return images;
}

// The weights say how their images were normalised, the run the rest. Runs of earlier versions say which data set it
// was, and all of those were of CIFAR-100's size.
TrainedOn images_of(const ModelSource& source, const LoadedModel& loaded) {
  TrainedOn images;
  images.shape[0] = loaded.model->spec().channels;
  if (source.run.empty()) {
    spdlog::warn("{}: a weights file does not say on which images it was trained: taken as {}", source.text,
                 loaded.normalisation ? "32×32" : "CIFAR-100's");
  } else {
    const auto path = RunFiles(source.run).record();
    const auto data = value_or(read_run_record(path), "data", nlohmann::json::object());
    if (!data.empty()) {
      images = recorded_images(data, path.string());
    } else if (const auto& published = dataset_registry().at(data_of_run(source.run.string()).dataset).normalisation) {
      images.normalisation = *published;
    }
  }
  images.normalisation = loaded.normalisation.value_or(images.normalisation);
  check_channels(source, loaded.model->spec(), images.shape[0]);
  return images;
}

std::vector<std::string> images_in(const std::string& folder) {
  if (!path_exists(folder)) throw DataError(folder + ": no such folder");
  if (!is_folder(folder)) throw DataError(folder + ": is no folder");
  std::vector<std::string> paths;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
    if (is_image_name(entry->path())) paths.push_back(entry->path().string());
  if (error) throw IoError(folder + ": cannot be read: " + error.message());
  if (paths.empty()) throw DataError(folder + ": holds no file that ends in .png, .jpg or .jpeg");
  std::ranges::sort(paths);
  return paths;
}

// uint8 [channels, height, width] as the networks were trained on.
at::Tensor fitting_image(const std::string& path, const std::array<std::int64_t, 3>& wanted, bool resize) {
  const auto [channels, height, width] = wanted;
  at::Tensor image = read_image_file(path);
  if (image.size(0) == 1 && channels == 3) image = image.expand({channels, -1, -1});
  if (image.size(0) != channels) {
    throw DataError(path + ": has " + std::to_string(image.size(0)) + " colour channels, the network was trained on " +
                    std::to_string(channels));
  }
  if (image.size(1) == height && image.size(2) == width) return image;
  if (!resize) {
    throw DataError(path + ": has " + size_text(image.size(1), image.size(2)) + " pixels, the network was trained on " +
                    size_text(height, width) + "; --resize scales images");
  }
  const at::Tensor scaled =
      at::_upsample_bilinear2d_aa(image.unsqueeze(0).to(at::kFloat), {height, width}, /*align_corners=*/false);
  return scaled.round_().clamp_(0, 255).to(at::kByte).squeeze(0);
}

// Networks that are asked together; all tell the same classes apart and were trained on images of one size.
class Ensemble {
 public:
  explicit Ensemble(const ImagePredictionRequest& request) : request_(request) {
    for (const auto& member : request.members) sources_.push_back(resolve_model_source(member.path));
    for (const auto& source : sources_) {
      models_.push_back(load_model(source, request.inference.model));
      trained_on_.push_back(images_of(source, models_.back()));
      check_member(source);
    }
  }

  std::int64_t classes() const { return models_.front().model->spec().classes; }
  const std::array<std::int64_t, 3>& shape() const { return trained_on_.front().shape; }

  // Of the first member that says it; empty where none does.
  std::string name_of(std::int64_t label) const {
    for (const auto& images : trained_on_)
      if (!images.class_names.empty()) return images.class_names[static_cast<std::size_t>(label)];
    return "";
  }

  // images: uint8 [N, C, H, W], on the device to compute on. One answer a member.
  std::vector<Predictions> ask(const at::Tensor& images, Precision precision) const {
    const ImageSet set{images, at::zeros({images.size(0)}, at::kLong)};
    std::vector<Predictions> answers;
    for (std::size_t i = 0; i < models_.size(); ++i) {
      const PredictOptions options{trained_on_[i].normalisation, request_.inference.batch_size, precision};
      answers.push_back(ask_network(models_[i], sources_[i], set, options, "the images"));
    }
    return answers;
  }

  // On what the members' runs have saved of their validation split.
  TemperatureFit fit_on_held_out() const {
    std::vector<Predictions> answers;
    for (std::size_t i = 0; i < sources_.size(); ++i) {
      answers.push_back(load_predictions(held_out_answers(sources_[i])));
      if (answers.back().logits.size(1) != classes())
        throw WeightsError(sources_[i].text + ": its answers to the validation split are of other classes");
    }
    check_agreement(request_.members, answers);
    return fit_temperature(combine(request_.members, answers), answers.front().labels);
  }

 private:
  void check_member(const ModelSource& source) const {
    const TrainedOn &first = trained_on_.front(), &images = trained_on_.back();
    const auto count = static_cast<std::int64_t>(images.class_names.size());
    const std::int64_t told_apart = models_.back().model->spec().classes;
    if (count > 0 && count != told_apart) {
      throw WeightsError(source.text + ": tells " + std::to_string(told_apart) + " classes apart, its run names " +
                         std::to_string(count));
    }
    const bool same_names =
        first.class_names.empty() || images.class_names.empty() || first.class_names == images.class_names;
    if (told_apart != classes() || images.shape != first.shape || !same_names)
      throw WeightsError(source.text + ": was trained on other classes or other sizes of images than " +
                         sources_.front().text);
  }

  static std::filesystem::path held_out_answers(const ModelSource& source) {
    const RunFiles files(source.run);
    std::filesystem::path saved;
    if (!source.run.empty() && run_state(source.run) == RunState::kFinished) {
      if (source.file == files.last()) saved = files.val_predictions();
      if (source.file == files.ema()) saved = files.ema_val_predictions();
    }
    if (saved.empty() || !path_exists(saved)) {
      throw UsageError("--fit-temperature: " + source.text +
                       " has no saved answers to a validation split; --fit-on FILE names such, as `ekd evaluate "
                       "--split val --save-predictions FILE` makes");
    }
    return saved;
  }

  const ImagePredictionRequest& request_;
  std::vector<ModelSource> sources_;
  std::vector<LoadedModel> models_;
  std::vector<TrainedOn> trained_on_;
};

// The labels with the largest logits, double [classes], the largest first; of equal ones the smaller label.
std::vector<std::int64_t> ranked(const at::Tensor& logits, std::int64_t top) {
  const auto* value = logits.const_data_ptr<double>();
  std::vector<std::int64_t> labels(static_cast<std::size_t>(logits.numel()));
  std::iota(labels.begin(), labels.end(), 0);
  const auto last = labels.begin() + std::min(top, logits.numel());
  std::partial_sort(labels.begin(), last, labels.end(), [value](std::int64_t a, std::int64_t b) {
    return value[a] != value[b] ? value[a] > value[b] : a < b;
  });
  labels.erase(last, labels.end());
  return labels;
}

void check_prediction(const ImagePredictionRequest& request) {
  if (request.members.empty()) throw UsageError("predict needs --model-from RUN_OR_WEIGHTS");
  if (request.images.empty() && request.folder.empty()) throw UsageError("predict needs an IMAGE or --folder DIR");
  check_members(request.members);
  check_temperature(request.temperature);
}

ImagePredictionResult answer(const ImagePredictionRequest& request, const Ensemble& networks,
                             const std::vector<std::string>& paths, at::Device device) {
  const Precision precision = resolve_precision(request.inference.precision, device, /*dense=*/true);
  ImagePredictionResult result{{}, std::nullopt, request.members};
  if (request.temperature.value) result.temperature = {*request.temperature.value, std::nullopt};
  if (request.temperature.fit)
    result.temperature =
        applied(request.temperature.fit_on.empty() ? networks.fit_on_held_out()
                                                   : fit_on_file(request.temperature.fit_on, networks.classes()));
  const double temperature = result.temperature ? result.temperature->value : 1;
  const auto step = static_cast<std::size_t>(request.inference.batch_size);
  for (std::size_t begin = 0; begin < paths.size(); begin += step) {
    const std::size_t end = std::min(paths.size(), begin + step);
    std::vector<at::Tensor> images;
    for (std::size_t i = begin; i < end; ++i)
      images.push_back(fitting_image(paths[i], networks.shape(), request.resize));
    const auto answers = networks.ask(at::stack(images).to(device), precision);
    const at::Tensor logits = scaled_logits(combine(request.members, answers), temperature);
    const at::Tensor confidences = probabilities(logits);
    for (std::size_t i = begin; i < end; ++i) {
      const auto row = static_cast<std::int64_t>(i - begin);
      ImagePrediction& image = result.images.emplace_back(ImagePrediction{paths[i], {}});
      for (const std::int64_t label : ranked(logits.select(0, row), request.top))
        image.classes.push_back({label, networks.name_of(label), confidences[row][label].item<double>()});
    }
  }
  return result;
}

}  // namespace

std::vector<Field> prediction_fields(ImagePredictionRequest& request) {
  std::vector<Field> fields{
      {"predict.folder", &request.folder, {}, "--folder", "all PNG and JPEG files in this folder, by name"},
      {"predict.resize",
       &request.resize,
       {},
       "--resize",
       "scale images to the size that the networks were trained on (bilinear, antialiased)"},
      {"predict.top", &request.top, between(1, kMaxCount), "--top", "classes to show for each image"}};
  std::ranges::move(temperature_fields(request.temperature, "predict", "the runs' answers to their validation split"),
                    std::back_inserter(fields));
  std::ranges::move(inference_fields(request.inference), std::back_inserter(fields));
  return fields;
}

ImagePredictionResult predict_images(const ImagePredictionRequest& request) {
  check_prediction(request);
  set_threads(request.inference.threads);
  const at::Device device = resolve_device(request.inference.device);
  return advising_on_memory("the prediction", device, [&] {
    const Ensemble networks(request);
    std::vector<std::string> paths = request.images;
    if (!request.folder.empty()) std::ranges::move(images_in(request.folder), std::back_inserter(paths));
    return answer(request, networks, paths, device);
  });
}

nlohmann::ordered_json to_json(const ImagePredictionResult& result) {
  nlohmann::ordered_json images = nlohmann::ordered_json::array();
  for (const auto& [path, classes] : result.images) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const auto& [label, name, confidence] : classes) {
      list.push_back({{"label", label}, {"name", nullptr}, {"confidence", confidence}});
      if (!name.empty()) list.back()["name"] = name;
    }
    images.push_back({{"path", path}, {"classes", list}});
  }
  return {{"images", images}, {"temperature", to_json(result.temperature)}, {"members", to_json(result.members)}};
}

}  // namespace ekd
