// The sizes of tiles that convolutions are computed in. cnn-cuda/src/conv2d/tile.rs chooses among them, and knows the
// numbers of threads.
#pragma once
#include "tile.cuh"

#if ELEMENT_BF16
typedef Tile<128, 128, 2, 2> Large;
#else
typedef Tile<128, 128, 4, 2> Large;  // a thread of half as many could not keep its sums in registers
#endif
typedef Tile<128, 64, 2, 2> Narrow;
typedef Tile<64, 64, 2, 2> Small;
