# Warnings for our own files, as errors unless EKD_WERROR is off.
option(EKD_WERROR "Treat warnings in ekd's own files as errors" ON)

add_library(ekd_warnings INTERFACE)
target_compile_options(ekd_warnings INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wno-unknown-pragmas -Wno-missing-field-initializers
  $<$<BOOL:${EKD_WERROR}>:-Werror>>)
