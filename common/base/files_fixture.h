// files_fixture: what tests of readers share: silence while thousands of damaged
// files are refused, and files built by hand.
#pragma once

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Point standard error at nothing; returns what restore_stderr() takes.
static inline int silence_stderr(void)
{
    const int kept = dup(STDERR_FILENO);
    const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(null, STDERR_FILENO);
    close(null);
    return kept;
}

static inline void restore_stderr(int kept)
{
    dup2(kept, STDERR_FILENO);
    close(kept);
}

// Bytes that grow.
struct buffer {
    uint8_t *data;
    size_t bytes, room;
};

static inline void buffer_add(struct buffer *b, const void *data, size_t bytes)
{
    if (b->bytes + bytes >= b->room) { // a byte is left over for a closing zero
        b->room = 2 * (b->bytes + bytes) + 64;
        b->data = realloc(b->data, b->room);
    }
    if (!b->data)
        abort();
    memcpy(b->data + b->bytes, data, bytes);
    b->bytes += bytes;
}

static inline void buffer_add_text(struct buffer *b, const char *text)
{
    buffer_add(b, text, strlen(text));
}

static inline void buffer_add_number(struct buffer *b, uint64_t n, int bytes) // little-endian
{
    for (int i = 0; i < bytes; i++) {
        const uint8_t byte = (uint8_t) (i < 8 ? n >> 8 * i : 0);
        buffer_add(b, &byte, 1);
    }
}

static inline void buffer_free(struct buffer *b)
{
    free(b->data);
    *b = (struct buffer){ 0 };
}

// The bytes of a file; aborts when it cannot be read, or is empty.
static inline struct buffer slurp(const char *path)
{
    struct buffer b = { 0 };
    FILE *f = fopen(path, "rbe");
    char chunk[65536];
    size_t n;
    if (!f)
        abort();
    while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0)
        buffer_add(&b, chunk, n);
    fclose(f);
    if (!b.data)
        abort();
    return b;
}

static inline void spill(const char *path, const void *data, size_t bytes)
{
    FILE *f = fopen(path, "wbe");
    if (!f || fwrite(data, 1, bytes, f) != bytes || fclose(f) != 0)
        abort();
}
