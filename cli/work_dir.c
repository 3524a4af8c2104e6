#include "cli/work_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/log.h"

char *work_dir_path(const char *output, const char *verb)
{
    char *path = NULL;
    if (asprintf(&path, "%s.underscore%s%s", output, verb ? "-" : "", verb ? verb : "") < 0)
        return NULL;
    return path;
}

// Finished parts, as part_path() names them; and all files that we make there, with what a killed
// run left. Models may lie beside them.
static bool is_part(const char *name)
{
    int end = 0;
    sscanf(name, "c%*[0-9]s%*[0-9].safetensors%n", &end);
    return end > 0 && !name[end];
}

static bool is_temporary(const char *name)
{
    int end = 0;
    sscanf(name, ".c%*[0-9]s%*[0-9].safetensors.%*[0-9].part%n", &end);
    if (end == 0)
        sscanf(name, ".plan.json.%*[0-9].part%n", &end);
    return end > 0 && !name[end];
}

static bool is_ours(const char *name)
{
    return is_part(name) || is_temporary(name) || !strcmp(name, "plan.json");
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

// Two runs in one folder would take each other's parts for their own.
static enum err take(const char *path, int *lock)
{
    if (file_lock_directory(path, lock))
        return ERR_OK;
    log_error(
        "%s: another run is at work there; let it end first, or choose another output or --work folder",
        path);
    return ERR_CREATE;
}

enum err work_dir_begin(const char *path, bool resume, bool restart, int *lock)
{
    *lock = -1;
    enum err e = file_make_directory(path);
    if (!e)
        e = take(path, lock);
    if (e)
        return e;
    if (!resume && !restart && work_dir_has_parts(path)) {
        log_error("%s: holds an interrupted run; --resume takes it up, --restart begins anew",
                  path);
        return ERR_CREATE;
    }
    if (restart && !resume)
        each_file(path, is_ours, true);
    return ERR_OK;
}

void work_dir_release(int *lock)
{
    if (*lock >= 0)
        close(*lock);
    *lock = -1;
}

void work_dir_remove(const char *path)
{
    each_file(path, is_ours, true);
    if (rmdir(path))
        log_warn("%s: not removed, something else is in it", path);
}
