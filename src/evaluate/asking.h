// Asking members and combining their answers, for evaluations and predictions.
#pragma once

#include <ATen/core/Tensor.h>

#include <exception>
#include <string>
#include <vector>

#include "ekd/core/device.h"
#include "ekd/core/error.h"
#include "ekd/core/failure.h"
#include "ekd/data/settings.h"
#include "ekd/evaluate/members.h"
#include "ekd/evaluate/model_file.h"
#include "ekd/evaluate/predictions.h"
#include "ekd/metrics/temperature.h"

namespace ekd {

// What `work` returns. Throws MemoryError with advice where memory ran out; `device` is looked at then.
template <class Work>
auto advising_on_memory(const std::string& doing, const at::Device& device, const Work& work) {
  try {
    return work();
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    const std::string advice = memory_advice(error, doing, device);
    if (!advice.empty()) throw MemoryError(advice);
    throw;
  }
}

// Throws UsageError where no member has a weight, or settings of the temperature exclude each other.
void check_members(const std::vector<EvaluationMember>& members);
void check_temperature(const TemperatureConfig& temperature);

// The data section of a run's config.json. Throws WeightsError where the file is missing or damaged.
DataConfig data_of_run(const std::string& run);

// What a network, moved to the device of `set`, says to it; `images` names them in errors, as "the test split". Throws
// NonFiniteError, MemoryError.
Predictions ask_network(const LoadedModel& loaded, const ModelSource& source, const ImageSet& set,
                        const PredictOptions& options, const std::string& images);

// Throws WeightsError where members differ in the number of samples, in classes or in labels.
void check_agreement(const std::vector<EvaluationMember>& members, const std::vector<Predictions>& answers);

// Double [N, C]: logits of the member, or the log of the members' weighted mean probability.
at::Tensor combine(const std::vector<EvaluationMember>& members, const std::vector<Predictions>& answers);

// On a predictions file. Throws WeightsError where it has another number of classes.
TemperatureFit fit_on_file(const std::string& path, std::int64_t classes);

// With a warning where the fit is at the end of what was searched.
AppliedTemperature applied(const TemperatureFit& fit);

}  // namespace ekd
