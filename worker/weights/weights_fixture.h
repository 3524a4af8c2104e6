// weights_fixture: what the tests of this room share: silence while thousands
// of damaged files are refused, temporary files, and archives built by hand.
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

struct archive_entry {
    const char *name;
    const void *data;
    size_t bytes;
};

static inline void add_zip_header(struct buffer *b, uint32_t signature,
                                  const struct archive_entry *e, size_t local)
{
    const int central = signature == 0x02014b50;
    buffer_add_number(b, signature, 4);
    buffer_add_number(b, 0, central ? 4 : 2); // versions
    buffer_add_number(b, 0, 2);               // flags
    buffer_add_number(b, 0, 2);               // stored
    buffer_add_number(b, 0, 8);               // time, date, CRC: not looked at
    buffer_add_number(b, e->bytes, 4);
    buffer_add_number(b, e->bytes, 4);
    buffer_add_number(b, strlen(e->name), 2);
    buffer_add_number(b, 0, central ? 12 : 2); // no extra field; disk, attributes
    if (central)
        buffer_add_number(b, local, 4);
    buffer_add_text(b, e->name);
}

// A zip archive of stored entries.
static inline struct buffer archive_of(const struct archive_entry *entries, size_t count)
{
    struct buffer b = { 0 }, directory = { 0 };
    for (size_t i = 0; i < count; i++) {
        add_zip_header(&directory, 0x02014b50, &entries[i], b.bytes);
        add_zip_header(&b, 0x04034b50, &entries[i], 0);
        buffer_add(&b, entries[i].data, entries[i].bytes);
    }
    const size_t start = b.bytes;
    buffer_add(&b, directory.data, directory.bytes);
    buffer_add_number(&b, 0x06054b50, 4);
    buffer_add_number(&b, 0, 4);
    buffer_add_number(&b, count, 2);
    buffer_add_number(&b, count, 2);
    buffer_add_number(&b, directory.bytes, 4);
    buffer_add_number(&b, start, 4);
    buffer_add_number(&b, 0, 2);
    buffer_free(&directory);
    return b;
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
