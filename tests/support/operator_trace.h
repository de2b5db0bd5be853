#pragma once

#include <ATen/record_function.h>

#include <functional>
#include <sstream>
#include <string>
#include <vector>

namespace ekd::test {

namespace detail {

inline thread_local std::vector<std::string>* t_trace = nullptr;

// The shape, or the number that `2 * tensor` gives to an operator; read without an operator.
inline void write_tensor(std::ostream& out, const at::Tensor& tensor) {
  if (!tensor.defined()) return;
  const bool number = tensor.unsafeGetTensorImpl()->is_wrapped_number();
  if (number && tensor.scalar_type() == at::kDouble) {
    out << *tensor.const_data_ptr<double>();
  } else if (number && tensor.scalar_type() == at::kLong) {
    out << *tensor.const_data_ptr<std::int64_t>();
  } else {
    out << tensor.sizes();
  }
}

inline std::unique_ptr<at::ObserverContext> note(const at::RecordFunction& function) {
  std::ostringstream text;
  text << function.name();
  for (const auto& input : function.inputs()) {
    text << ' ';
    if (input.isTensor()) {
      write_tensor(text, input.toTensor());
    } else if (input.isTensorList()) {
      for (const at::Tensor& tensor : input.toTensorVector()) write_tensor(text, tensor);
    } else {
      text << input;
    }
  }
  t_trace->push_back(text.str());
  return nullptr;
}

}  // namespace detail

// What `work` asks of a device: every operator, with the numbers of the host that it is given. A CUDA graph replays
// just this: work whose operators differ from step to step cannot be recorded.
inline std::vector<std::string> operators_of(const std::function<void()>& work) {
  std::vector<std::string> trace;
  detail::t_trace = &trace;
  const auto handle = at::addThreadLocalCallback(
      at::RecordFunctionCallback(detail::note).needsInputs(true).scopes({at::RecordScope::FUNCTION}));
  work();
  at::removeCallback(handle);
  return trace;
}

}  // namespace ekd::test
