#include "common/media/sha256.h"

#include <nettle/sha2.h>
#include <stdio.h>

#include "common/base/file.h"

_Static_assert(SHA256_TEXT_BYTES == 2 * SHA256_DIGEST_SIZE + 1, "two digits a byte, and a NUL");

void sha256_mapped(char out[SHA256_TEXT_BYTES], const struct file_map *m)
{
    struct sha256_ctx hash;
    uint8_t digest[SHA256_DIGEST_SIZE];
    sha256_init(&hash);
    sha256_update(&hash, m->bytes, m->data);
    sha256_digest(&hash, sizeof(digest), digest);
    for (size_t i = 0; i < sizeof(digest); i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

enum err sha256_file(char out[SHA256_TEXT_BYTES], const char *path)
{
    struct file_map m;
    const enum err e = file_map(&m, path);
    if (e)
        return e;
    sha256_mapped(out, &m);
    file_unmap(&m);
    return ERR_OK;
}
