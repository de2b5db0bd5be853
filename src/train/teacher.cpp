#include "ekd/train/teacher.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "ekd/core/atomic_file.h"
#include "ekd/core/error.h"
#include "ekd/evaluate/model_file.h"

namespace ekd {
namespace {

// NAME=PATH, unless the whole text is a path that exists.
std::pair<std::string, std::string> split_name(const std::string& text) {
  const auto equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || path_exists(text)) return {"", text};
  return {text.substr(0, equals), text.substr(equals + 1)};
}

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

std::vector<Teacher> load_teachers(const std::vector<std::string>& texts, std::int64_t classes, at::Device device,
                                   const std::vector<Teacher>& loaded) {
  std::vector<Teacher> teachers;
  std::set<std::string> names;
  for (const auto& text : texts) {
    const auto [name, path] = split_name(text);
    const auto known = std::ranges::find(loaded, path, &Teacher::path);
    const ModelSource source = resolve_model_source(path);
    Teacher teacher = known != loaded.end() ? *known : load_teacher(source, classes, device);
    teacher.name = name.empty() ? default_name(source) : name;
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
  const Outputs all = teacher.model->forward(images);
  Outputs asked{all.logits.to(at::kFloat), {}};
  for (const auto& name : features) asked.features.push_back({name, all.feature(name)});
  return asked;
}

}  // namespace ekd
