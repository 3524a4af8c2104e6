#include "cli/work_dir.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/log.h"

char *work_dir_path(const char *output)
{
    char *path = NULL;
    if (asprintf(&path, "%s.underscore", output) < 0)
        return NULL;
    return path;
}

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

// Finished parts; and all files that we make there, with what a killed run left.
static bool is_part(const char *name)
{
    return ends_with(name, ".safetensors");
}

static bool is_ours(const char *name)
{
    return is_part(name) || ends_with(name, ".part") || !strcmp(name, "plan.json");
}

// Removes the files that `matches` names, or only counts them.
static int each_file(const char *path, bool (*matches)(const char *name), bool remove_them)
{
    DIR *d = opendir(path);
    if (!d)
        return 0;
    int n = 0;
    for (const struct dirent *entry; (entry = readdir(d));) {
        if (!matches(entry->d_name))
            continue;
        n++;
        if (remove_them)
            unlinkat(dirfd(d), entry->d_name, 0);
    }
    closedir(d);
    return n;
}

bool work_dir_has_parts(const char *path)
{
    return each_file(path, is_part, false) > 0;
}

enum err work_dir_begin(const char *path, bool resume, bool restart)
{
    if (!resume && !restart && work_dir_has_parts(path)) {
        log_error("%s: holds an interrupted run; --resume takes it up, --restart begins anew", path);
        return ERR_CREATE;
    }
    if (restart && !resume)
        each_file(path, is_ours, true);
    return file_make_directory(path);
}

void work_dir_remove(const char *path)
{
    each_file(path, is_ours, true);
    if (rmdir(path))
        log_warn("%s: not removed, something else is in it", path);
}
