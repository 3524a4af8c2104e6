#include "worker/engine/choice.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/log.h"
#include "worker/engine/internal.h"

// The file: a line "NAME VALUE" for each choice. What does not parse is left out.
static char *choices_path(const struct device *d)
{
    char *path = NULL;
    if (!d->cache_dir || asprintf(&path, "%s/choices-%s.txt", d->cache_dir, d->cache_key) < 0)
        return NULL;
    return path;
}

// Its index; choice_count when there is none.
static uint32_t find(const struct device *d, const char *name)
{
    uint32_t i = 0;
    while (i < d->choice_count && strcmp(d->choices[i].name, name) != 0)
        i++;
    return i;
}

static void put(struct device *d, const char *name, uint32_t value)
{
    const uint32_t i = find(d, name);
    if (i == CHOICE_MOST || strlen(name) >= CHOICE_NAME_BYTES)
        return;
    if (i == d->choice_count)
        snprintf(d->choices[d->choice_count++].name, CHOICE_NAME_BYTES, "%s", name);
    d->choices[i].value = value;
}

static void take_line(struct device *d, char *line)
{
    char *blank = strchr(line, ' ');
    if (!blank)
        return;
    *blank = 0;
    char *end;
    const unsigned long value = strtoul(blank + 1, &end, 10);
    if (end > blank + 1 && value <= UINT32_MAX)
        put(d, line, (uint32_t) value);
}

void choices_load(struct device *d)
{
    char *path = choices_path(d);
    FILE *f = path ? fopen(path, "r") : NULL;
    char line[128];
    while (f && fgets(line, sizeof(line), f))
        take_line(d, line);
    if (f)
        fclose(f);
    free(path);
}

static enum err write_all(const struct device *d, const char *path)
{
    struct out_file f;
    const enum err e = out_file_open(&f, path);
    if (e)
        return e;
    for (uint32_t i = 0; i < d->choice_count; i++)
        fprintf(f.stream, "%s %u\n", d->choices[i].name, d->choices[i].value);
    return out_file_commit(&f);
}

static void save(struct device *d)
{
    char *path = cache_is_there(d) ? choices_path(d) : NULL;
    if (path && write_all(d, path))
        cache_give_up(d);
    free(path);
}

bool device_choice(const struct device *d, const char *name, uint32_t *out)
{
    const uint32_t i = find(d, name);
    if (i == d->choice_count)
        return false;
    *out = d->choices[i].value;
    return true;
}

void device_choose_form(struct device *d, const char *name, uint32_t value)
{
    put(d, name, value);
    save(d);
}
