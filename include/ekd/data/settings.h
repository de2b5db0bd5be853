// Which images are used.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ekd/core/field.h"

namespace ekd {

struct DataConfig {
  std::string dataset = "cifar100";
  std::string dir = "data/cifar-100-binary";
  std::int64_t train_limit = 0;   // first N records; 0: all
  std::int64_t test_limit = 0;    // first N records; 0: all
  std::int64_t classes = 0;       // only the first N classes; 0: all
  std::int64_t val_size = 0;      // last N training records held out
  std::vector<double> mean, std;  // of the normalisation, a number for each channel; empty: the data set's own
};

std::vector<Field> data_fields(DataConfig& data);

}  // namespace ekd
