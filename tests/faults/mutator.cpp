// Stands for libFuzzer where clang is missing, with the same options: -runs=N -seed=N -max_len=N FOLDER... Blind: it
// does not see which code a file reaches, so it starts anew from a whole file every time.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed);

namespace {

using Bytes = std::vector<std::uint8_t>;

// Where a parser decides: brackets, quotes, signs, edges of numbers.
constexpr std::string_view kTokens[] = {"{",
                                        "}",
                                        "[",
                                        "]",
                                        "\"",
                                        ",",
                                        ":",
                                        "\n",
                                        "null",
                                        "true",
                                        "-1",
                                        "1e999",
                                        "0",
                                        "\\u0",
                                        "\xff",
                                        "[[[[[",
                                        "{\"a\":",
                                        "\"epoch\"",
                                        "9223372036854775807",
                                        "18446744073709551616",
                                        "-9223372036854775808"};

std::mt19937_64 g_random;
std::vector<Bytes> g_seeds;

std::size_t below(std::size_t end) { return end == 0 ? 0 : g_random() % end; }

Bytes::iterator place(Bytes& file) { return file.begin() + static_cast<std::ptrdiff_t>(below(file.size() + 1)); }

void change(Bytes& file) {
  switch (file.empty() ? 3 : below(6)) {
    case 0:
      file[below(file.size())] ^= static_cast<std::uint8_t>(1 << below(8));
      break;
    case 1:
      file[below(file.size())] = static_cast<std::uint8_t>(g_random());
      break;
    case 2:
      file.resize(below(file.size()));
      break;
    case 3: {
      const auto token = kTokens[below(std::size(kTokens))];
      file.insert(place(file), token.begin(), token.end());
      break;
    }
    case 4: {  // a piece of it again
      const std::size_t begin = below(file.size()), size = below(std::min<std::size_t>(file.size() - begin, 256));
      const auto first = file.begin() + static_cast<std::ptrdiff_t>(begin);
      const Bytes piece(first, first + static_cast<std::ptrdiff_t>(size));
      file.insert(place(file), piece.begin(), piece.end());
      break;
    }
    default: {  // the end of another
      const Bytes& other = g_seeds[below(g_seeds.size())];
      file.resize(below(file.size()));
      file.insert(file.end(), other.begin() + static_cast<std::ptrdiff_t>(below(other.size())), other.end());
    }
  }
}

Bytes bytes_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size) {
  Bytes file(data, data + size);
  change(file);
  file.resize(std::min(file.size(), max_size));
  std::ranges::copy(file, data);
  return file.size();
}

int main(int argc, char** argv) {
  std::uint64_t runs = 0, seed = 0, max_len = 1 << 16;
  for (const std::string& argument : std::vector<std::string>(argv + 1, argv + argc)) {
    const auto number = [&](std::string_view option, std::uint64_t& value) {
      if (argument.starts_with(option)) value = std::stoull(argument.substr(option.size()));
    };
    number("-runs=", runs);
    number("-seed=", seed);
    number("-max_len=", max_len);
    if (argument.starts_with('-')) continue;
    for (const auto& entry : std::filesystem::directory_iterator(argument)) g_seeds.push_back(bytes_of(entry.path()));
  }
  std::ranges::sort(g_seeds);  // a folder has no order
  g_random.seed(seed);
  std::uint64_t done = 0;
  for (; done < runs && !g_seeds.empty(); ++done) {
    Bytes file = g_seeds[below(g_seeds.size())];
    std::size_t size = file.size();
    file.resize(std::max<std::size_t>(max_len, size));
    for (std::size_t i = 0, count = 1 + below(6); i < count; ++i)
      size = LLVMFuzzerCustomMutator(file.data(), size, file.size(), static_cast<unsigned>(g_random()));
    LLVMFuzzerTestOneInput(file.data(), size);
  }
  std::printf("Done %llu runs\n", static_cast<unsigned long long>(done));
  return done == runs ? 0 : 2;
}
