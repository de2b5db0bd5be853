#include "ekd/core/field.h"

#include <sstream>

#include "ekd/core/text.h"

namespace ekd {
namespace {

std::string number_text(double value) {
  std::ostringstream text;
  text.precision(12);
  text << value;
  return text.str();
}

std::string range_text(const std::string& noun, const Accepted& accepted) {
  const bool bounded_below = accepted.min > -std::numeric_limits<double>::infinity();
  const bool bounded_above = accepted.max < std::numeric_limits<double>::infinity();
  const std::string low = number_text(accepted.min), high = number_text(accepted.max);
  if (bounded_below && bounded_above) return noun + " in " + (accepted.above_min ? "(" : "[") + low + ", " + high + "]";
  if (bounded_below) return noun + (accepted.above_min ? " > " : " >= ") + low;
  return noun;
}

}  // namespace

std::string accepted_text(const Field& field) {
  struct Visitor {
    const Accepted& accepted;
    std::string operator()(bool*) const { return "true or false"; }
    std::string operator()(std::int64_t*) const { return range_text("a whole number", accepted); }
    std::string operator()(double*) const { return range_text("a number", accepted); }
    std::string operator()(std::optional<double>*) const { return range_text("a number", accepted) + ", or null"; }
    std::string operator()(std::string*) const {
      if (accepted.names.empty()) return "a text";
      return "one of " + join(accepted.names) + (accepted.also != nullptr ? ", or " + accepted.also_text : "") +
             (accepted.or_number ? ", or " + range_text("a number", accepted) : "");
    }
    std::string operator()(std::vector<std::int64_t>*) const {
      return "a list of " + range_text("whole numbers", accepted);
    }
    std::string operator()(std::vector<double>*) const { return "a list of " + range_text("numbers", accepted); }
    std::string operator()(std::vector<std::string>*) const { return "a list of texts"; }
  };
  return std::visit(Visitor{field.accepted}, field.value);
}

}  // namespace ekd
