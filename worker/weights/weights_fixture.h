// weights_fixture: what the tests of this room share: archives built by hand.
#pragma once

#include "common/base/files_fixture.h"

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
