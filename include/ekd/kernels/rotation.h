// The matrices of Pillow's Image.rotate and of its fixed-point path. Host only: sine and cosine differ between devices.
#pragma once

#include "ekd/kernels/affine.h"

namespace ekd {

// Counter-clockwise about the centre, any angle. Sine and cosine are rounded to 15 decimals, as Pillow does.
Affine rotation_matrix(double degrees, int width, int height);

// To the nearest 1/65536, halves up.
FixedAffine fixed_affine(const Affine& map);

}  // namespace ekd
