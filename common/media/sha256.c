#include "common/media/sha256.h"

#include <libavutil/mem.h>
#include <libavutil/sha.h>
#include <stdio.h>

#include "common/base/file.h"
#include "common/base/log.h"

#define DIGEST_BYTES (SHA256_TEXT_BYTES / 2)
#define STEP_BYTES (1u << 20)

static void hash(struct AVSHA *sha, const struct file_map *m, uint8_t digest[DIGEST_BYTES])
{
    av_sha_init(sha, 256);
    for (uint64_t at = 0; at < m->bytes; at += STEP_BYTES) {
        const uint64_t left = m->bytes - at;
        av_sha_update(sha, m->data + at, left < STEP_BYTES ? (size_t) left : STEP_BYTES);
    }
    av_sha_final(sha, digest);
}

enum err sha256_mapped(char out[SHA256_TEXT_BYTES], const struct file_map *m)
{
    struct AVSHA *sha = av_sha_alloc();
    if (!sha) {
        log_error("out of memory");
        return ERR_NOMEM;
    }
    uint8_t digest[DIGEST_BYTES];
    hash(sha, m, digest);
    for (int i = 0; i < DIGEST_BYTES; i++)
        snprintf(out + 2 * (size_t) i, 3, "%02x", digest[i]);
    av_free(sha);
    return ERR_OK;
}

enum err sha256_file(char out[SHA256_TEXT_BYTES], const char *path)
{
    struct file_map m;
    enum err e = file_map(&m, path);
    if (e)
        return e;
    e = sha256_mapped(out, &m);
    file_unmap(&m);
    return e;
}
