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

static void save(const struct device *d)
{
    char *path = choices_path(d);
    struct out_file f;
    if (path && !file_make_directory(d->cache_dir) && !out_file_open(&f, path)) {
        for (uint32_t i = 0; i < d->choice_count; i++)
            fprintf(f.stream, "%s %u\n", d->choices[i].name, d->choices[i].value);
        if (out_file_commit(&f))
            log_warn("what was measured is not cached");
    }
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
