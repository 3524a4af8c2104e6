// chain: bytes from the first rank to all others, each handing them on to the next.
//
// Piece by piece, many on their way at once: a rank sends each byte once and receives it
// once, so that it takes the time of one transfer, and one piece's time more for each rank,
// however many there are. Memory: CHAIN_PIECES pieces a rank. All ranks of `comm` call it.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <mpi.h>

#include "common/base/err.h"

#define CHAIN_PIECE_BYTES (4u << 20)
#define CHAIN_PIECES 8 // in flight or being worked on; half of them may be on their way out

struct chain_hooks {
    // On the first rank: the next piece. *bytes 0: that was all.
    enum err (*next)(void *user, uint8_t *out, size_t room, size_t *bytes);
    void (*take)(void *user, const uint8_t *data, size_t bytes); // on every rank
    void *user;
};

// On the first rank: what next() said; on the others ERR_IO when it said that. ERR_NOMEM ends
// the whole MPI job: without its ring a rank cannot hand on anything.
ERR_CHECKED enum err chain_run(MPI_Comm comm, const struct chain_hooks *h);
