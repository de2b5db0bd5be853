// The host's memory for tensors.
#pragma once

namespace ekd {

// Call before the first tensor. Tensors of one step are freed and wanted again at the next, so freed pages stay with
// the process. And tensors are aligned within blocks of malloc's: posix_memalign, which LibTorch calls, cuts a splinter
// off each block (glibc 2.36), so that freed blocks do not join and the next step's tensors do not fit. Without memory
// for a tensor std::bad_alloc is thrown.
void set_up_host_memory();

}  // namespace ekd
