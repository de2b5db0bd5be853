// Every kind of file that ekd reads, as one function of a path: for damaged and for mutated files.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

namespace ekd::faults {

struct Reader {
  std::string_view name;
  std::string_view file;  // the name under which it reads
  bool has_checksum;      // where it states one, every change has to be found
  // An allocation may be this many times the file. A value of JSON takes 16 bytes where its text may take two, and the
  // vector that holds it grows by doubling.
  std::size_t allocation;
  void (*read)(const std::filesystem::path& path);
};

std::span<const Reader> readers();

// Exits with a message where there is none of that name.
const Reader& reader_of(std::string_view name);

enum class Answer { kRead, kRefused };

// Writes the bytes to a file in a folder of this process, below $EKD_FAULTS_FOLDER, and reads it. An ekd::Error other
// than an internal one is a refusal; any other exception is let through.
Answer answer_to(const Reader& reader, std::span<const std::byte> bytes);

}  // namespace ekd::faults
