#include "worker/weights/config_json.h"

#include <jansson.h>
#include <stddef.h>
#include <string.h>

#include "common/base/log.h"

enum kind { KIND_U32, KIND_F32, KIND_F64, KIND_BOOL, KIND_PAD, KIND_U32_LIST, KIND_FLAG_LIST };

struct field {
    const char *name;
    enum kind kind;
    size_t offset;
    // Lists: where their length is and what it may be. A list of flags is
    // written as the indexes of those set.
    size_t count_offset;
    uint32_t count_max;
};

// clang-format off
#define AT(member) offsetof(struct model_config, member)
#define FIELD(name, kind) { #name, kind, AT(name), 0, 0 }
#define LIST(name, kind, count, most) { #name, kind, AT(name), AT(count), most }
// clang-format on

// Lists come after their lengths.
static const struct field fields[] = {
    FIELD(vit.width, KIND_U32),
    FIELD(vit.heads, KIND_U32),
    FIELD(vit.layers, KIND_U32),
    FIELD(vit.hidden, KIND_U32),
    FIELD(vit.patch, KIND_U32),
    FIELD(vit.image, KIND_U32),
    FIELD(vit.out, KIND_U32),
    FIELD(qformer.queries, KIND_U32),
    FIELD(qformer.layers, KIND_U32),
    FIELD(qformer.hidden, KIND_U32),
    LIST(qformer.cross, KIND_FLAG_LIST, qformer.layers, MODEL_MAX_QFORMER_LAYERS),
    FIELD(qformer.epsilon, KIND_F32),
    FIELD(lm.dim, KIND_U32),
    FIELD(lm.heads, KIND_U32),
    FIELD(lm.layers, KIND_U32),
    FIELD(lm.hidden, KIND_U32),
    FIELD(lm.card, KIND_U32),
    FIELD(lm.codebooks, KIND_U32),
    LIST(lm.delays, KIND_U32_LIST, lm.codebooks, MODEL_MAX_CODEBOOKS),
    FIELD(lm.guidance, KIND_F32),
    FIELD(lm.temperature, KIND_F32),
    FIELD(lm.top_k, KIND_U32),
    FIELD(lm.top_p, KIND_F32),
    FIELD(lm.max_duration_s, KIND_F64),
    FIELD(lm.cross_positions, KIND_BOOL),
    FIELD(lm.cross_position_scale, KIND_F32),
    FIELD(codec.sample_rate, KIND_U32),
    FIELD(codec.channels, KIND_U32),
    FIELD(codec.filters, KIND_U32),
    FIELD(codec.dimension, KIND_U32),
    FIELD(codec.bins, KIND_U32),
    FIELD(codec.codebooks, KIND_U32),
    FIELD(codec.ratio_count, KIND_U32),
    LIST(codec.ratios, KIND_U32_LIST, codec.ratio_count, MODEL_MAX_RATIOS),
    FIELD(codec.kernel, KIND_U32),
    FIELD(codec.last_kernel, KIND_U32),
    FIELD(codec.residual_kernel, KIND_U32),
    FIELD(codec.compress, KIND_U32),
    FIELD(codec.lstm_layers, KIND_U32),
    FIELD(codec.pad, KIND_PAD),
    FIELD(frames_per_s, KIND_F64),
};

#define FIELD_COUNT (sizeof(fields) / sizeof(*fields))

static uint32_t length_of(const struct field *f, const uint8_t *config)
{
    uint32_t n;
    memcpy(&n, config + f->count_offset, sizeof(n));
    return n;
}

static json_t *write_list(const struct field *f, const uint8_t *config)
{
    json_t *list = json_array();
    const uint32_t n = length_of(f, config);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t value = i;
        if (f->kind == KIND_U32_LIST)
            memcpy(&value, config + f->offset + i * sizeof(value), sizeof(value));
        else if (!((const bool *) (config + f->offset))[i])
            continue;
        json_array_append_new(list, json_integer(value));
    }
    return list;
}

static json_t *write_field(const struct field *f, const uint8_t *config)
{
    const uint8_t *at = config + f->offset;
    uint32_t u32;
    float f32;
    double f64;
    enum pad_mode pad;
    switch (f->kind) {
    case KIND_U32: memcpy(&u32, at, sizeof(u32)); return json_integer(u32);
    case KIND_F32: memcpy(&f32, at, sizeof(f32)); return json_real((double) f32);
    case KIND_F64: memcpy(&f64, at, sizeof(f64)); return json_real(f64);
    case KIND_BOOL: return json_boolean(*(const bool *) at);
    case KIND_PAD:
        memcpy(&pad, at, sizeof(pad));
        return json_string(pad == PAD_REFLECT ? "reflect" : "constant");
    case KIND_U32_LIST:
    case KIND_FLAG_LIST: return write_list(f, config);
    }
    return NULL;
}

char *config_json_write(const struct model_config *c)
{
    json_t *object = json_object();
    bool ok = true;
    for (size_t i = 0; i < FIELD_COUNT; i++)
        ok &= json_object_set_new(object, fields[i].name,
                                  write_field(&fields[i], (const uint8_t *) c)) == 0;
    char *text = ok ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    return text;
}

static bool read_u32(const json_t *value, uint32_t *out)
{
    const json_int_t n = json_integer_value(value); // 0 when it is not one
    *out = (uint32_t) n;
    return json_is_integer(value) && n >= 0 && n <= UINT32_MAX;
}

static bool read_list(const struct field *f, const json_t *value, uint8_t *config)
{
    const uint32_t n = length_of(f, config);
    const size_t listed = json_array_size(value);
    if (n > f->count_max || listed > n || (f->kind == KIND_U32_LIST && listed != n))
        return false;
    for (size_t i = 0; i < listed; i++) {
        uint32_t u32;
        if (!read_u32(json_array_get(value, i), &u32))
            return false;
        if (f->kind == KIND_U32_LIST)
            memcpy(config + f->offset + i * sizeof(u32), &u32, sizeof(u32));
        else if (u32 < n)
            ((bool *) (config + f->offset))[u32] = true;
        else
            return false;
    }
    return json_is_array(value);
}

static bool read_field(const struct field *f, const json_t *value, uint8_t *config)
{
    uint8_t *at = config + f->offset;
    const float f32 = (float) json_number_value(value);
    const double f64 = json_number_value(value);
    const char *text = json_string_value(value);
    uint32_t u32;
    enum pad_mode pad;
    switch (f->kind) {
    case KIND_U32:
        if (!read_u32(value, &u32))
            return false;
        memcpy(at, &u32, sizeof(u32));
        return true;
    case KIND_F32: memcpy(at, &f32, sizeof(f32)); return json_is_number(value);
    case KIND_F64: memcpy(at, &f64, sizeof(f64)); return json_is_number(value);
    case KIND_BOOL: *(bool *) at = json_is_true(value); return json_is_boolean(value);
    case KIND_PAD:
        pad = text && !strcmp(text, "reflect") ? PAD_REFLECT : PAD_CONSTANT;
        memcpy(at, &pad, sizeof(pad));
        return text && (pad == PAD_REFLECT || !strcmp(text, "constant"));
    case KIND_U32_LIST:
    case KIND_FLAG_LIST: return read_list(f, value, config);
    }
    return false;
}

enum err config_json_read(struct model_config *out, const char *text, const char *path)
{
    *out = (struct model_config){ 0 };
    json_error_t error;
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    enum err e = ERR_OK;
    if (!object) {
        log_error("%s: its configuration is not JSON: %s", path, error.text);
        e = ERR_INPUT;
    }
    for (size_t i = 0; !e && i < FIELD_COUNT; i++)
        if (!read_field(&fields[i], json_object_get(object, fields[i].name), (uint8_t *) out)) {
            log_error("%s: its configuration lacks a sound %s", path, fields[i].name);
            e = ERR_INPUT;
        }
    json_decref(object);
    return e ? e : model_config_check(out);
}
