// Changes that keep a file well-formed, so that they get past the parser to the code that asks what a value is.
#pragma once

#include <random>
#include <string>
#include <string_view>

namespace ekd::faults {

// One value of the JSON in the file replaced, removed or moved to another key: of the header where it is safetensors,
// of one line where it is lines. The file unchanged where it holds no JSON, or JSON that is nested deep.
std::string with_json_changed(const std::string& file, std::string_view reader, std::mt19937_64& random);

}  // namespace ekd::faults
