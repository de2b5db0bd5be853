#include "ekd/commands/command.h"

namespace ekd {

void add_output_options(CLI::App& app, GlobalOptions& global) {
  app.add_flag_callback(
         "-q,--quiet", [&global] { global.verbosity = -1; }, "warnings and errors only")
      ->group("Output");
  app.add_flag(
         "-v,--verbose", [&global](std::int64_t count) { global.verbosity = static_cast<int>(count); },
         "say more; -vv adds traces of errors")
      ->group("Output");
}

}  // namespace ekd
