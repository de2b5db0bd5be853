#include "ekd/train/teacher.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>

#include "ekd/core/error.h"
#include "ekd/core/field.h"
#include "ekd/evaluate/model_file.h"

namespace ekd {
namespace {

std::string default_name(const ModelSource& source) {
  if (source.run.empty()) return source.file.stem().string();
  const auto folder = source.run.filename().empty() ? source.run.parent_path() : source.run;
  return folder.filename().string();
}

Teacher load_teacher(const ModelSource& source, std::int64_t classes, at::Device device) {
  LoadedModel loaded = load_model(source);
  const std::int64_t own_classes = loaded.model->spec().classes;
  if (own_classes != classes) {
    throw WeightsError(source.file.string() + ": this teacher tells " + std::to_string(own_classes) +
                       " classes apart, the data has " + std::to_string(classes));
  }
  loaded.model->to(device);
  for (auto& parameter : loaded.model->parameters()) parameter.tensor.requires_grad_(false);
  return {"", source.text, loaded.sha256, std::move(loaded.model)};
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

std::vector<Teacher> load_teachers(const std::vector<std::string>& texts, std::int64_t classes, at::Device device,
                                   const std::vector<Teacher>& loaded) {
  std::vector<Teacher> teachers;
  std::set<std::string> names;
  for (const auto& text : texts) {
    const auto [name, path, weight] = parse_teacher(text);
    const auto known = std::ranges::find(loaded, path, &Teacher::path);
    const ModelSource source = resolve_model_source(path);
    Teacher teacher = known != loaded.end() ? *known : load_teacher(source, classes, device);
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
  Outputs all = teacher.model->forward(images);
  if (std::ranges::any_of(features, [](const auto& name) { return name.ends_with(kPreactivation); }))
    all = teacher.model->with_preactivations(std::move(all));
  Outputs asked{all.logits.to(at::kFloat), {}};
  for (const auto& name : features) asked.features.push_back({name, all.feature(name)});
  return asked;
}

}  // namespace ekd
