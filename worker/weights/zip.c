#include "worker/weights/zip.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/log.h"

enum {
    LOCAL_SIGNATURE = 0x04034b50,
    CENTRAL_SIGNATURE = 0x02014b50,
    END_SIGNATURE = 0x06054b50,
    END64_SIGNATURE = 0x06064b50,
    LOCATOR_SIGNATURE = 0x07064b50,
    LOCAL_BYTES = 30,
    CENTRAL_BYTES = 46,
    END_BYTES = 22,
    END64_BYTES = 56,
    LOCATOR_BYTES = 20,
    ENCRYPTED = 1,  // a general purpose flag
    EXTRA_ZIP64 = 1 // the tag of an extra field
};

struct zip {
    struct zip_entry *entries;
    uint32_t count;
};

// What reading the directory needs.
struct reader {
    const char *name;
    const uint8_t *data;
    uint64_t bytes;
    uint64_t directory, directory_bytes, count; // where the central directory is
};

static enum err refuse(const struct reader *r, const char *why)
{
    log_error("%s: %s", r->name, why);
    return ERR_INPUT;
}

// `length` bytes at `offset` lie within the file.
static bool within(const struct reader *r, uint64_t offset, uint64_t length)
{
    return offset <= r->bytes && length <= r->bytes - offset;
}

// The end record is followed by a comment of at most 64 KiB and nothing else.
static const uint8_t *find_end(const struct reader *r)
{
    if (r->bytes < END_BYTES)
        return NULL;
    const uint64_t last = r->bytes - END_BYTES;
    const uint64_t first = last > 65535 ? last - 65535 : 0;
    for (uint64_t at = last + 1; at-- > first;)
        if (read_le32(r->data + at) == END_SIGNATURE &&
            read_le16(r->data + at + 20) == last - at)
            return r->data + at;
    return NULL;
}

static enum err read_end64(struct reader *r, const uint8_t *locator)
{
    const uint64_t at = read_le64(locator + 8);
    if (!within(r, at, END64_BYTES) || read_le32(r->data + at) != END64_SIGNATURE)
        return refuse(r, "a damaged zip archive: its 64-bit end record is missing");
    const uint8_t *end = r->data + at;
    if (read_le32(locator + 4) != 0 || read_le32(locator + 16) > 1 ||
        read_le32(end + 16) != 0 || read_le32(end + 20) != 0 ||
        read_le64(end + 24) != read_le64(end + 32))
        return refuse(r, "a zip archive of several disks");
    r->count = read_le64(end + 32);
    r->directory_bytes = read_le64(end + 40);
    r->directory = read_le64(end + 48);
    return ERR_OK;
}

static enum err read_end(struct reader *r)
{
    const uint8_t *end = find_end(r);
    if (!end)
        return refuse(r, "not a zip archive, or cut short");
    const uint64_t at = (uint64_t) (end - r->data);
    if (at >= LOCATOR_BYTES && read_le32(end - LOCATOR_BYTES) == LOCATOR_SIGNATURE)
        return read_end64(r, end - LOCATOR_BYTES);
    if (read_le16(end + 4) != 0 || read_le16(end + 6) != 0 ||
        read_le16(end + 8) != read_le16(end + 10))
        return refuse(r, "a zip archive of several disks");
    r->count = read_le16(end + 10);
    r->directory_bytes = read_le32(end + 12);
    r->directory = read_le32(end + 16);
    return ERR_OK;
}

// Sizes and place of an entry, the 64-bit ones where the others are full.
struct extent {
    uint64_t stored, real, local;
};

static bool take64(const uint8_t **p, const uint8_t *end, uint64_t *value)
{
    if (*value != UINT32_MAX)
        return true; // not in the extra field
    if (end - *p < 8)
        return false;
    *value = read_le64(*p);
    *p += 8;
    return true;
}

static bool read_extent(const uint8_t *central, const uint8_t *extra, uint16_t extra_bytes,
                        struct extent *out)
{
    *out = (struct extent){ read_le32(central + 20), read_le32(central + 24),
                            read_le32(central + 42) };
    for (const uint8_t *end = extra + extra_bytes; end - extra >= 4;) {
        const uint16_t tag = read_le16(extra), length = read_le16(extra + 2);
        extra += 4;
        if (length > end - extra)
            return false;
        const uint8_t *field = extra;
        if (tag == EXTRA_ZIP64)
            return take64(&field, extra + length, &out->real) &&
                   take64(&field, extra + length, &out->stored) &&
                   take64(&field, extra + length, &out->local);
        extra += length;
    }
    return true;
}

// Where the data of an entry starts, behind its local header.
static enum err locate(const struct reader *r, uint64_t local, struct zip_entry *e)
{
    if (!within(r, local, LOCAL_BYTES) || read_le32(r->data + local) != LOCAL_SIGNATURE)
        return refuse(r, "a damaged zip archive: an entry is not where it should be");
    const uint8_t *header = r->data + local;
    const uint16_t name_bytes = read_le16(header + 26), extra_bytes = read_le16(header + 28);
    const uint64_t data = local + LOCAL_BYTES + name_bytes + extra_bytes;
    if (!within(r, data, e->bytes))
        return refuse(r, "a damaged zip archive: an entry reaches beyond the file");
    if (name_bytes != e->name_bytes || memcmp(header + LOCAL_BYTES, e->name, name_bytes) != 0)
        return refuse(r, "a damaged zip archive: an entry has two names");
    e->data = r->data + data;
    return ERR_OK;
}

// The entry at `at` of the central directory; *next is the one behind it.
static enum err read_entry(const struct reader *r, uint64_t at, struct zip_entry *e,
                           uint64_t *next)
{
    const uint64_t end = r->directory + r->directory_bytes;
    const uint8_t *central = r->data + at;
    if (end - at < CENTRAL_BYTES || read_le32(central) != CENTRAL_SIGNATURE)
        return refuse(r, "a damaged zip archive: its directory is broken");
    const uint16_t name_bytes = read_le16(central + 28), extra_bytes = read_le16(central + 30);
    const uint64_t length =
        (uint64_t) CENTRAL_BYTES + name_bytes + extra_bytes + read_le16(central + 32);
    struct extent x;
    if (end - at < length ||
        !read_extent(central, central + CENTRAL_BYTES + name_bytes, extra_bytes, &x))
        return refuse(r, "a damaged zip archive: its directory is broken");
    if (read_le16(central + 8) & ENCRYPTED)
        return refuse(r, "an encrypted zip archive");
    if (read_le16(central + 10) != 0 || x.stored != x.real)
        return refuse(r, "a compressed zip archive; torch.save does not compress");
    if (read_le16(central + 34) != 0)
        return refuse(r, "a zip archive of several disks");
    *e = (struct zip_entry){ (const char *) central + CENTRAL_BYTES, name_bytes, NULL, x.real };
    *next = at + length;
    return locate(r, x.local, e);
}

static int compare_text(const char *a, uint32_t a_bytes, const char *b, uint32_t b_bytes)
{
    const int order = memcmp(a, b, a_bytes < b_bytes ? a_bytes : b_bytes);
    return order ? order : (a_bytes > b_bytes) - (a_bytes < b_bytes);
}

static int compare_entries(const void *a, const void *b)
{
    const struct zip_entry *x = a, *y = b;
    return compare_text(x->name, x->name_bytes, y->name, y->name_bytes);
}

static int compare_name_to_entry(const void *name, const void *entry)
{
    const struct zip_entry *e = entry;
    return compare_text(name, (uint32_t) strlen(name), e->name, e->name_bytes);
}

static enum err read_directory(struct reader *r, struct zip *z)
{
    enum err e = read_end(r);
    if (e)
        return e;
    if (!within(r, r->directory, r->directory_bytes) ||
        r->count > r->directory_bytes / CENTRAL_BYTES || r->count > UINT32_MAX)
        return refuse(r, "a damaged zip archive: its directory lies outside the file");
    z->entries = calloc(r->count + 1, sizeof(*z->entries));
    if (!z->entries) {
        log_error("%s: out of memory", r->name);
        return ERR_NOMEM;
    }
    uint64_t at = r->directory;
    for (uint64_t i = 0; !e && i < r->count; i++)
        e = read_entry(r, at, &z->entries[i], &at);
    if (e)
        return e;
    z->count = (uint32_t) r->count;
    qsort(z->entries, z->count, sizeof(*z->entries), compare_entries);
    for (uint32_t i = 1; i < z->count; i++)
        if (compare_entries(&z->entries[i - 1], &z->entries[i]) == 0)
            return refuse(r, "a damaged zip archive: two entries have one name");
    return ERR_OK;
}

enum err zip_open(struct zip **out, const char *name, const void *data, uint64_t bytes)
{
    struct reader r = { .name = name, .data = data, .bytes = bytes };
    *out = calloc(1, sizeof(**out));
    if (!*out) {
        log_error("%s: out of memory", name);
        return ERR_NOMEM;
    }
    const enum err e = read_directory(&r, *out);
    if (e)
        zip_close(out);
    return e;
}

void zip_close(struct zip **z)
{
    if (!*z)
        return;
    free((*z)->entries);
    free(*z);
    *z = NULL;
}

uint32_t zip_count(const struct zip *z)
{
    return z->count;
}

const struct zip_entry *zip_at(const struct zip *z, uint32_t i)
{
    return &z->entries[i];
}

const struct zip_entry *zip_find(const struct zip *z, const char *name)
{
    return bsearch(name, z->entries, z->count, sizeof(*z->entries), compare_name_to_entry);
}
