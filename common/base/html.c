#include "common/base/html.h"

#include <math.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/utf8.h"

#define REPLACEMENT "\xef\xbf\xbd" // U+FFFD

static const char *reference(unsigned char c)
{
    switch (c) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '"': return "&quot;";
    case '\'': return "&#39;";
    default: return NULL;
    }
}

void html_text(FILE *f, const char *text)
{
    const unsigned char *p = (const unsigned char *) text;
    while (*p) {
        const size_t n = utf8_length(p);
        const char *special = reference(*p);
        if (special)
            fputs(special, f);
        else if (n == 0 || (*p < 0x20 && *p != '\n' && *p != '\t') || *p == 0x7f)
            fputs(REPLACEMENT, f);
        else
            fwrite(p, 1, n, f);
        p += n ? n : 1;
    }
}

void html_path(FILE *f, const char *path)
{
    for (const unsigned char *p = (const unsigned char *) path; *p; p++)
        if ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
            strchr("-._~/", *p))
            fputc(*p, f);
        else
            fprintf(f, "%%%02X", *p);
}

void html_number(FILE *f, double v, int digits)
{
    if (!isfinite(v)) {
        fputs("silent", f);
        return;
    }
    char text[64];
    snprintf(text, sizeof(text), "%.*f", digits, fabs(v));
    const bool zero = strspn(text, "0.") == strlen(text);
    fprintf(f, "%s%s", v < 0 && !zero ? "\u2212" : "", text);
}

void html_base64(FILE *f, const uint8_t *bytes, size_t count)
{
    static const char digits[] = // the last one fills up
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
    for (size_t i = 0; i < count; i += 3) {
        const size_t n = count - i < 3 ? count - i : 3;
        const uint32_t v = (uint32_t) bytes[i] << 16 |
                           (n > 1 ? (uint32_t) bytes[i + 1] << 8 : 0) |
                           (n > 2 ? bytes[i + 2] : 0);
        const char four[4] = { digits[v >> 18], digits[v >> 12 & 63],
                               digits[n > 1 ? v >> 6 & 63 : 64], digits[n > 2 ? v & 63 : 64] };
        fwrite(four, 1, sizeof(four), f);
    }
}

enum err html_base64_file(FILE *f, const char *path)
{
    struct file_map m;
    const enum err e = file_map(&m, path);
    if (!e)
        html_base64(f, m.data, (size_t) m.bytes);
    file_unmap(&m);
    return e;
}
