// A folder of one test with small files in CIFAR-100's layout.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "data/cifar.h"

namespace ekd {

class CifarFolder : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "ekd-data-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    dir_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  static std::string record(std::int64_t coarse, std::int64_t fine, std::uint8_t first_pixel = 0) {
    std::string bytes(static_cast<std::size_t>(kCifarRecordBytes), '\0');
    bytes[0] = static_cast<char>(coarse);
    bytes[1] = static_cast<char>(fine);
    for (std::size_t i = 2; i < bytes.size(); ++i) bytes[i] = static_cast<char>(first_pixel + i - 2);
    return bytes;
  }

  // One record per label; pixels start at the record's number, so that records differ.
  static std::string records(const std::vector<std::int64_t>& labels) {
    std::string bytes;
    for (std::size_t i = 0; i < labels.size(); ++i)
      bytes += record(labels[i] / 5, labels[i], static_cast<std::uint8_t>(i));
    return bytes;
  }

  std::filesystem::path write(const std::string& name, const std::string& bytes) const {
    std::ofstream(dir_ / name, std::ios::binary) << bytes;
    return dir_ / name;
  }

  std::filesystem::path dir_;
};

// The message of the E that `call` throws; "" where it throws none.
template <class E, class Call>
std::string message_of(Call&& call) {
  try {
    call();
  } catch (const E& error) {
    return error.what();
  }
  return "";
}

}  // namespace ekd
