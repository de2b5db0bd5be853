// A named list of choices. One row feeds the help text, validation and the error message.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "ekd/core/error.h"
#include "ekd/core/text.h"

namespace ekd {

// `Row` has at least `std::string name` and `std::string help`.
template <class Row>
class Registry {
 public:
  Registry(std::string kind, std::vector<Row> rows) : kind_(std::move(kind)), rows_(std::move(rows)) {}

  const std::vector<Row>& rows() const { return rows_; }

  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& row : rows_) names.push_back(row.name);
    return names;
  }

  // Null where no row has that name.
  const Row* find(const std::string& name) const {
    for (const auto& row : rows_)
      if (row.name == name) return &row;
    return nullptr;
  }

  // Throws UsageError naming what is accepted.
  const Row& at(const std::string& name) const {
    if (const Row* row = find(name)) return *row;
    throw UsageError("unknown " + kind_ + " '" + name + "'; accepted: " + join(names()) + did_you_mean(name, names()));
  }

 private:
  std::string kind_;
  std::vector<Row> rows_;
};

}  // namespace ekd
