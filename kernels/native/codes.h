/* Weights kept as codes with scales (codes.c). */
#pragma once

#include "native.h"

enum {
    CODES_4 = 32, /* inputs that share a scale and a minimum */
    CODES_8 = 16, /* inputs that share a scale */
    GROUP_4_BYTES = CODES_4 * PANEL / 2 + PANEL * 8,
    GROUP_8_BYTES = CODES_8 * PANEL + PANEL * 4,
    AHEAD = 8192 /* bytes to ask memory for in advance */
};

/* Writes the bf16 weights of so many pairs of inputs, whole groups, as linear.c wants them: 64 outputs by two
 * inputs a pair, aligned to 64 bytes. bits: 4 or 8. */
void expand(uint8_t *to, const uint8_t *from, int64_t pairs, int bits);
