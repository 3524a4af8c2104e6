#include "cli/tokens.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/log.h"
#include "common/media/film_plan.h"
#include "common/parts/parts.h"

static enum err keep_one(const struct plan *p, const char *parts, const char *directory,
                         uint32_t segment)
{
    struct part part;
    enum err e = part_open(&part, parts, p, segment);
    if (e)
        return e;
    char *path = part_path(directory, p, segment);
    const struct safetensors_item item = {
        .name = "tokens",
        .dtype = DTYPE_I32,
        .rank = 2,
        .shape = { part.tokens.shape[0], part.tokens.shape[1] },
        .data = part.tokens.data,
    };
    const struct part_origin origin = part_origin_of(part.file);
    struct safetensors_string strings[3] = { { "underscore.part", part.key } };
    const uint32_t count = 1 + part_origin_strings(strings + 1, &origin);
    e = path ? safetensors_write(path,
                                 &(struct safetensors_write_params){ .items = &item,
                                                                     .item_count = 1,
                                                                     .metadata = strings,
                                                                     .metadata_count = count })
             : ERR_NOMEM;
    free(path);
    part_close(&part);
    return e;
}

enum err tokens_keep(const struct plan *p, const char *parts, const char *directory)
{
    char *plan = NULL;
    if (asprintf(&plan, "%s/plan.json", directory) < 0)
        return ERR_NOMEM;
    enum err e = file_make_directory(directory);
    for (uint32_t i = 0; !e && i < p->segment_count; i++)
        e = keep_one(p, parts, directory, i);
    if (!e)
        e = film_plan_write(p, plan);
    free(plan);
    return e;
}

enum err tokens_read(int32_t **out, const char *directory, const struct plan *p,
                     uint32_t segment, uint32_t codebooks)
{
    *out = NULL;
    char *path = part_path(directory, p, segment);
    if (!path)
        return ERR_NOMEM;
    const uint32_t columns = p->segments[segment].columns;
    struct safetensors *file = NULL;
    struct tensor_view tokens;
    enum err e = safetensors_open(&file, path);
    if (!e &&
        (!safetensors_find(file, "tokens", &tokens) || tokens.dtype != DTYPE_I32 ||
         tokens.rank != 2 || tokens.shape[0] != codebooks || tokens.shape[1] != columns)) {
        log_error("%s: not %u codebooks of %u columns, as the plan and the model want", path,
                  codebooks, columns);
        e = ERR_INPUT;
    }
    if (!e) {
        *out = malloc(tokens.bytes);
        e = *out ? ERR_OK : ERR_NOMEM;
    }
    if (!e)
        memcpy(*out, tokens.data, tokens.bytes);
    safetensors_close(&file);
    free(path);
    return e;
}
