#include "common/base/utf8.h"

#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd" // U+FFFD

size_t utf8_length(const unsigned char *p)
{
    if (p[0] < 0x80)
        return 1;
    const size_t n = p[0] >= 0xc2 && p[0] <= 0xdf   ? 2
                     : p[0] >= 0xe0 && p[0] <= 0xef ? 3
                     : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4
                                                    : 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    const bool outside = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
                         (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f);
    return n > 0 && outside ? 0 : n;
}

const char *utf8_clean(char *out, size_t room, const char *text, bool printable)
{
    size_t n = 0;
    for (const unsigned char *p = (const unsigned char *) text; *p;) {
        size_t length = utf8_length(p);
        // Of the sets C0 and C1.
        const bool control =
            printable && (*p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] < 0xa0));
        const char *from = length && !control ? (const char *) p : REPLACEMENT;
        const size_t bytes = length && !control ? length : strlen(REPLACEMENT);
        if (n + bytes >= room)
            break;
        memcpy(out + n, from, bytes);
        n += bytes;
        p += length ? length : 1;
    }
    out[n] = 0;
    return out;
}
