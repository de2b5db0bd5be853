#include "ekd/core/sha256.h"

#include <openssl/evp.h>

#include <stdexcept>

namespace ekd {

namespace {

std::string digits_of(std::span<const unsigned char> digest) {
  std::string text;
  for (const unsigned char byte : digest) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

}  // namespace

struct Sha256::Context {
  EVP_MD_CTX* handle = EVP_MD_CTX_new();
  ~Context() { EVP_MD_CTX_free(handle); }
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  if (EVP_DigestInit_ex(context_->handle, EVP_sha256(), nullptr) != 1)
    throw std::runtime_error("SHA-256 is not available");
}

Sha256::~Sha256() = default;

void Sha256::update(const void* bytes, std::size_t size) {
  if (EVP_DigestUpdate(context_->handle, bytes, size) != 1) throw std::runtime_error("SHA-256 failed");
}

std::string Sha256::hex() {
  unsigned char digest[32];
  unsigned int size = sizeof digest;
  if (EVP_DigestFinal_ex(context_->handle, digest, &size) != 1) throw std::runtime_error("SHA-256 failed");
  return digits_of(digest);
}

std::string sha1_hex(std::span<const std::byte> bytes) {
  unsigned char digest[20];
  unsigned int size = sizeof digest;
  if (EVP_Digest(bytes.data(), bytes.size(), digest, &size, EVP_sha1(), nullptr) != 1)
    throw std::runtime_error("SHA-1 is not available");
  return digits_of(digest);
}

std::string sha256_hex(std::span<const std::byte> bytes) {
  Sha256 hash;
  hash.update(bytes.data(), bytes.size());
  return hash.hex();
}

}  // namespace ekd
