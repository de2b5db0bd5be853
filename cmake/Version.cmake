# The version and commit that `ekd --version` and run.json state; the commit is read at configure time and again whenever
# HEAD moves.
execute_process(COMMAND git -C ${PROJECT_SOURCE_DIR} describe --always --dirty --exclude=*
  OUTPUT_VARIABLE EKD_GIT_COMMIT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT EKD_GIT_COMMIT)
  set(EKD_GIT_COMMIT unknown)
endif()
foreach(file HEAD logs/HEAD)
  if(EXISTS ${PROJECT_SOURCE_DIR}/.git/${file})
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/.git/${file})
  endif()
endforeach()
configure_file(${PROJECT_SOURCE_DIR}/cmake/version.h.in ${PROJECT_BINARY_DIR}/generated/ekd/version.h @ONLY)
