// crc32c: the Castagnoli checksum (RFC 3720, B.4) of what travels. Pure; any thread.
#pragma once

#include <stddef.h>
#include <stdint.h>

// Of `bytes` more bytes after those that gave `crc`; 0 begins.
uint32_t crc32c(uint32_t crc, const void *data, size_t bytes);
// The same without the processor's own instruction.
uint32_t crc32c_by_table(uint32_t crc, const void *data, size_t bytes);
