// utf8: text of unknown origin as text. Pure; any thread.
#pragma once

#include <stdbool.h>
#include <stddef.h>

// How many bytes the UTF-8 character at `p` has; 0 when it is none. Overlong forms,
// surrogates and what is past U+10FFFF are none (RFC 3629, section 4).
size_t utf8_length(const unsigned char *p);

// `text` with U+FFFD for each byte that is no UTF-8 and, with `printable`, for each control
// character; cut between characters where it does not fit. Returns `out`.
const char *utf8_clean(char *out, size_t room, const char *text, bool printable);
