// zip: the entries of an archive as torch.save writes it: stored, not
// compressed, in one file, with or without the 64-bit extension.
//
// Format: APPNOTE.TXT by PKWARE, sections 4.3 and 4.5. Every offset and size
// is checked; compressed, encrypted and split archives are refused.
#pragma once

#include <stdint.h>

#include "common/base/err.h"

struct zip;

// Read the directory of an archive the caller keeps alive; `name` is for
// messages. The caller owns *out. ERR_INPUT, ERR_NOMEM; logs.
ERR_CHECKED enum err zip_open(struct zip **out, const char *name, const void *data,
                              uint64_t bytes);
void zip_close(struct zip **z); // NULL inside is fine

struct zip_entry {
    const char *name; // not terminated
    uint32_t name_bytes;
    const uint8_t *data;
    uint64_t bytes;
};

// Entries sorted by name.
uint32_t zip_count(const struct zip *z);
const struct zip_entry *zip_at(const struct zip *z, uint32_t i);

// NULL when there is none.
const struct zip_entry *zip_find(const struct zip *z, const char *name);
