// html: what must be done to text and bytes before they may stand in a page. Everything
// that comes from a file or a command line goes through here.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base/err.h"

// Text for between tags and for double-quoted attributes: markup is written as references,
// bytes that are not UTF-8 and control characters (but for newlines) as U+FFFD.
void html_text(FILE *f, const char *text);

// A path, or a part of one, for an href or src: all but letters, digits and "-._~/" as %XX.
// Nothing in it can then be taken for a scheme.
void html_path(FILE *f, const char *path);

// A number with `digits` after the point and a proper minus sign; "silent" for what is not
// finite.
void html_number(FILE *f, double v, int digits);

void html_base64(FILE *f, const uint8_t *bytes, size_t count);

// The same of a whole file. ERR_MISSING logs.
ERR_CHECKED enum err html_base64_file(FILE *f, const char *path);
