#include "stage/copy/model_hash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/log.h"

#define STEP_BYTES (1u << 20)

void model_hash_begin(struct model_hash *h)
{
    sha256_init(&h->state);
}

void model_hash_add(struct model_hash *h, const uint8_t *data, size_t bytes)
{
    sha256_update(&h->state, bytes, data);
}

void model_hash_end(struct model_hash *h, char out[MODEL_HASH_TEXT])
{
    uint8_t digest[SHA256_DIGEST_SIZE];
    sha256_digest(&h->state, sizeof(digest), digest);
    for (size_t i = 0; i < sizeof(digest); i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

enum err model_hash_file(int fd, const char *name, char out[MODEL_HASH_TEXT])
{
    struct model_hash h;
    uint8_t *step = malloc(STEP_BYTES);
    if (!step)
        return ERR_NOMEM;
    // What was written is to be read back, not remembered; it has to be synced before.
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    model_hash_begin(&h);
    off_t at = 0;
    ssize_t n;
    while ((n = pread(fd, step, STEP_BYTES, at)) > 0) {
        model_hash_add(&h, step, (size_t) n);
        at += n;
    }
    if (n < 0)
        log_error("%s: cannot read: %s", name, strerror(errno));
    model_hash_end(&h, out);
    free(step);
    return n < 0 ? ERR_IO : ERR_OK;
}
