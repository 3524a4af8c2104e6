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

// Files that we make there: parts, and what a killed run left of one.
static bool is_ours(const char *name)
{
    return ends_with(name, ".safetensors") || ends_with(name, ".part") || !strcmp(name, "plan.json");
}

// Calls for each of our files; returns how many there are, or -1.
static int each_file(const char *path, bool remove_them)
{
    DIR *d = opendir(path);
    if (!d)
        return -1;
    int n = 0;
    for (const struct dirent *entry; (entry = readdir(d));) {
        if (!is_ours(entry->d_name))
            continue;
        n++;
        if (remove_them)
            unlinkat(dirfd(d), entry->d_name, 0);
    }
    closedir(d);
    return n;
}

enum err work_dir_begin(const char *path, bool resume, bool restart)
{
    const int found = each_file(path, restart && !resume);
    if (found > 0 && !resume && !restart) {
        log_error("%s: holds an interrupted run; --resume takes it up, --restart begins anew", path);
        return ERR_CREATE;
    }
    return file_make_directory(path);
}

void work_dir_remove(const char *path)
{
    each_file(path, true);
    if (rmdir(path))
        log_warn("%s: not removed, something else is in it", path);
}
