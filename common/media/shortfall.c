#include "common/media/shortfall.h"

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/bytes.h"

struct reader {
    int fd;
    uint64_t bytes; // of the file
};

static bool read_at(const struct reader *r, uint64_t at, void *out, size_t bytes)
{
    return pread(r->fd, out, bytes, (off_t) at) == (ssize_t) bytes;
}

static uint64_t beyond(const struct reader *r, uint64_t end)
{
    return end > r->bytes ? end - r->bytes : 0;
}

static uint64_t read_be(const uint8_t *p, size_t bytes)
{
    uint64_t v = 0;
    for (size_t i = 0; i < bytes; i++)
        v = v << 8 | p[i];
    return v;
}

static bool is_box_type(const uint8_t *type)
{
    for (int i = 0; i < 4; i++)
        if (type[i] < 0x20 || type[i] > 0x7e)
            return false;
    return true;
}

// Box: 32-bit size, type, [64-bit size when the first is 1]. Source: ISO/IEC
// 14496-12, 4.2. Size 0 means "to the end of the file".
static uint64_t iso_shortfall(const struct reader *r)
{
    uint8_t head[16];
    for (uint64_t at = 0; read_at(r, at, head, 8) && is_box_type(head + 4);) {
        uint64_t size = read_be(head, 4);
        if (size == 1)
            size = read_at(r, at + 8, head + 8, 8) ? read_be(head + 8, 8) : 0;
        if (size < 8 || !size_add(at, size, &at))
            return 0;
        if (at > r->bytes)
            return beyond(r, at);
    }
    return 0;
}

// An EBML number: the leading zero bits of its first byte tell its length.
// Source: RFC 8794, 4. Returns its bytes, 0 when it cannot be read.
static size_t read_ebml_number(const struct reader *r, uint64_t at, bool keep_marker,
                               uint64_t *out)
{
    uint8_t b[8];
    if (!read_at(r, at, b, 1) || !b[0])
        return 0;
    const size_t bytes = (size_t) __builtin_clz(b[0]) - 23;
    if (!read_at(r, at, b, bytes))
        return 0;
    const uint64_t marker = 1ull << (7 * bytes);
    *out = read_be(b, bytes) & (keep_marker ? UINT64_MAX : marker - 1);
    return bytes;
}

static uint64_t ebml_shortfall(const struct reader *r)
{
    uint64_t at = 0;
    for (int i = 0; i < 8; i++) { // the header, voids, the segment
        uint64_t id, size, end;
        const size_t id_bytes = read_ebml_number(r, at, true, &id);
        const size_t size_bytes =
            id_bytes ? read_ebml_number(r, at + id_bytes, false, &size) : 0;
        if (!size_bytes || size == (1ull << (7 * size_bytes)) - 1) // unknown: a live stream
            return 0;
        if (!size_add(at + id_bytes + size_bytes, size, &end))
            return 0;
        if (id == 0x18538067) // Segment: RFC 9559
            return beyond(r, end);
        at = end;
    }
    return 0;
}

// One RIFF chunk, or a chain of them in a large AVI (OpenDML).
static uint64_t riff_shortfall(const struct reader *r)
{
    uint8_t head[8];
    uint64_t at = 0;
    while (read_at(r, at, head, 8) && !memcmp(head, "RIFF", 4)) {
        const uint64_t size = read_le32(head + 4);
        if (size == 0 || size == UINT32_MAX)
            return 0; // never finished, or not told
        at += 8 + size;
        if (at > r->bytes)
            return beyond(r, at);
        at += size & 1;
    }
    return 0;
}

static uint64_t shortfall(const struct reader *r)
{
    uint8_t head[12];
    if (!read_at(r, 0, head, sizeof(head)))
        return 0;
    if (read_be(head, 4) == 0x1a45dfa3)
        return ebml_shortfall(r);
    if (!memcmp(head, "RIFF", 4))
        return riff_shortfall(r);
    static const char iso[][5] = { "ftyp", "moov", "mdat", "free",
                                   "skip", "wide", "styp", "pnot" };
    for (size_t i = 0; i < sizeof(iso) / sizeof(iso[0]); i++)
        if (!memcmp(head + 4, iso[i], 4))
            return iso_shortfall(r);
    return 0;
}

uint64_t file_shortfall(const char *path)
{
    struct stat st;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    uint64_t missing = 0;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        missing = shortfall(&(struct reader){ fd, (uint64_t) st.st_size });
    close(fd);
    return missing;
}
