// The names that settings may hold: what the registries of all rooms have.
#pragma once

#include "ekd/core/config_fields.h"

namespace ekd {

// What the registries of this build accept, for config_fields.
Catalogue catalogue();

}  // namespace ekd
