// files_fixture: what tests of readers share: silence while thousands of damaged
// files are refused, files built by hand, and a folder to put them into.
#pragma once

#include <fcntl.h>
#include <ftw.h>
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

// A folder of the program's own, from begin_folder() to end_folder(), which removes it with all
// that is in it: both for cmocka_run_group_tests().
static inline char *test_folder(void)
{
    static char folder[] = "/tmp/underscore-test-XXXXXX";
    return folder;
}

// The last four stay.
static inline char *in_folder(const char *name)
{
    static char paths[4][256];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof(paths[0]), "%s/%s", test_folder(), name);
    return path;
}

static inline int begin_folder(void **state)
{
    (void) state;
    return mkdtemp(test_folder()) ? 0 : -1;
}

static inline int remove_entry(const char *path, const struct stat *st, int type,
                               struct FTW *at)
{
    (void) st, (void) type, (void) at;
    return remove(path);
}

static inline int end_folder(void **state)
{
    (void) state;
    return nftw(test_folder(), remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}
