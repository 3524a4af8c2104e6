#include "common/base/tensor_view.h"

#include <string.h>

#include "common/base/bytes.h"

static const struct {
    const char *name;
    uint32_t bytes;
} dtypes[DTYPE_COUNT] = {
    [DTYPE_F32] = { "F32", 4 },   [DTYPE_F16] = { "F16", 2 }, [DTYPE_BF16] = { "BF16", 2 },
    [DTYPE_F64] = { "F64", 8 },   [DTYPE_I64] = { "I64", 8 }, [DTYPE_I32] = { "I32", 4 },
    [DTYPE_I16] = { "I16", 2 },   [DTYPE_I8] = { "I8", 1 },   [DTYPE_U64] = { "U64", 8 },
    [DTYPE_U32] = { "U32", 4 },   [DTYPE_U16] = { "U16", 2 }, [DTYPE_U8] = { "U8", 1 },
    [DTYPE_BOOL] = { "BOOL", 1 },
};

uint32_t dtype_bytes(enum dtype t)
{
    return dtypes[t].bytes;
}

const char *dtype_name(enum dtype t)
{
    return dtypes[t].name;
}

uint64_t tensor_elements(const struct tensor_view *t)
{
    uint64_t n = 1;
    for (uint32_t i = 0; i < t->rank; i++)
        n *= t->shape[i];
    return n;
}

static float float_from_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

static double double_from_bits(uint64_t bits)
{
    double d;
    memcpy(&d, &bits, 8);
    return d;
}

float tensor_at(const struct tensor_view *t, uint64_t i)
{
    const uint8_t *p = (const uint8_t *) t->data + i * dtype_bytes(t->dtype);
    switch (t->dtype) {
    case DTYPE_F32: return float_from_bits(read_le32(p));
    case DTYPE_F16: return half_to_float(read_le16(p));
    case DTYPE_BF16: return float_from_bits((uint32_t) read_le16(p) << 16);
    case DTYPE_F64: return (float) double_from_bits(read_le64(p));
    case DTYPE_I64: return (float) (int64_t) read_le64(p);
    case DTYPE_I32: return (float) (int32_t) read_le32(p);
    case DTYPE_I16: return (float) (int16_t) read_le16(p);
    case DTYPE_I8: return (float) (int8_t) *p;
    case DTYPE_U64: return (float) read_le64(p);
    case DTYPE_U32: return (float) read_le32(p);
    case DTYPE_U16: return (float) read_le16(p);
    case DTYPE_U8: return (float) *p;
    case DTYPE_BOOL: return *p ? 1.0f : 0.0f;
    case DTYPE_COUNT: break;
    }
    return 0;
}

void tensor_to_f32(const struct tensor_view *t, uint64_t first, uint64_t count, float *out)
{
    if (t->dtype == DTYPE_F32) {
        memcpy(out, (const uint8_t *) t->data + 4 * first, 4 * count);
        return;
    }
    for (uint64_t i = 0; i < count; i++)
        out[i] = tensor_at(t, first + i);
}

void tensor_to_f16(const struct tensor_view *t, uint64_t first, uint64_t count, uint16_t *out)
{
    if (t->dtype == DTYPE_F16) {
        memcpy(out, (const uint8_t *) t->data + 2 * first, 2 * count);
        return;
    }
    for (uint64_t i = 0; i < count; i++)
        out[i] = half_from_float(tensor_at(t, first + i));
}
