// links: wire
//
// Messages from the network. What is accepted can be sent again, and says the same.
#include <stdlib.h>
#include <string.h>

#include "common/wire/wire.h"
#include "tests/fuzz/fuzz.h"

static struct wire_message first, second;

static void require(bool truth)
{
    if (!truth)
        abort();
}

// The rows of a JOBS, likewise.
static void take_rows(struct wire_bytes rows)
{
    static struct wire_job job;
    static uint8_t again[WIRE_ROWS_BYTES];
    while (rows.bytes && !wire_take_row(&job, &rows)) {
        uint32_t bytes = 0;
        require(wire_add_row(again, &bytes, &job));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *why;
    uint8_t *bytes, *again;
    size_t n, n_again;
    if (wire_decode(&first, data, size, &why)) {
        require(why && *why);
        return 0;
    }
    if (first.type == WIRE_JOBS)
        take_rows(first.jobs.rows);
    require(wire_encode(&bytes, &n, &first) == ERR_OK);
    require(wire_decode(&second, bytes, n, &why) == ERR_OK);
    require(wire_encode(&again, &n_again, &second) == ERR_OK);
    require(n == n_again && memcmp(bytes, again, n) == 0);
    free(bytes);
    free(again);
    return 0;
}
