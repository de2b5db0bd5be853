#include "ekd/train/teacher.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>

#include "ekd/core/error.h"
#include "ekd/core/field.h"
#include "ekd/core/strict_json.h"
#include "ekd/data/record.h"
#include "ekd/evaluate/model_file.h"

namespace ekd {
namespace {

std::string default_name(const ModelSource& source) {
  if (source.run.empty()) return source.file.stem().string();
  const auto folder = source.run.filename().empty() ? source.run.parent_path() : source.run;
  return folder.filename().string();
}

// Sets what leads from the data's normalisation to the teacher's own.
void set_own_normalisation(Teacher& teacher, const Normalisation& of_data, at::Device device) {
  const std::int64_t channels = teacher.model->spec().channels;
  const at::Tensor scale = at::empty({1, channels, 1, 1}, at::kFloat), shift = at::empty_like(scale);
  for (std::size_t c = 0; c < static_cast<std::size_t>(channels); ++c) {
    const float std = teacher.normalisation.std.at(c);
    scale.mutable_data_ptr<float>()[c] = of_data.std.at(c) / std;
    shift.mutable_data_ptr<float>()[c] = (of_data.mean.at(c) - teacher.normalisation.mean.at(c)) / std;
  }
  teacher.scale = scale.to(device);
  teacher.shift = shift.to(device);
}

Teacher load_teacher(const ModelSource& source, const Dataset& data, at::Device device) {
  LoadedModel loaded = load_model(source);
  const ModelSpec& spec = loaded.model->spec();
  if (spec.classes != data.classes) {
    throw WeightsError(source.file.string() + ": this teacher tells " + std::to_string(spec.classes) +
                       " classes apart, the data has " + std::to_string(data.classes));
  }
  check_channels(source, spec, data.train.images.size(1));
  loaded.model->to(device);
  for (auto& parameter : loaded.model->parameters()) parameter.tensor.requires_grad_(false);
  const Normalisation own = loaded.normalisation.value_or(data.normalisation);
  Teacher teacher{"", source.text, loaded.sha256, std::move(loaded.model), own, {}, {}};
  if (normalisation_json(own, spec.channels) == normalisation_json(data.normalisation, spec.channels)) return teacher;
  set_own_normalisation(teacher, data.normalisation, device);
  spdlog::warn(
      "{}: this teacher was trained under the normalisation {}, and the student is under {}; each sees the "
      "images under its own",
      source.text, json_text(normalisation_json(own, spec.channels)),
      json_text(normalisation_json(data.normalisation, spec.channels)));
  return teacher;
}

}  // namespace

std::optional<std::pair<std::string, double>> split_weight(const std::string& text) {
  const auto at = text.rfind('@');
  if (at == std::string::npos || text.find('/', at) != std::string::npos) return std::pair(text, 1.0);
  double weight = 0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data() + at + 1, end, weight);
  const bool number = parsed.ec == std::errc{} && parsed.ptr == end && weight > 0 && weight <= kMaxCount;
  return number && at > 0 ? std::optional(std::pair(text.substr(0, at), weight)) : std::nullopt;
}

TeacherText parse_teacher(const std::string& text) {
  if (source_exists(text)) return {"", text};
  const auto equals = text.find('=');
  const bool named = equals != std::string::npos && equals > 0;
  const std::string name = named ? text.substr(0, equals) : "", rest = named ? text.substr(equals + 1) : text;
  if (source_exists(rest)) return {name, rest};
  const auto split = split_weight(rest);
  if (!split)
    throw UsageError("--teacher " + text + ": takes [NAME=]RUN_OR_WEIGHTS[@WEIGHT], the weight a number in (0, 1e9]");
  return {name, split->first, split->second};
}

std::vector<Teacher> load_teachers(const std::vector<std::string>& texts, const Dataset& data, at::Device device,
                                   const std::vector<Teacher>& loaded) {
  std::vector<Teacher> teachers;
  std::set<std::string> names;
  for (const auto& text : texts) {
    const auto [name, path, weight] = parse_teacher(text);
    const auto known = std::ranges::find(loaded, path, &Teacher::path);
    const ModelSource source = resolve_model_source(path);
    Teacher teacher = known != loaded.end() ? *known : load_teacher(source, data, device);
    teacher.name = name.empty() ? default_name(source) : name;
    teacher.weight = weight;
    if (!names.insert(teacher.name).second) {
      throw UsageError("two teachers are named '" + teacher.name + "'; name them apart: --teacher NAME=" + path);
    }
    teachers.push_back(std::move(teacher));
  }
  return teachers;
}

Outputs teacher_outputs(const Teacher& teacher, const at::Tensor& images, Precision precision,
                        const std::set<std::string>& features) {
  const at::NoGradGuard no_grad;  // not inference mode: its tensors could not take part in the student's backward
  const AutocastGuard autocast(images.device(), precision);
  const at::Tensor seen =
      teacher.scale.defined() ? (images * teacher.scale + teacher.shift).to(images.scalar_type()) : images;
  Outputs all = teacher.model->forward(seen);
  if (std::ranges::any_of(features, [](const auto& name) { return name.ends_with(kPreactivation); }))
    all = teacher.model->with_preactivations(std::move(all));
  Outputs asked{all.logits.to(at::kFloat), {}};
  for (const auto& name : features) asked.features.push_back({name, all.feature(name)});
  return asked;
}

}  // namespace ekd
