#include "stage/main/chain.h"

#include <stdlib.h>

#include "common/base/log.h"

#define LAG (CHAIN_PIECES / 2) // pieces that a buffer's turn comes after its own

// What a message says beside its bytes; without bytes it is the last.
enum tag { TAG_PIECE, TAG_BROKEN };

struct ring {
    MPI_Comm comm;
    int rank, ranks;
    uint8_t *buffers; // CHAIN_PIECES of CHAIN_PIECE_BYTES
    MPI_Request in[CHAIN_PIECES], out[CHAIN_PIECES];
};

static uint8_t *buffer_of(const struct ring *r, uint64_t piece)
{
    return r->buffers + (size_t) (piece % CHAIN_PIECES) * CHAIN_PIECE_BYTES;
}

// The buffer of that piece is sent off: it may take another.
static void reuse(struct ring *r, uint64_t piece)
{
    MPI_Wait(&r->out[piece % CHAIN_PIECES], MPI_STATUS_IGNORE);
    if (r->rank > 0)
        MPI_Irecv(buffer_of(r, piece), CHAIN_PIECE_BYTES, MPI_BYTE, r->rank - 1, MPI_ANY_TAG,
                  r->comm, &r->in[piece % CHAIN_PIECES]);
}

static void receive(struct ring *r, uint64_t piece, size_t *bytes, int *tag)
{
    MPI_Status status;
    int count;
    MPI_Wait(&r->in[piece % CHAIN_PIECES], &status);
    MPI_Get_count(&status, MPI_BYTE, &count);
    *bytes = (size_t) count;
    *tag = status.MPI_TAG;
}

static void hand_on(struct ring *r, uint64_t piece, size_t bytes, int tag)
{
    if (r->rank + 1 < r->ranks)
        MPI_Isend(buffer_of(r, piece), (int) bytes, MPI_BYTE, r->rank + 1, tag, r->comm,
                  &r->out[piece % CHAIN_PIECES]);
}

static enum err pass(struct ring *r, const struct chain_hooks *h)
{
    for (uint64_t piece = 0;; piece++) {
        enum err e = ERR_OK;
        size_t bytes = 0;
        int tag = TAG_PIECE;
        if (piece >= LAG)
            reuse(r, piece - LAG);
        if (r->rank > 0)
            receive(r, piece, &bytes, &tag);
        else
            e = h->next(h->user, buffer_of(r, piece), CHAIN_PIECE_BYTES, &bytes);
        if (e) {
            bytes = 0;
            tag = TAG_BROKEN;
        }
        hand_on(r, piece, bytes, tag);
        if (bytes == 0)
            return e ? e : tag == TAG_BROKEN ? ERR_IO : ERR_OK;
        h->take(h->user, buffer_of(r, piece), bytes);
    }
}

static void finish(struct ring *r)
{
    for (int i = 0; i < CHAIN_PIECES; i++)
        if (r->in[i] != MPI_REQUEST_NULL) // nothing more comes
            MPI_Cancel(&r->in[i]);
    MPI_Waitall(CHAIN_PIECES, r->in, MPI_STATUSES_IGNORE);
    MPI_Waitall(CHAIN_PIECES, r->out, MPI_STATUSES_IGNORE);
    free(r->buffers);
}

enum err chain_run(MPI_Comm comm, const struct chain_hooks *h)
{
    struct ring r = { .comm = comm,
                      .buffers = malloc((size_t) CHAIN_PIECES * CHAIN_PIECE_BYTES) };
    MPI_Comm_rank(comm, &r.rank);
    MPI_Comm_size(comm, &r.ranks);
    if (!r.buffers) {
        log_error("out of memory");
        MPI_Abort(comm, err_exit_code(ERR_NOMEM));
        return ERR_NOMEM;
    }
    for (uint64_t i = 0; i < CHAIN_PIECES; i++)
        r.in[i] = r.out[i] = MPI_REQUEST_NULL;
    for (uint64_t i = 0; r.rank > 0 && i < CHAIN_PIECES; i++)
        reuse(&r, i);
    const enum err e = pass(&r, h);
    finish(&r);
    return e;
}
