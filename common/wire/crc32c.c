#include "common/wire/crc32c.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "common/base/bytes.h"

#define POLYNOMIAL 0x82f63b78u // reflected

// table[k][b]: what byte b does to the checksum with k more bytes behind it, so
// that eight bytes are worked off in one step.
static uint32_t table[8][256];
static pthread_once_t table_made = PTHREAD_ONCE_INIT;

static void make_table(void)
{
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t c = b;
        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? c >> 1 ^ POLYNOMIAL : c >> 1;
        table[0][b] = c;
    }
    for (uint32_t b = 0; b < 256; b++)
        for (int k = 1; k < 8; k++)
            table[k][b] = table[k - 1][b] >> 8 ^ table[0][table[k - 1][b] & 255];
}

// Processors of the last fifteen years have an instruction for it.
#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t crc, const uint8_t *p,
                                                                 size_t bytes)
{
    uint64_t c = ~crc;
    for (uint64_t eight; bytes >= 8; p += 8, bytes -= 8) {
        memcpy(&eight, p, sizeof(eight));
        c = __builtin_ia32_crc32di(c, eight);
    }
    for (; bytes; p++, bytes--)
        c = __builtin_ia32_crc32qi((uint32_t) c, *p);
    return ~(uint32_t) c;
}

static bool has_instruction(void)
{
    return __builtin_cpu_supports("sse4.2");
}
#else
static uint32_t by_instruction(uint32_t crc, const uint8_t *p, size_t bytes)
{
    (void) p, (void) bytes;
    return crc;
}

static bool has_instruction(void)
{
    return false;
}
#endif

uint32_t crc32c(uint32_t crc, const void *data, size_t bytes)
{
    return has_instruction() ? by_instruction(crc, data, bytes)
                             : crc32c_by_table(crc, data, bytes);
}

uint32_t crc32c_by_table(uint32_t crc, const void *data, size_t bytes)
{
    const uint8_t *p = data;
    pthread_once(&table_made, make_table);
    crc = ~crc;
    for (; bytes >= 8; p += 8, bytes -= 8) {
        const uint32_t low = crc ^ read_le32(p), high = read_le32(p + 4);
        crc = table[7][low & 255] ^ table[6][low >> 8 & 255] ^ table[5][low >> 16 & 255] ^
              table[4][low >> 24] ^ table[3][high & 255] ^ table[2][high >> 8 & 255] ^
              table[1][high >> 16 & 255] ^ table[0][high >> 24];
    }
    for (; bytes; p++, bytes--)
        crc = crc >> 8 ^ table[0][(crc ^ *p) & 255];
    return ~crc;
}
