// sha256: a file's SHA-256 as text.
#pragma once

#include "common/base/err.h"
#include "common/base/file.h"

#define SHA256_TEXT_BYTES 65

// 64 lower-case hex digits and a NUL. ERR_MISSING when the file cannot be read;
// logs.
ERR_CHECKED enum err sha256_file(char out[SHA256_TEXT_BYTES], const char *path);

// Of what is mapped already: that is what is used, whatever stands under the path by now.
void sha256_mapped(char out[SHA256_TEXT_BYTES], const struct file_map *m);
